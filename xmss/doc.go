// Package xmss implements generalized XMSS, the post-quantum signature scheme of
// Lean Ethereum. A key pair contains one one-time key for every slot of its lifetime.
// Each one-time key is a set of Winternitz hash chains over the Poseidon permutation,
// and a Merkle tree over the one-time keys gives the public key.
//
// Two parameter sets exist as values of type [Scheme]: [Prod] and [Test]. Key
// generation, decoding and verification are methods of Scheme, because they depend on
// the parameters.
//
//	key, err := xmss.Prod.GenerateKey(ctx, xmss.KeyGenOptions{NumActiveSlots: 4096, Short: true})
//	signer := xmss.NewSigner(key, ledger)
//	sig, err := signer.Sign(ctx, slot, message)
//	pk := signer.PublicKey()
//	ok := xmss.Prod.Verify(&pk, slot, message, sig)
//
// # One message per slot
//
// A one-time key must not sign two messages. Signatures of two different messages for
// one slot together reveal enough of its hash chains that anyone can forge further
// signatures for that slot. Signing the same message again is harmless, because it
// gives the same signature.
//
// A [Signer] therefore needs a [Ledger]. The ledger records, durably, which message a
// slot is used for before the signature exists, and it refuses a second message. A
// ledger on one machine cannot know about a copy of the key on another machine: never
// use one key in two places. [SecretKey.SignUnguarded] signs without a ledger.
//
// # Trees
//
// The tree has 2^L leaves, with L = 32 for Prod and 8 for Test. It consists of one top
// tree and W = 2^(L/2) bottom trees of W slots each. A [SecretKey] holds the top tree
// and two adjacent bottom trees, which are its prepared window. To move the window,
// one bottom tree is built again from the secret seed. [SecretKey.AdvancePreparation]
// does this on request, and a Signer does it ahead of time.
//
// Trees are sparse. A layer holds a run of nodes; where the run would separate a pair
// of siblings, a pad takes the place of the missing node. leanSpec draws pads at
// random. This package derives them from the secret seed, with a domain tag of their
// own, so that a tree with pads can be built again. Pads are stored in the key, so
// keys that leanSpec generated work as well.
//
// # Short keys
//
// leanSpec widens the slots of a key to whole bottom trees, at least two: 131,072
// one-time keys for Prod. A short key ([KeyGenOptions].Short) has exactly the slots
// that were requested, and every other part of its tree is a pad. A verifier cannot
// distinguish its public key and signatures from those of other keys. A short key is
// encoded as a leanSpec SecretKey whose window is not aligned, whose bottom trees may
// start and end at any slot, and in which a bottom tree without a slot of the window
// has no layers. leanSpec's own signer does not read such keys.
//
// # Side channels
//
// Verification handles public data only. Key generation and signing hash secret chain
// values with code that has no secret-dependent branch or table index. The number of
// attempts that signing needs depends on the message and on derived randomness, and
// the codeword that it finds is part of the public signature.
//
// leanSpec: spec/crypto/xmss
package xmss
