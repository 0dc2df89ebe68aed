// Package guard remembers on disk what was signed with the one-time keys of the
// validators, and refuses a second message for a slot.
//
// Whoever signs two messages for one slot with one XMSS key has given the key
// away. So a signature may leave the process only after [Key.Reserve] has made
// (public key, slot, message) durable, and Reserve says no to every other message
// for that slot and to every slot before it.
//
// The record of a key is kept in two places: beside the key file, and in the data
// folder if the node has one. A restored or lost folder is noticed by the other,
// and the higher record wins. While a guard is open the key files are locked, so
// that a second node on the same machine cannot use them.
//
// A key without a record after genesis may have signed any slot so far. It is
// closed up to the slot after the current one, and reported.
//
// What no file can tell: keys that were copied to another machine, and both
// copies of a record restored at once.
package guard
