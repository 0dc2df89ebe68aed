package lstar

import (
	"fmt"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// Checkpoint identifies a block by its root and slot.
//
// leanSpec: containers/checkpoint.py, Checkpoint
type Checkpoint struct {
	Root Root
	Slot Slot
}

func (c *Checkpoint) DefineSSZ(d *ssz.Codec) {
	ssz.Bytes32(d, &c.Root)
	ssz.Uint(d, &c.Slot)
}

// String returns the root and the slot as root@slot.
func (c Checkpoint) String() string { return fmt.Sprintf("%s@%d", c.Root, c.Slot) }

// advanceTo returns the checkpoint with the higher slot, and c if the slots are equal.
func (c Checkpoint) advanceTo(candidate Checkpoint) Checkpoint {
	if candidate.Slot > c.Slot {
		return candidate
	}
	return c
}

// AttestationData is the content of a vote: the validator's head, and a link from a
// justified source to a target.
//
// leanSpec: containers/checkpoint.py, AttestationData
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

// Root returns the hash tree root. Validators sign it.
func (a *AttestationData) Root() Root { return ssz.HashTreeRoot(a) }

// liesOnChain reports whether every checkpoint is a block of the chain. rootAt returns the
// root of the chain's block at a slot, or the zero hash.
//
// leanSpec: containers/checkpoint.py, AttestationData.lies_on_chain
func (a *AttestationData) liesOnChain(rootAt func(Slot) Root) bool {
	for _, c := range [...]*Checkpoint{&a.Source, &a.Target, &a.Head} {
		if c.Root.IsZero() || rootAt(c.Slot) != c.Root {
			return false
		}
	}
	return true
}

// SignedAttestation is the vote of one validator with the signature of its attestation
// key over the root of the data.
//
// leanSpec: containers/attestation.py, SignedAttestation
type SignedAttestation struct {
	ValidatorIndex ValidatorIndex
	Data           AttestationData
	Signature      *xmss.Signature
}

// DecodeSignedAttestation decodes the SSZ encoding of a vote that is signed with a key of
// the scheme. Errors wrap [ssz.ErrInvalid].
func DecodeSignedAttestation(b []byte, scheme *xmss.Scheme) (*SignedAttestation, error) {
	var a SignedAttestation
	if err := ssz.Unmarshal(b, &signedAttestation{&a, scheme}); err != nil {
		return nil, err
	}
	return &a, nil
}

// Encode returns the SSZ encoding.
func (a *SignedAttestation) Encode() []byte { return ssz.Marshal(&signedAttestation{a, nil}) }

// HashTreeRoot returns the hash tree root.
func (a *SignedAttestation) HashTreeRoot() Root {
	return ssz.HashTreeRoot(&signedAttestation{a, nil})
}

// signedAttestation describes a SignedAttestation to the codec. Only decoding needs the
// scheme.
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

// AggregationBits has a bit for each validator: whether it is part of an aggregate.
//
// leanSpec: containers/participation.py, AggregationBits
type AggregationBits = ssz.Bitlist

// BitsFromIndices returns the bits of the given validators. It returns a [*Rejection] with
// EMPTY_AGGREGATION_BITS for no validators, and with VALIDATOR_INDEX_OUT_OF_RANGE for an
// index that is not below [ValidatorRegistryLimit].
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
		return AggregationBits{}, reject(ValidatorIndexOutOfRange, "validator %d, want less than %d", highest, ValidatorRegistryLimit)
	}
	bits := ssz.NewBitlist(int(highest) + 1)
	for _, v := range indices {
		bits.Set(int(v))
	}
	return bits, nil
}

func errEmptyBits() error {
	return reject(EmptyAggregationBits, "aggregate of no validators")
}

// AggregatedAttestation is the same vote of many validators.
//
// leanSpec: containers/attestation.py, AggregatedAttestation
type AggregatedAttestation struct {
	AggregationBits AggregationBits
	Data            AttestationData
}

func (a *AggregatedAttestation) DefineSSZ(d *ssz.Codec) {
	ssz.Bits(d, &a.AggregationBits, ValidatorRegistryLimit)
	ssz.Nested(d, &a.Data)
}

// SingleMessageAggregate proves that the participants signed a message. It does not
// contain the message.
//
// leanSpec: containers/aggregation.py, SingleMessageAggregate
type SingleMessageAggregate struct {
	Participants AggregationBits
	Proof        []byte // at most 512 KiB
}

func (a *SingleMessageAggregate) DefineSSZ(d *ssz.Codec) {
	ssz.Bits(d, &a.Participants, ValidatorRegistryLimit)
	ssz.ByteList(d, &a.Proof, proofLimit)
}

// SignedAggregatedAttestation is an aggregate with its proof, as nodes gossip it.
//
// leanSpec: containers/attestation.py, SignedAggregatedAttestation
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
// leanSpec: containers/block.py, BlockBody
type BlockBody struct {
	Attestations []AggregatedAttestation
}

func (b *BlockBody) DefineSSZ(d *ssz.Codec) {
	ssz.List(d, &b.Attestations, ValidatorRegistryLimit)
}

// BlockHeader is a block with the root of its body instead of the body. It has the same
// hash tree root as the block.
//
// leanSpec: containers/block.py, BlockHeader
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

// Block is a block without its proof. Do not change a block that is in a store.
//
// leanSpec: containers/block.py, Block
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

// Root returns the hash tree root, which identifies the block.
func (b *Block) Root() Root { return ssz.HashTreeRoot(b) }

// MultiMessageAggregate is the proof of a block: for every attestation of the body, in
// order, that its participants signed it, and that the proposer signed the block root.
//
// leanSpec: containers/aggregation.py, MultiMessageAggregate
type MultiMessageAggregate struct {
	Proof []byte // at most 512 KiB
}

func (a *MultiMessageAggregate) DefineSSZ(d *ssz.Codec) {
	ssz.ByteList(d, &a.Proof, proofLimit)
}

// SignedBlock is a block with its proof.
//
// leanSpec: containers/block.py, SignedBlock
type SignedBlock struct {
	Block Block
	Proof MultiMessageAggregate
}

func (b *SignedBlock) DefineSSZ(d *ssz.Codec) {
	ssz.Nested(d, &b.Block)
	ssz.Nested(d, &b.Proof)
}

// DecodeSignedBlock decodes the SSZ encoding of a signed block. Errors wrap
// [ssz.ErrInvalid].
func DecodeSignedBlock(b []byte) (*SignedBlock, error) {
	var block SignedBlock
	if err := ssz.Unmarshal(b, &block); err != nil {
		return nil, err
	}
	return &block, nil
}

// EncodeBlock returns the encoding of the block as a signed block with an empty proof. The
// API serves it if the node does not have the proof.
//
// leanSpec: node/node.py, signed_block_for_root
func EncodeBlock(b *Block) []byte { return ssz.Marshal(&SignedBlock{Block: *b}) }

// GenesisConfig is the part of the configuration that the state contains.
//
// leanSpec: containers/genesis.py, GenesisConfig
type GenesisConfig struct {
	GenesisTime uint64 // Unix seconds
}

func (c *GenesisConfig) DefineSSZ(d *ssz.Codec) { ssz.Uint(d, &c.GenesisTime) }

// Validator is an entry of the registry.
//
// leanSpec: containers/validator.py, Validator
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
