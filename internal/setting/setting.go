// Package setting names the settings of the node and of its commands, in words, for errors and advice. Only cmd/leanspec-node
// knows the flag of each setting.
package setting

// Name is the name of a setting.
type Name string

// The settings that errors and advice name.
const (
	APIPort           Name = "API port"
	ActivationSlot    Name = "activation slot"
	ActiveSlots       Name = "number of active slots"
	Bootnode          Name = "bootnode"
	CheckpointSyncURL Name = "checkpoint sync URL"
	DataDir           Name = "data folder"
	Dialect           Name = "dialect"
	GenesisTime       Name = "genesis time"
	HTTPAddress       Name = "HTTP address"
	IP                Name = "IP address"
	KeyName           Name = "name of the keys"
	Listen            Name = "listen address"
	MetricsPort       Name = "metrics port"
	NetworkName       Name = "network name"
	NodeID            Name = "node id"
	NodeKey           Name = "node key file"
	Nodes             Name = "number of nodes"
	Out               Name = "output folder"
	RPCPort           Name = "RPC port"
	Scheme            Name = "scheme"
	Shuffle           Name = "shuffle"
	ValidatorKeys     Name = "validator keys folder"
	Validators        Name = "number of validators"
)
