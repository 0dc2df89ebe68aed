package main

import (
	"errors"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// flagOf maps the settings that other packages name to flags. For the data folder it adds the
// variable, which containers set.
var flagOf = map[setting.Name]string{
	setting.APIPort:           "--api-port",
	setting.ActivationSlot:    "--activation-slot",
	setting.ActiveSlots:       "--active-slots",
	setting.Bootnode:          "--bootnode",
	setting.CheckpointSyncURL: "--checkpoint-sync-url",
	setting.DataDir:           "--data-dir (LEANSPEC_DATA_DIR)",
	setting.Dialect:           "--dialect",
	setting.GenesisTime:       "--genesis-time",
	setting.HTTPAddress:       "--http-address",
	setting.IP:                "--ip",
	setting.KeyName:           "--name",
	setting.Listen:            "--listen",
	setting.MetricsPort:       "--metrics-port",
	setting.NetworkName:       "--network-name",
	setting.NodeID:            "--node-id",
	setting.NodeKey:           "--node-key",
	setting.Nodes:             "--nodes",
	setting.Out:               "--out",
	setting.RPCPort:           "--rpc-port",
	setting.Scheme:            "--scheme",
	setting.Shuffle:           "--shuffle",
	setting.ValidatorKeys:     "--validator-keys",
	setting.Validators:        "--validators",
}

// withFlags returns the text of an error with flags instead of settings: it replaces the wrong
// setting, and the last mention of the setting that the error proposes to change.
func withFlags(err error) string {
	text := err.Error()
	var wrong *config.Error
	if errors.As(err, &wrong) && flagOf[wrong.Setting] != "" {
		flagged := *wrong
		flagged.Setting = setting.Name(flagOf[wrong.Setting])
		text = strings.Replace(text, wrong.Error(), flagged.Error(), 1)
	}
	var fixable interface{ FixedBy() setting.Name }
	if !errors.As(err, &fixable) || flagOf[fixable.FixedBy()] == "" {
		return text
	}
	name := string(fixable.FixedBy())
	i := strings.LastIndex(text, name)
	if i < 0 {
		return text
	}
	before := strings.TrimSuffix(strings.TrimSuffix(text[:i], "the "), "a ")
	return before + flagOf[setting.Name(name)] + text[i+len(name):]
}
