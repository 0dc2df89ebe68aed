package p2p

import (
	"errors"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
	"github.com/leanEthereum/leanspec-node/xmss"
)

var kinds = []wire.TopicKind{wire.TopicBlock, wire.TopicAttestation, wire.TopicAggregation}

func FuzzGossip(f *testing.F) {
	f.Add(uint8(0), wire.CompressBlock(ssz.Marshal(block(1))))
	f.Add(uint8(1), wire.CompressBlock(vote(1, 2).Encode()))
	f.Add(uint8(2), wire.CompressBlock(ssz.Marshal(aggregate(3))))
	f.Add(uint8(0), []byte{0x80, 0x80, 0x80, 0x05, 0})
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		topic := wire.Topic{Kind: kinds[int(kind)%len(kinds)], Network: DefaultNetworkName}.String()
		id := wire.GossipID(topic, raw)
		if data, err := wire.DecompressBlock(raw, MaxPayloadSize); err == nil && wire.GossipID(topic, wire.CompressBlock(data)) != id {
			t.Error("the id depends on how the message is compressed")
		}
		message, err := decodeGossip(kinds[int(kind)%len(kinds)], raw, Config{Scheme: xmss.Test})
		if err != nil {
			if !errors.Is(err, wire.ErrInvalid) && !errors.Is(err, ssz.ErrInvalid) {
				t.Errorf("got error %v, want one about the bytes", err)
			}
			return
		}
		var encoded []byte
		switch m := message.(type) {
		case *lstar.SignedBlock:
			encoded = ssz.Marshal(m)
		case *lstar.SignedAttestation:
			encoded = m.Encode()
		case *lstar.SignedAggregatedAttestation:
			encoded = ssz.Marshal(m)
		}
		data, err := wire.DecompressBlock(raw, MaxPayloadSize)
		if err != nil || string(encoded) != string(data) {
			t.Errorf("message encodes to %x, was %x (error %v)", encoded, data, err)
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add(ssz.Marshal(&Status{Head: lstar.Checkpoint{Slot: 4}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Status
		if err := ssz.Unmarshal(b, &s); err != nil {
			if len(b) == statusSize {
				t.Errorf("a status of 80 bytes does not decode: %v", err)
			}
			return
		}
		if string(ssz.Marshal(&s)) != string(b) {
			t.Errorf("status encodes to %x, was %x", ssz.Marshal(&s), b)
		}
	})
}

func FuzzParseBootnode(f *testing.F) {
	for _, s := range bootnodes(f) {
		f.Add(s.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBootnode(s)
		var configError *config.Error
		if err != nil && !errors.As(err, &configError) {
			t.Errorf("error %T, want %T", err, configError)
		}
		if err == nil && !dialable(b.Addr) {
			t.Errorf("%q is parsed as %v, which cannot be dialed", s, b.Addr)
		}
	})
}
