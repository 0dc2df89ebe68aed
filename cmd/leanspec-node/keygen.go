package main

import (
	"context"
	"fmt"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
)

// keygenCmd writes the keys of one validator.
type keygenCmd struct {
	Scheme         string  `default:"prod" placeholder:"NAME" help:"XMSS scheme of the keys: prod or test."`
	ActivationSlot uint64  `default:"0" placeholder:"SLOT" help:"First slot that the keys can sign."`
	ActiveSlots    *uint64 `placeholder:"SLOTS" help:"Number of slots that the keys can sign (default 4096, or the rest of the scheme's lifetime if that is less)."`
	Full           bool    `help:"Make keys with the standard window: at least two whole bottom trees. This takes much longer. Other clients can read shorter keys too. When a key ends, this node stops signing, and ethlambda panics."`
	Name           string  `default:"validator_0" placeholder:"NAME" help:"Prefix of the file names."`
	Force          bool    `help:"Replace the keys of this name in the folder."`
	Out            string  `required:"" placeholder:"DIR" help:"Folder to write to."`
}

// Help returns the text before the flags.
func (*keygenCmd) Help() string {
	return "Makes the attestation key and the proposal key of one validator, and writes the secret and the public part of each as SSZ: " +
		"NAME_attester_key_sk.ssz, NAME_attester_key_pk.ssz, NAME_proposer_key_sk.ssz and NAME_proposer_key_pk.ssz."
}

// Run makes the keys and prints the public ones.
func (c *keygenCmd) Run(ctx context.Context, console *console) error {
	scheme, err := parseScheme(c.Scheme)
	if err != nil {
		return err
	}
	progress := newKeyProgress(console)
	options := devnet.KeyPairOptions{
		Dir:            c.Out,
		Name:           c.Name,
		Scheme:         scheme,
		ActivationSlot: c.ActivationSlot,
		ActiveSlots:    activeSlots(c.ActiveSlots, scheme.Lifetime()-min(c.ActivationSlot, scheme.Lifetime())),
		Full:           c.Full,
		Force:          c.Force,
		Progress:       progress.report,
	}
	if err := options.Validate(); err != nil {
		return badInput(err)
	}
	pair, err := devnet.WriteKeyPair(ctx, options)
	progress.finish()
	if err != nil {
		return explainWrite(err, "--force replaces it")
	}
	table := console.table()
	fmt.Fprintf(table, "attestation_public_key\t0x%x\n", pair.AttestationPublicKey)
	fmt.Fprintf(table, "proposal_public_key\t0x%x\n", pair.ProposalPublicKey)
	fmt.Fprintf(table, "slots\t%d to %d\n", pair.FirstSlot, pair.LastSlot)
	for i, file := range pair.Paths {
		fmt.Fprintf(table, "%s\t%s\n", [...]string{"files", "", "", ""}[i], file)
	}
	return table.Flush()
}
