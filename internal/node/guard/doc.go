// Package guard keeps a durable record of what the validators' one-time keys have signed, and
// refuses a second message for a slot.
//
// Two signatures of one XMSS key for one slot reveal the key. So a signature may leave the process
// only after [Key.Reserve] has made (public key, slot, message) durable. After that, Reserve
// refuses every other message for the slot, and every earlier slot.
//
// Each record is stored twice: beside the key file, and in the data folder if the node has one. If
// one copy is lost or restored from a backup, the higher record applies. While a guard is open, it
// locks the key files, so that no other process on the machine can use the keys.
//
// After genesis, a key without a record may have signed any slot so far. [Open] closes such a key
// up to the slot after the current one, and reports it.
//
// The guard cannot detect that a key is also in use on another machine, or that both copies of a
// record were restored together.
package guard
