// Package xmss implements generalized XMSS, the post-quantum signature scheme of Lean
// Ethereum (https://eprint.iacr.org/2025/055). Its security rests on hash functions alone:
// Poseidon over the KoalaBear field, and SHAKE128 for the derivation of secrets.
//
//	key, err := xmss.Prod.GenerateKey(ctx, xmss.KeyGenOptions{NumActiveSlots: 4096, Short: true})
//	signer := xmss.NewSigner(key, ledger)
//	sig, err := signer.Sign(ctx, slot, message)
//	pk := signer.PublicKey()
//	ok := xmss.Prod.Verify(&pk, slot, message, sig)
//
// # How it works
//
// A key pair has a one-time key for each slot of its lifetime. A one-time key consists of
// hash chains of 8 values. The start of each chain is secret, and the hash of all ends is a
// leaf of a Merkle tree. The public key is the root of that tree.
//
// To sign a message, the signer hashes it with randomness to a codeword, which has a digit
// for each chain, and tries randomness until the digits have a fixed sum. The signature
// releases, for each chain, the value at the position of its digit, and the path from the
// leaf to the root. The verifier completes the chains and recomputes the root. Because all
// codewords have the same sum, a codeword other than the signed one has a smaller digit in
// some chain. A forger would have to invert the hash of that chain.
//
// Two parameter sets exist as values of type [Scheme], [Prod] and [Test]. Key generation,
// decoding and verification are methods of Scheme.
//
//	                 Prod           Test
//	lifetime         2^32 slots     2^8 slots
//	chains           46             4
//	sum of digits    200            6
//	public key       52 bytes       52 bytes
//	signature        2,536 bytes    424 bytes
//
// # One message per slot
//
// A one-time key must not sign two messages. The signatures of two different messages for
// one slot together release so many chain values that anyone can forge further signatures
// for that slot. Signing the same message again is harmless, because it gives the same
// signature.
//
// A [Signer] therefore needs a [Ledger]. The ledger records durably which message a slot is
// used for, before the signature exists, and refuses a second message. A ledger on one
// machine does not know about a copy of the key on another machine: never use one key in
// two places. [SecretKey.SignUnguarded] signs without a ledger.
//
// # Trees
//
// The tree has 2^L leaves, with L = 32 for Prod and 8 for Test. It consists of a top tree
// and W = 2^(L/2) bottom trees of W slots each. A [SecretKey] holds the top tree and two
// adjacent bottom trees, which are its prepared window. To move the window by one bottom
// tree, that tree is computed from the secret seed. [SecretKey.AdvancePreparation] does
// this on request, and a Signer does it ahead of time.
//
// Trees are sparse: a layer holds a run of nodes. If only one node of a pair of siblings is
// in the run, a pad takes the place of the other. leanSpec draws pads at random. This
// package derives them from the secret seed, with a separate domain tag, so that a tree with
// pads can be computed again. Pads are stored in the key, so keys that leanSpec generated
// work as well.
//
// # Short keys
//
// leanSpec widens the slots of a key to whole bottom trees, at least two: 131,072 one-time
// keys for Prod. A short key ([KeyGenOptions].Short) has exactly the requested slots, and
// every other part of its tree is a pad. A verifier cannot distinguish its public key and
// signatures from those of other keys.
//
// The encoding of a short key is a leanSpec SecretKey whose window is not aligned, whose
// bottom trees may start and end at any slot, and in which a bottom tree without a slot of
// the window has no layers. leanSpec's own signer cannot read it.
//
// # Side channels
//
// Verification handles only public data. Key generation and signing hash secret chain
// values with code that has no secret-dependent branch or table index. The number of
// attempts of a signature depends on the message and on derived randomness, and the
// codeword is part of the public signature.
//
// leanSpec: spec/crypto/xmss
package xmss
