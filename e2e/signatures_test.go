package e2e

import (
	"bytes"
	encoding "encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// signatureChecker checks every signature of some keys in gossip messages and blocks, and finds keys that signed twice for one
// slot. It shares no code with the guard, and parses lists of signatures itself.
type signatureChecker struct {
	scheme *xmss.Scheme
	keys   map[signer]xmss.PublicKey // the keys to check

	mu       sync.Mutex
	signed   map[signerSlot]signedMessage
	checked  int // number of signatures, including repeated ones
	problems []string
}

type signer struct {
	validator uint64
	role      config.Role
}

type signerSlot struct {
	signer
	slot uint64
}

// signedMessage is a message and its signature. Signing is deterministic, so a message has exactly one signature: two different
// ones would reveal as much as signatures of two messages.
type signedMessage struct {
	message   lstar.Root
	signature []byte
	where     string
}

func newSignatureChecker(scheme *xmss.Scheme) *signatureChecker {
	return &signatureChecker{scheme: scheme, keys: make(map[signer]xmss.PublicKey), signed: make(map[signerSlot]signedMessage)}
}

// watch adds the two keys of a validator.
func (c *signatureChecker) watch(validator uint64, attestation, proposal xmss.PublicKey) {
	c.keys[signer{validator, config.Attestation}] = attestation
	c.keys[signer{validator, config.Proposal}] = proposal
}

// attestation checks the signature of a vote.
func (c *signatureChecker) attestation(a *lstar.SignedAttestation) {
	c.note(signer{uint64(a.ValidatorIndex), config.Attestation}, uint64(a.Data.Slot), a.Data.Root(), a.Signature.Bytes(), "a vote")
}

// aggregate checks the signatures of an aggregate.
func (c *signatureChecker) aggregate(a *lstar.SignedAggregatedAttestation) {
	list, ok := bytes.CutPrefix(a.Proof.Proof, []byte("LSL1"))
	if !ok {
		c.problem("the proof of an aggregate is not a list of signatures")
		return
	}
	rest := c.list(list, &a.Proof.Participants, &a.Data, fmt.Sprintf("an aggregate of slot %d", a.Data.Slot))
	if len(rest) > 0 {
		c.problem("%d bytes after the signatures of an aggregate, want 0", len(rest))
	}
}

// block checks the signatures of a block and of its attestations.
func (c *signatureChecker) block(b *lstar.SignedBlock) {
	if b.Block.Slot == 0 {
		return // genesis is not signed
	}
	rest, ok := bytes.CutPrefix(b.Proof.Proof, []byte("LML1"))
	attestations := b.Block.Body.Attestations
	if !ok || len(rest) < 4 || int(encoding.LittleEndian.Uint32(rest)) != len(attestations)+1 {
		c.problem("the proof of the block at slot %d is not a list of %d lists of signatures", b.Block.Slot, len(attestations)+1)
		return
	}
	rest = rest[4:]
	where := fmt.Sprintf("the block at slot %d of validator %d", b.Block.Slot, b.Block.ProposerIndex)
	for i := range attestations {
		rest = c.list(rest, &attestations[i].AggregationBits, &attestations[i].Data, where)
	}
	size := c.scheme.SignatureSize()
	if len(rest) != 4+size || encoding.LittleEndian.Uint32(rest) != 1 {
		c.problem("the proof of the block at slot %d does not end with one signature", b.Block.Slot)
		return
	}
	c.note(signer{uint64(b.Block.ProposerIndex), config.Proposal}, uint64(b.Block.Slot), b.Block.Root(), rest[4:], where)
}

// list checks a list of signatures of one vote, which starts with their number, and returns the bytes after it.
func (c *signatureChecker) list(in []byte, participants *ssz.Bitlist, data *lstar.AttestationData, where string) (rest []byte) {
	size := c.scheme.SignatureSize()
	if count := participants.Count(); len(in) < 4+count*size || int(encoding.LittleEndian.Uint32(in)) != count {
		c.problem("%s does not have %d signatures", where, count)
		return nil
	}
	in = in[4:]
	message := data.Root()
	for v := range participants.All {
		c.note(signer{uint64(v), config.Attestation}, uint64(data.Slot), message, in[:size], where)
		in = in[size:]
	}
	return in
}

// note verifies a signature and compares it with those of the same key and slot.
func (c *signatureChecker) note(by signer, slot uint64, message lstar.Root, signature []byte, where string) {
	key, watched := c.keys[by]
	if !watched {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked++
	before, known := c.signed[signerSlot{by, slot}]
	if known && before.message == message && bytes.Equal(before.signature, signature) {
		return
	}
	parsed, err := c.scheme.ParseSignature(signature)
	if err != nil || !c.scheme.Verify(&key, slot, message, parsed) {
		c.add("%s has an invalid signature of validator %d (%s)", where, by.validator, by.role)
		return
	}
	if known {
		c.add("validator %d signed twice for slot %d (%s): %s in %s, and %s in %s",
			by.validator, slot, by.role, before.message, before.where, message, where)
		return
	}
	c.signed[signerSlot{by, slot}] = signedMessage{message, slices.Clone(signature), where}
}

// problem takes the lock and records a problem.
func (c *signatureChecker) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(format, args...)
}

// add records a problem. The caller holds the lock.
func (c *signatureChecker) add(format string, args ...any) {
	if p := fmt.Sprintf(format, args...); len(c.problems) < 20 && !slices.Contains(c.problems, p) {
		c.problems = append(c.problems, p)
	}
}

// found returns the problems so far, the number of signatures, and the number of different ones.
func (c *signatureChecker) found() (problems []string, checked, different int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.problems), c.checked, len(c.signed)
}

// TestSignatureChecker checks that the checker finds two signatures for one slot in all kinds of messages, and has no false
// positives.
func TestSignatureChecker(t *testing.T) {
	scheme := xmss.Test
	key := func() *xmss.SecretKey {
		k, err := scheme.GenerateKey(t.Context(), xmss.KeyGenOptions{NumActiveSlots: 32, Short: true})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(k *xmss.SecretKey, slot lstar.Slot, message lstar.Root) *xmss.Signature {
		s, err := k.SignUnguarded(uint64(slot), message)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	votes, proposals, other := []*xmss.SecretKey{key(), key()}, []*xmss.SecretKey{key(), key()}, key()
	data := func(head byte) lstar.AttestationData {
		return lstar.AttestationData{Slot: 3, Head: lstar.Checkpoint{Root: lstar.Root{head}, Slot: 3}}
	}
	vote := func(v int, by *xmss.SecretKey, head byte) *lstar.SignedAttestation {
		d := data(head)
		return &lstar.SignedAttestation{ValidatorIndex: lstar.ValidatorIndex(v), Data: d, Signature: sign(by, 3, d.Root())}
	}
	counted := func(b []byte, signatures ...*xmss.Signature) []byte {
		b = encoding.LittleEndian.AppendUint32(b, uint32(len(signatures)))
		for _, s := range signatures {
			b = s.AppendSSZ(b)
		}
		return b
	}
	both := ssz.NewBitlist(3) // one validator more than keys
	both.Set(0)
	both.Set(1)
	// lists appends the signatures of both validators for a vote, in the form of proofs.
	lists := func(b []byte, head byte) []byte {
		d := data(head)
		return counted(b, sign(votes[0], 3, d.Root()), sign(votes[1], 3, d.Root()))
	}
	aggregate := func(head byte) *lstar.SignedAggregatedAttestation {
		return &lstar.SignedAggregatedAttestation{Data: data(head),
			Proof: lstar.SingleMessageAggregate{Participants: both.Clone(), Proof: lists([]byte("LSL1"), head)}}
	}
	block := func(v int, state byte, heads ...byte) *lstar.SignedBlock {
		b := &lstar.SignedBlock{Block: lstar.Block{Slot: 3, ProposerIndex: lstar.ValidatorIndex(v), StateRoot: lstar.Root{state}}}
		proof := encoding.LittleEndian.AppendUint32([]byte("LML1"), uint32(len(heads)+1))
		for _, head := range heads {
			b.Block.Body.Attestations = append(b.Block.Body.Attestations, lstar.AggregatedAttestation{AggregationBits: both.Clone(), Data: data(head)})
			proof = lists(proof, head)
		}
		b.Proof.Proof = counted(proof, sign(proposals[v], 3, b.Block.Root()))
		return b
	}
	cut := aggregate(1)
	cut.Proof.Proof = cut.Proof.Proof[:len(cut.Proof.Proof)-1]
	cutBlock := block(0, 1, 1)
	cutBlock.Proof.Proof = cutBlock.Proof.Proof[:len(cutBlock.Proof.Proof)-1]

	for name, tt := range map[string]struct {
		messages []any
		want     []string // part of each problem
		distinct int
	}{
		"honest":                   {[]any{vote(0, votes[0], 1), vote(0, votes[0], 1), vote(1, votes[1], 2)}, nil, 2},
		"vote, aggregate, block":   {[]any{vote(0, votes[0], 1), aggregate(1), block(0, 1, 1), block(1, 1, 1)}, nil, 4},
		"two votes":                {[]any{vote(0, votes[0], 1), vote(0, votes[0], 2)}, []string{"validator 0 signed twice for slot 3 (attestation)"}, 1},
		"vote against aggregate":   {[]any{vote(1, votes[1], 2), aggregate(1)}, []string{"validator 1 signed twice for slot 3 (attestation)"}, 2},
		"vote against block":       {[]any{block(0, 1, 1), vote(1, votes[1], 2)}, []string{"validator 1 signed twice"}, 3},
		"within a block":           {[]any{block(0, 1, 1, 2)}, []string{"validator 0 signed twice", "validator 1 signed twice"}, 3},
		"two blocks":               {[]any{block(1, 1), block(1, 2)}, []string{"validator 1 signed twice for slot 3 (proposal)"}, 1},
		"a block and a vote":       {[]any{block(0, 1), vote(0, votes[0], 1)}, nil, 2},
		"signature of another key": {[]any{vote(0, other, 1)}, []string{"an invalid signature of validator 0"}, 0},
		"key that is not watched":  {[]any{vote(2, other, 1), vote(2, other, 2)}, nil, 0},
		"truncated aggregate":      {[]any{cut}, []string{"does not have 2 signatures"}, 0},
		"truncated block":          {[]any{cutBlock}, []string{"does not end with one signature"}, 2},
		"unknown kind of proof":    {[]any{&lstar.SignedAggregatedAttestation{}}, []string{"is not a list of signatures"}, 0},
	} {
		c := newSignatureChecker(scheme)
		for v := range votes {
			c.watch(uint64(v), votes[v].PublicKey(), proposals[v].PublicKey())
		}
		for _, m := range tt.messages {
			switch m := m.(type) {
			case *lstar.SignedAttestation:
				c.attestation(m)
			case *lstar.SignedAggregatedAttestation:
				c.aggregate(m)
			case *lstar.SignedBlock:
				c.block(m)
			}
		}
		problems, _, distinct := c.found()
		ok := len(problems) == len(tt.want)
		for i := range min(len(problems), len(tt.want)) {
			ok = ok && strings.Contains(problems[i], tt.want[i])
		}
		if !ok || distinct != tt.distinct {
			t.Errorf("%s: problems = %q, different signatures = %d, want %q and %d", name, problems, distinct, tt.want, tt.distinct)
		}
	}
}
