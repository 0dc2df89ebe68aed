package config

// What the tests in package config_test, which write networks with package devnet, need of this package.
const (
	MaxYAMLSize = maxYAMLSize
	MaxKeySize  = maxKeySize
)

var (
	CheckOneLine   = checkOneLine
	FakeHex        = fakeHex
	LoadSecretKey  = loadSecretKey
	ParsePeerNames = parsePeerNames
)
