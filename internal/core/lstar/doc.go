// Package lstar is the lstar fork of the Lean consensus protocol, which leanSpec
// defines under spec/forks/lstar: containers, state transition, fork choice, block
// production and validator duties.
//
// The package is a pure state machine. A [State] is an immutable value. A [Store]
// changes only through its methods, and the same sequence of calls always gives the
// same store. There is no clock, socket, goroutine or logger: time is an input
// ([Store.OnTick]), and effects are return values.
//
// An input that the specification rejects gives a [*Rejection] with the reason code
// of the specification. Vectors, logs, metrics and peer scores all use that code.
//
// The files follow those of the specification:
//
//	config.go            config.py
//	errors.go            errors.py
//	slot.go              slot.py, containers/interval.py, containers/identifiers.py
//	containers.go        containers
//	validators.go        containers/validator.py
//	state.go             containers/state.py
//	state_transition.go  state_transition.py
//	store.go             containers/store.py, and create_store of fork_choice.py
//	fork_choice.go       fork_choice.py: on_block, on_gossip_attestation, update_head …
//	prepare.go           the steps of on_block and on_gossip_… that need no order
//	fork_tree.go         block weights and LMD-GHOST of fork_choice.py
//	signatures.go        signatures.py
//	timeline.go          timeline.py
//	aggregation.go       aggregation.py
//	block_production.go  block_production.py
//	validator_duties.go  validator_duties.py
//
// The other files have no counterpart: snapshot.go for readers on other goroutines,
// persistence.go for storage, pools.go and root_index.go for data structures.
package lstar
