package lstar

import (
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// VerifySignatures verifies the proof of the block. The error is a [*Rejection].
//
// leanSpec: signatures.py, verify_signatures
func (t *BlockTask) VerifySignatures() error {
	return verifySignatures(t.crypto, t.block, t.root, t.parent.Validators)
}

// VerifyBlockProof verifies the proof of a block against the registry of its chain. It
// does not need the block's parent. The error is a [*Rejection].
func VerifyBlockProof(crypto Crypto, b *SignedBlock, validators *Validators) error {
	if err := CheckBody(&b.Block.Body); err != nil {
		return err
	}
	return verifySignatures(crypto, b, b.Block.Root(), validators)
}

func verifySignatures(crypto Crypto, b *SignedBlock, root Root, validators *Validators) error {
	components, err := blockComponents(&b.Block, root, validators)
	if err != nil {
		return err
	}
	if err := crypto.Proofs.VerifyMulti(components, b.Proof.Proof); err != nil {
		return reject(InvalidBlockProof, "%v", err)
	}
	return nil
}

// VerifyProposer checks the limits of the body, that the proposer is the one of the
// slot, and the proposer's signature in the block's proof. Of the rest of the proof it
// checks only the layout. It does not need the block's parent. The error is a
// [*Rejection].
func (s *Snapshot) VerifyProposer(b *SignedBlock, root Root) error {
	if err := CheckBody(&b.Block.Body); err != nil {
		return err
	}
	components, err := blockComponents(&b.Block, root, s.HeadState.Validators)
	if err != nil {
		return err
	}
	if err := checkProposer(b.Block.Slot, b.Block.ProposerIndex, s.HeadState.Validators.Len()); err != nil {
		return err
	}
	last := len(components) - 1
	single, err := s.crypto.Proofs.Split(components, last, b.Proof.Proof)
	if err == nil {
		err = s.crypto.Proofs.VerifySingle(components[last], single)
	}
	if err != nil {
		return reject(InvalidBlockProof, "proposer: %v", err)
	}
	return nil
}

// blockComponents returns the signers and messages that the proof of a block must prove:
// those of each attestation of the body, then the proposer and the block root.
func blockComponents(block *Block, root Root, validators *Validators) ([]proof.Component, error) {
	components := make([]proof.Component, 0, len(block.Body.Attestations)+1)
	for i := range block.Body.Attestations {
		a := &block.Body.Attestations[i]
		keys, err := validators.attestationKeys(&a.AggregationBits, ValidatorIndexOutOfRange)
		if err != nil {
			return nil, err
		}
		components = append(components, proof.Component{Keys: keys, Slot: uint64(a.Data.Slot), Message: a.Data.Root()})
	}
	if !validators.has(block.ProposerIndex) {
		return nil, reject(ProposerIndexOutOfRange, "proposer %d, the registry has %d validators", block.ProposerIndex, validators.Len())
	}
	return append(components, proof.Component{
		Keys: []*xmss.PublicKey{validators.ProposalKey(block.ProposerIndex)},
		Slot: uint64(block.Slot), Message: root,
	}), nil
}
