// Package xmss implements generalized XMSS, the post-quantum signature scheme of
// Lean Ethereum: one-time signatures from Winternitz hash chains over Poseidon,
// one for every slot of a key's lifetime, under the root of one Merkle tree.
//
// Two parameter sets exist as values of one type, [Prod] and [Test]. Everything
// that depends on the parameters starts at a [Scheme]: key generation, decoding
// and verification.
//
//	key, err := xmss.Prod.GenerateKey(ctx, xmss.KeyGenOptions{NumActiveSlots: 4096, Short: true})
//	sig, err := key.Sign(slot, message)
//	pk := key.PublicKey()
//	ok := xmss.Prod.Verify(&pk, slot, message, sig)
//
// # One signature a slot
//
// A slot has a one-time key. Signatures of two different messages for the same
// slot together reveal enough of its hash chains to let anyone forge further
// signatures for that slot. Signing here is deterministic, so signing the same
// message again is harmless, but nothing here remembers which slots were used:
// callers must record a slot durably before they let out a signature for it, and
// must never run one key in two places.
//
// # Trees
//
// The tree of 2^L leaves (L = 32 for Prod, 8 for Test) is cut in the middle into
// one top tree and W = 2^(L/2) bottom trees of W slots each. A [SecretKey] holds
// the top tree and two neighbouring bottom trees, the prepared window. Moving the
// window rebuilds one bottom tree from the secret seed; see
// [SecretKey.AdvancePreparation], and [Signer], which does it ahead of time.
//
// Trees are sparse: a layer holds a run of nodes, extended at either end by a pad
// where the run would cut a pair of siblings in two. A pad stands for everything
// that was never computed. leanSpec draws pads at random; here they are derived
// from the secret seed, with a domain tag of their own, so that a tree with pads
// can be rebuilt. Pads are stored in the key, so keys made by leanSpec work too.
//
// # Short keys
//
// leanSpec widens the slots of a key to whole bottom trees, two at least: 131072
// key pairs for Prod. A short key ([KeyGenOptions].Short) signs just the slots it
// was asked for and computes no other leaf; all the rest of the tree is pads. Its
// public key and signatures are like any others to a verifier. It is encoded as a
// leanSpec SecretKey whose window is not aligned, whose bottom trees may start and
// end anywhere, and where a bottom tree without any slot of the window has no
// layers; leanSpec's own signer does not handle such keys.
//
// leanSpec: spec/crypto/xmss
package xmss
