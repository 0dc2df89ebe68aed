package lstar

import (
	"fmt"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// Checkpoint names a block that can be justified and finalized.
//
// leanSpec: containers/checkpoint.py
type Checkpoint struct {
	Root Root
	Slot Slot
}

func (c *Checkpoint) DefineSSZ(d *ssz.Codec) {
	ssz.Bytes32(d, &c.Root)
	ssz.Uint(d, &c.Slot)
}

// advanceTo returns the later of two checkpoints, and c on a tie.
func (c Checkpoint) advanceTo(candidate Checkpoint) Checkpoint {
	if candidate.Slot > c.Slot {
		return candidate
	}
	return c
}

// AttestationData is what a vote says: the head that the validator sees, and the
// link from a justified source to a target.
//
// leanSpec: containers/checkpoint.py
type AttestationData struct {
	Slot                 Slot
	Head, Target, Source Checkpoint
}

func (a *AttestationData) DefineSSZ(d *ssz.Codec) {
	ssz.Uint(d, &a.Slot)
	ssz.Nested(d, &a.Head)
	ssz.Nested(d, &a.Target)
	ssz.Nested(d, &a.Source)
}

// Root returns the hash tree root, which is the message that validators sign.
func (a *AttestationData) Root() Root { return ssz.HashTreeRoot(a) }

// liesOnChain reports whether every checkpoint names a block of the chain.
//
// leanSpec: containers/checkpoint.py, AttestationData.lies_on_chain
func (a *AttestationData) liesOnChain(rootAt func(Slot) Root) bool {
	for _, c := range [...]*Checkpoint{&a.Source, &a.Target, &a.Head} {
		if c.Root.IsZero() || rootAt(c.Slot) != c.Root { // zero past the end of the chain
			return false
		}
	}
	return true
}

// Attestation is the vote of one validator.
//
// leanSpec: containers/attestation.py
type Attestation struct {
	ValidatorIndex ValidatorIndex
	Data           AttestationData
}

func (a *Attestation) DefineSSZ(d *ssz.Codec) {
	ssz.Uint(d, &a.ValidatorIndex)
	ssz.Nested(d, &a.Data)
}

// SignedAttestation is the vote of one validator with its signature, made with
// the validator's attestation key over the root of the data.
//
// leanSpec: containers/attestation.py
type SignedAttestation struct {
	ValidatorIndex ValidatorIndex
	Data           AttestationData
	Signature      *xmss.Signature
}

// DecodeSignedAttestation decodes exactly the bytes of b. The scheme says how
// long the signature is. The error wraps ssz.ErrInvalid.
func DecodeSignedAttestation(b []byte, scheme *xmss.Scheme) (*SignedAttestation, error) {
	var a SignedAttestation
	if err := ssz.Unmarshal(b, &signedAttestation{&a, scheme}); err != nil {
		return nil, err
	}
	return &a, nil
}

// Encode returns the SSZ encoding.
func (a *SignedAttestation) Encode() []byte { return ssz.Marshal(&signedAttestation{a, nil}) }

// HashTreeRoot returns the Merkle root.
func (a *SignedAttestation) HashTreeRoot() Root {
	return ssz.HashTreeRoot(&signedAttestation{a, nil})
}

// signedAttestation describes a SignedAttestation. The scheme is needed to
// decode only.
type signedAttestation struct {
	*SignedAttestation
	scheme *xmss.Scheme
}

func (a *signedAttestation) DefineSSZ(d *ssz.Codec) {
	ssz.Uint(d, &a.ValidatorIndex)
	ssz.Nested(d, &a.Data)
	ssz.Custom(d, signatureField{&a.Signature, a.scheme})
}

type signatureField struct {
	signature **xmss.Signature
	scheme    *xmss.Scheme
}

func (f signatureField) SizeSSZ() (int, bool) {
	if f.scheme != nil {
		return f.scheme.SignatureSize(), true
	}
	return len((*f.signature).Bytes()), true
}

func (f signatureField) AppendSSZ(b []byte) []byte { return (*f.signature).AppendSSZ(b) }

func (f signatureField) DecodeSSZ(b []byte) error {
	signature, err := f.scheme.ParseSignature(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ssz.ErrInvalid, err)
	}
	*f.signature = signature
	return nil
}

func (f signatureField) HashTreeRoot() [32]byte { return (*f.signature).HashTreeRoot() }

// AggregationBits names the validators that take part in an aggregate.
//
// leanSpec: containers/participation.py
type AggregationBits = ssz.Bitlist

// BitsFromIndices returns the bits of the given validators. The error is a
// *Rejection: EMPTY_AGGREGATION_BITS, or VALIDATOR_INDEX_OUT_OF_RANGE past the
// registry limit.
//
// leanSpec: containers/participation.py, AggregationBits.from_indices
func BitsFromIndices(indices []ValidatorIndex) (AggregationBits, error) {
	if len(indices) == 0 {
		return AggregationBits{}, errEmptyBits()
	}
	var highest ValidatorIndex
	for _, v := range indices {
		highest = max(highest, v)
	}
	if highest >= ValidatorRegistryLimit {
		return AggregationBits{}, reject(ValidatorIndexOutOfRange, "validator %d is past the registry limit", highest)
	}
	bits := ssz.NewBitlist(int(highest) + 1)
	for _, v := range indices {
		bits.Set(int(v))
	}
	return bits, nil
}

func errEmptyBits() error {
	return reject(EmptyAggregationBits, "an aggregate must name at least one validator")
}

// AggregatedAttestation is the same vote of many validators.
//
// leanSpec: containers/attestation.py
type AggregatedAttestation struct {
	AggregationBits AggregationBits
	Data            AttestationData
}

func (a *AggregatedAttestation) DefineSSZ(d *ssz.Codec) {
	ssz.Bits(d, &a.AggregationBits, ValidatorRegistryLimit)
	ssz.Nested(d, &a.Data)
}

// SingleMessageAggregate proves that the participants signed one message, which
// it does not contain.
//
// leanSpec: containers/aggregation.py
type SingleMessageAggregate struct {
	Participants AggregationBits
	Proof        []byte // at most 512 KiB
}

func (a *SingleMessageAggregate) DefineSSZ(d *ssz.Codec) {
	ssz.Bits(d, &a.Participants, ValidatorRegistryLimit)
	ssz.ByteList(d, &a.Proof, proofLimit)
}

// SignedAggregatedAttestation is an aggregate as it travels by gossip.
//
// leanSpec: containers/attestation.py
type SignedAggregatedAttestation struct {
	Data  AttestationData
	Proof SingleMessageAggregate
}

func (a *SignedAggregatedAttestation) DefineSSZ(d *ssz.Codec) {
	ssz.Nested(d, &a.Data)
	ssz.Nested(d, &a.Proof)
}

// BlockBody is the payload of a block.
//
// leanSpec: containers/block.py
type BlockBody struct {
	Attestations []AggregatedAttestation
}

func (b *BlockBody) DefineSSZ(d *ssz.Codec) {
	ssz.List(d, &b.Attestations, ValidatorRegistryLimit)
}

// BlockHeader is a block with the root of its body in place of the body.
//
// leanSpec: containers/block.py
type BlockHeader struct {
	Slot          Slot
	ProposerIndex ValidatorIndex
	ParentRoot    Root
	StateRoot     Root
	BodyRoot      Root
}

func (h *BlockHeader) DefineSSZ(d *ssz.Codec) {
	ssz.Uint(d, &h.Slot)
	ssz.Uint(d, &h.ProposerIndex)
	ssz.Bytes32(d, &h.ParentRoot)
	ssz.Bytes32(d, &h.StateRoot)
	ssz.Bytes32(d, &h.BodyRoot)
}

// Block is a proposal. It is immutable once it has left its builder.
//
// leanSpec: containers/block.py
type Block struct {
	Slot          Slot
	ProposerIndex ValidatorIndex
	ParentRoot    Root
	StateRoot     Root
	Body          BlockBody
}

func (b *Block) DefineSSZ(d *ssz.Codec) {
	ssz.Uint(d, &b.Slot)
	ssz.Uint(d, &b.ProposerIndex)
	ssz.Bytes32(d, &b.ParentRoot)
	ssz.Bytes32(d, &b.StateRoot)
	ssz.Nested(d, &b.Body)
}

// Root returns the hash tree root, which names the block.
func (b *Block) Root() Root { return ssz.HashTreeRoot(b) }

// MultiMessageAggregate is the one proof of a block: it binds every attestation
// of the body, in order, and the proposer's signature over the block root.
//
// leanSpec: containers/aggregation.py
type MultiMessageAggregate struct {
	Proof []byte // at most 512 KiB
}

func (a *MultiMessageAggregate) DefineSSZ(d *ssz.Codec) {
	ssz.ByteList(d, &a.Proof, proofLimit)
}

// SignedBlock is a block with its proof.
//
// leanSpec: containers/block.py
type SignedBlock struct {
	Block Block
	Proof MultiMessageAggregate
}

func (b *SignedBlock) DefineSSZ(d *ssz.Codec) {
	ssz.Nested(d, &b.Block)
	ssz.Nested(d, &b.Proof)
}

// GenesisConfig is the part of the configuration that the state commits to.
//
// leanSpec: containers/genesis.py
type GenesisConfig struct {
	GenesisTime uint64 // Unix seconds
}

func (c *GenesisConfig) DefineSSZ(d *ssz.Codec) { ssz.Uint(d, &c.GenesisTime) }

// Validator is an entry of the registry.
//
// leanSpec: containers/validator.py
type Validator struct {
	AttestationPublicKey [xmss.PublicKeySize]byte
	ProposalPublicKey    [xmss.PublicKeySize]byte
	Index                ValidatorIndex
}

func (v *Validator) DefineSSZ(d *ssz.Codec) {
	ssz.FixedBytes(d, v.AttestationPublicKey[:])
	ssz.FixedBytes(d, v.ProposalPublicKey[:])
	ssz.Uint(d, &v.Index)
}

func (c Checkpoint) String() string { return fmt.Sprintf("%s@%d", c.Root, c.Slot) }

// DecodeSignedBlock decodes exactly the bytes of b. The error wraps
// ssz.ErrInvalid.
func DecodeSignedBlock(b []byte) (*SignedBlock, error) {
	var block SignedBlock
	if err := ssz.Unmarshal(b, &block); err != nil {
		return nil, err
	}
	return &block, nil
}
