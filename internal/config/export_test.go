package config

// Exports for the tests in package config_test. They use package devnet, which imports this package.
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
