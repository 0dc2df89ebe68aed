package xmss_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/leanEthereum/leanspec-node/xmss"
)

// memoryLedger is a ledger for examples. It forgets its slots when the process ends, so
// a real ledger must write to disk and sync before Reserve returns.
type memoryLedger map[uint64][32]byte

func (l memoryLedger) Reserve(slot uint64, message [32]byte) error {
	if reserved, ok := l[slot]; ok && reserved != message {
		return errors.New("another message is reserved for this slot")
	}
	l[slot] = message
	return nil
}

// Generate a key, sign a message for a slot, and verify the signature.
func Example() {
	ctx := context.Background()
	key, err := xmss.Test.GenerateKey(ctx, xmss.KeyGenOptions{NumActiveSlots: 8, Short: true})
	if err != nil {
		log.Fatal(err)
	}
	signer := xmss.NewSigner(key, memoryLedger{})
	defer signer.Close()

	message := [32]byte{1, 2, 3}
	signature, err := signer.Sign(ctx, 5, message)
	if err != nil {
		log.Fatal(err)
	}
	publicKey := signer.PublicKey()
	fmt.Println("valid:", xmss.Test.Verify(&publicKey, 5, message, signature))
	fmt.Println("valid for slot 6:", xmss.Test.Verify(&publicKey, 6, message, signature))
	// Output:
	// valid: true
	// valid for slot 6: false
}

// A signer refuses to sign a second message for a slot, because its ledger does.
func ExampleNewSigner() {
	ctx := context.Background()
	key, err := xmss.Test.GenerateKey(ctx, xmss.KeyGenOptions{NumActiveSlots: 8, Short: true})
	if err != nil {
		log.Fatal(err)
	}
	signer := xmss.NewSigner(key, memoryLedger{})
	defer signer.Close()

	_, err = signer.Sign(ctx, 5, [32]byte{1})
	fmt.Println("first message:", err)
	_, err = signer.Sign(ctx, 5, [32]byte{2})
	fmt.Println("second message:", err)
	_, err = signer.Sign(ctx, 5, [32]byte{1})
	fmt.Println("first message again:", err)
	// Output:
	// first message: <nil>
	// second message: another message is reserved for this slot
	// first message again: <nil>
}

// Store a key pair as bytes and read it back.
func ExampleScheme_ParseSecretKey() {
	key, err := xmss.Test.GenerateKey(context.Background(), xmss.KeyGenOptions{NumActiveSlots: 8, Short: true})
	if err != nil {
		log.Fatal(err)
	}
	secret := key.Bytes() // keep it in a file that only the owner can read
	again, err := xmss.Test.ParseSecretKey(secret)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("same public key:", again.PublicKey() == key.PublicKey())

	_, err = xmss.Test.ParseSecretKey(secret[:len(secret)-1])
	fmt.Println("cut short:", errors.Is(err, xmss.ErrInvalid))
	// Output:
	// same public key: true
	// cut short: true
}

// Verify the signatures of several keys together.
func ExampleScheme_VerifyBatch() {
	const slot = 3
	var items []xmss.Verification
	for i := range 3 {
		key, err := xmss.Test.GenerateKey(context.Background(), xmss.KeyGenOptions{NumActiveSlots: 8, Short: true})
		if err != nil {
			log.Fatal(err)
		}
		message := [32]byte{byte(i)}
		signature, err := key.SignUnguarded(slot, message) // this key signs only once
		if err != nil {
			log.Fatal(err)
		}
		publicKey := key.PublicKey()
		items = append(items, xmss.Verification{PublicKey: &publicKey, Slot: slot, Message: message, Signature: signature})
	}
	items[1].Slot++

	valid := make([]bool, len(items))
	xmss.Test.VerifyBatch(items, valid)
	fmt.Println(valid)
	// Output: [true false true]
}
