package conformance

import (
	"fmt"
	"testing"

	"github.com/leanEthereum/leanspec-node/xmss"
)

const knownAnswersKind = "xmss known answers"

// knownAnswers holds keys of the production scheme that were made from fixed seeds. Tests
// of package xmss check the keys. The tests here check the signatures.
type knownAnswers struct {
	Scheme, Source string
	Keys           []struct {
		PublicKey  xmss.PublicKey `json:"public_key"`
		Signatures []knownSignature

		// Inputs and parts of the key, which are not checked here.
		PRFKey          any `json:"prf_key"`
		Parameter       any
		ActivationSlot  any `json:"activation_slot"`
		NumActiveSlots  any `json:"num_active_slots"`
		BottomTreeRoots any `json:"bottom_tree_roots"`
		Leaves          any
		TopTreeLayers   any `json:"top_tree_layers"`
	}
}

type knownSignature struct {
	Slot      uint64
	Message   [32]byte
	Signature hexBytes
	Valid     bool
	Comment   *string // the reason why the signature is invalid
	Attempts  any     // of the signer
	Codeword  any     // of the message
}

func TestXMSSKnownAnswers(t *testing.T) {
	path := beside("../xmss_prod_kat.json", defaultVectors+"/../xmss_prod_kat.json")
	file, err := loadJSON(path)
	if err != nil {
		count(knownAnswersKind).why("no known answers beside the vectors")
		missing(t, "known answers of XMSS: %v", err)
	}
	var answers knownAnswers
	if err := (reader{xmss.Prod}).into(&answers, file); err != nil {
		t.Fatal(err)
	}
	for i := range answers.Keys {
		key := &answers.Keys[i]
		for _, s := range key.Signatures {
			name := fmt.Sprintf("key %d/slot %d %s", i, s.Slot, valueOr(s.Comment, "valid"))
			subtest(t, knownAnswersKind, name, func(t *testing.T) { s.check(t, &key.PublicKey) })
		}
	}
	wantRun(t, knownAnswersKind)
}

func (s *knownSignature) check(t *testing.T, key *xmss.PublicKey) {
	signature, err := xmss.Prod.ParseSignature(s.Signature)
	if err != nil {
		if s.Valid {
			t.Errorf("decoding: %v", err)
		}
		return // an invalid signature may have an invalid encoding
	}
	if got := xmss.Prod.Verify(key, s.Slot, s.Message, signature); got != s.Valid {
		t.Errorf("Verify = %v, want %v", got, s.Valid)
	}
	ok := make([]bool, 1)
	xmss.Prod.VerifyBatch([]xmss.Verification{{PublicKey: key, Slot: s.Slot, Message: s.Message, Signature: signature}}, ok)
	if ok[0] != s.Valid {
		t.Errorf("VerifyBatch = %v, want %v", ok[0], s.Valid)
	}
}
