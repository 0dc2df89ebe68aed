package logging

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// eventLog writes the lines of events.
type eventLog struct {
	// Each line belongs to one of these components.
	node, chain, validator, sync, p2p *slog.Logger

	status atomic.Pointer[[2]string] // msg and reason of the latest line about sync
	stall  stall
}

// Events returns a consumer that writes at most one line per event, and more at the end of a slot in
// which finality or aggregation stalls or resumes. It blocks if the writer of log does, so use a Sink.
//
// The line per slot and changes of the node's state are at info; single blocks, votes and
// checkpoints at debug; external and temporary problems at warn; failures of this node at error.
func Events(log *slog.Logger) events.Consumer {
	return (&eventLog{
		node:      Component(log, defaultComponent),
		chain:     Component(log, "chain"),
		validator: Component(log, "validator"),
		sync:      Component(log, "sync"),
		p2p:       Component(log, "p2p"),
	}).consume
}

func write(log *slog.Logger, level slog.Level, msg string, attrs ...slog.Attr) {
	log.LogAttrs(context.Background(), level, msg, attrs...)
}

// debugs reports whether a logger writes lines at debug. If not, the caller of a frequent line need
// not build its fields.
func debugs(log *slog.Logger) bool { return log.Enabled(context.Background(), slog.LevelDebug) }

func (l *eventLog) consume(event events.Event) {
	switch e := event.(type) {
	// The chain.
	case events.BlockImported:
		if debugs(l.chain) {
			s := &e.Stages
			write(l.chain, slog.LevelDebug, "block imported",
				Slot(e.Slot), Validator(e.ProposerIndex), Root(e.Root), namedRoot("parent_root", e.ParentRoot),
				slog.Int("attestations", e.Attestations), slog.Int("participants", e.Participants),
				slog.Bool("own", e.Own), Peer(e.Peer), Duration(s.Total), namedDuration("wait_ms", s.Wait),
				namedDuration("signature_verification_ms", s.SignatureVerification),
				namedDuration("state_transition_ms", s.StateTransition),
				namedDuration("fork_choice_ms", s.ForkChoice), namedDuration("save_ms", s.Save))
		}
	case events.BlockRejected:
		write(l.chain, slog.LevelWarn, "block rejected", Slot(e.Slot), Root(e.Root), Reason(e.Reason), Peer(e.Peer), Err(e.Err),
			Advice("The proposer produced an invalid block. If every block is rejected, check that this node's genesis and version match the network."))
	case events.BlockPending:
		if debugs(l.sync) {
			write(l.sync, slog.LevelDebug, "block waits for parent",
				Slot(e.Slot), Root(e.Root), namedRoot("parent_root", e.ParentRoot), Peer(e.Peer))
		}
	case events.AttestationAccepted:
		if debugs(l.chain) {
			write(l.chain, slog.LevelDebug, "vote accepted",
				Slot(e.Slot), Validator(e.Validator), slog.Bool("own", e.Own), Peer(e.Peer), Duration(e.Duration))
		}
	case events.AttestationRejected:
		if debugs(l.chain) {
			write(l.chain, slog.LevelDebug, "vote rejected",
				Slot(e.Slot), Validator(e.Validator), Reason(e.Reason), Peer(e.Peer), Err(e.Err))
		}
	case events.AggregateAccepted:
		l.stall.aggregates.Store(true)
		if debugs(l.chain) {
			write(l.chain, slog.LevelDebug, "aggregate accepted", Slot(e.Slot),
				slog.Int("participants", e.Participants), slog.Bool("own", e.Own), Peer(e.Peer), Duration(e.Duration))
		}
	case events.AggregateRejected:
		if debugs(l.chain) {
			write(l.chain, slog.LevelDebug, "aggregate rejected", Slot(e.Slot), Reason(e.Reason), Peer(e.Peer), Err(e.Err))
		}
	case events.AggregateProduced:
		l.stall.aggregates.Store(true)
		if debugs(l.validator) {
			write(l.validator, slog.LevelDebug, "aggregate produced",
				Slot(e.Slot), slog.Int("participants", e.Participants), Duration(e.Duration))
		}
	case events.HeadChanged:
		level, msg := slog.LevelDebug, "head changed"
		if e.ReorgDepth > 0 {
			level, msg = slog.LevelInfo, "head changed by reorg"
		}
		write(l.chain, level, msg, Slot(e.New.Slot), Root(e.New.Root), slotField("old_slot", e.Old.Slot),
			namedRoot("old_root", e.Old.Root), slog.Int("reorg_depth", e.ReorgDepth))
	case events.Justified:
		write(l.chain, slog.LevelDebug, "justified", Slot(e.Slot), Root(e.Root))
	case events.Finalized:
		write(l.chain, slog.LevelDebug, "finalized", Slot(e.Slot), Root(e.Root))
	case events.SafeTarget:
		write(l.chain, slog.LevelDebug, "safe target", Slot(e.Slot), Root(e.Root))
	case events.SlotSummary:
		write(l.chain, slog.LevelInfo, "slot", Slot(e.Slot), slotField("head_slot", e.Head.Slot),
			slotField("justified_slot", e.Justified.Slot), slotField("finalized_slot", e.Finalized.Slot),
			slotField("finality_lag", finalityLag(e)), slotField("safe_target_slot", e.SafeTarget.Slot), Root(e.Head.Root),
			slog.Int("peers", e.Peers), slog.Int("votes", e.Votes), slog.Bool("block_seen", e.BlockSeen), slog.Bool("synced", e.Synced))
		l.stalled(e)
	case events.QueueDropped:
		write(l.node, slog.LevelWarn, "queue full, item dropped", slog.String(keyQueue, e.Queue),
			Advice("This node does not keep up with its peers. Check the load of the machine. A few dropped items during sync are harmless."))
	case events.SyncState:
		msg := "syncing"
		if e.Synced {
			msg, e.Distance, e.Reason = "synced", 0, ""
		}
		next := &[2]string{msg, e.Reason}
		if last := l.status.Swap(next); last == nil || *last != *next {
			write(l.sync, slog.LevelInfo, msg, slog.Uint64("distance", e.Distance), Reason(e.Reason))
		}

	// Validators.
	case events.BlockProduced:
		if debugs(l.validator) {
			write(l.validator, slog.LevelDebug, "block produced", Slot(e.Slot), Validator(e.Validator), Root(e.Root),
				slog.Int("attestations", e.Attestations), Duration(e.Duration))
		}
	case events.BlockProductionFailed:
		write(l.validator, slog.LevelError, "block production failed", Slot(e.Slot), Validator(e.Validator), Reason(e.Reason), Err(e.Err),
			Advice("The slot has no block of this validator. If this repeats, check the load and the disk of the machine, and earlier errors."))
	case events.AttestationProduced:
		if debugs(l.validator) {
			write(l.validator, slog.LevelDebug, "vote produced", Slot(e.Slot), Validator(e.Validator), Duration(e.Duration))
		}
	case events.DutyEnded:
		l.duty(e)
	case events.DutyGate:
		level, msg, advice := slog.LevelWarn, "duties paused",
			Advice("Duties resume when the head has caught up. Check why the head is behind: peers and disk first.")
		if e.Open {
			level, msg, advice = slog.LevelInfo, "duties resumed", slog.Attr{}
		}
		write(l.validator, level, msg, Slot(e.Slot), slog.String("duty", e.Duty),
			slotField("head_slot", e.HeadSlot), slotField("lag", e.Lag), Reason(e.Reason), advice)
	case events.SignatureMade:
		if e.Err != nil {
			write(l.validator, slog.LevelError, "signing failed", Slot(e.Slot), Validator(e.Validator),
				slog.String("kind", e.Kind), Duration(e.Duration), Err(e.Err),
				Advice("Fix the cause named in the error: check the disk, or replace the validator if its key has run out."))
		} else if debugs(l.validator) {
			write(l.validator, slog.LevelDebug, "signed", Slot(e.Slot), Validator(e.Validator), slog.String("kind", e.Kind), Duration(e.Duration))
		}
	case events.SignatureRefused:
		write(l.validator, slog.LevelError, "signature refused", Slot(e.Slot), Validator(e.Validator),
			slog.String("kind", e.Kind), slog.Uint64("latest_slot", e.LatestSlot), Err(e.Err),
			Advice("Make sure that the key runs on one node only, and that neither its signing records nor the clock were set back: docs/keys.md."))
	case events.SigningRecordsMissing:
		write(l.validator, slog.LevelError, "signing records are missing", Slot(e.Slot),
			slog.Int("keys", e.Keys), slog.String("file", e.File), slotField("next_slot", e.NextSlot),
			Advice("The keys sign from next_slot on. Unless they are new, make sure that they run on no other machine "+
				"and that the data folder is kept when the node is replaced: docs/keys.md."))
	case events.KeyWindow:
		if e.Low {
			write(l.validator, slog.LevelWarn, "key runs out", Validator(e.Validator), slog.String("role", e.Role),
				slog.Uint64("slots_left", e.SlotsLeft), slog.Uint64("last_slot", e.LastSlot),
				Advice("The validator does no duties after the last slot of its key. Plan its replacement: a key cannot be renewed."))
		}
	case events.ValidatorsLoaded:
		write(l.validator, slog.LevelInfo, "validators loaded", slog.Int("count", e.Count))
	case events.AggregatorRole:
		write(l.validator, slog.LevelInfo, "aggregator role", slog.Bool("enabled", e.Enabled))

	// The network.
	case events.PeerConnection:
		// A failure is at debug: the p2p service logs the first of a series.
		level, msg := slog.LevelInfo, "peer connected"
		switch {
		case e.Result != events.ResultSuccess:
			level, msg = slog.LevelDebug, "peer did not connect"
		case e.Further:
			level, msg = slog.LevelDebug, "peer connected again"
		}
		write(l.p2p, level, msg, Peer(e.Peer), optional("address", e.Address),
			slog.String("direction", e.Direction), slog.String("result", e.Result), Err(e.Err))
	case events.PeerDisconnection:
		level, msg := slog.LevelInfo, "peer disconnected"
		if e.Further {
			level, msg = slog.LevelDebug, "peer keeps one connection less"
		}
		write(l.p2p, level, msg, Peer(e.Peer), slog.String("direction", e.Direction), Reason(e.Reason), optional("detail", e.Detail))
	case events.PeerFault:
		write(l.p2p, slog.LevelDebug, "peer at fault", Peer(e.Peer), Reason(e.Reason), slog.Float64("faults", e.Faults), Err(e.Err))
	case events.PeerBanned:
		write(l.p2p, slog.LevelWarn, "peer banned", Peer(e.Peer), Reason(e.Reason),
			Advice("If the peer is a node of yours, check its log and version. Otherwise there is nothing to do."))
	case events.Peers:
		write(l.p2p, slog.LevelDebug, "peers", slog.Int("connected", e.Connected))
	case events.SubscriptionsLost:
		advice := "The node closes the connection and dials again, which restores gossip. If it happens often, check the log of the peer."
		if !e.Reset {
			advice = "This node sends no gossip to the peer. Restart the peer, or this node."
		}
		write(l.p2p, slog.LevelWarn, "gossip subscriptions of a peer were lost", Peer(e.Peer), slog.Bool("reset", e.Reset), Advice(advice))
	case events.DuplicateIdentity:
		msg := "two nodes have the same peer id"
		if e.Other == "" {
			msg = "another node has the peer id of this node"
		}
		write(l.p2p, slog.LevelWarn, msg, Peer(e.Peer), optional("address", e.Address), optional("other_address", e.Other),
			Advice("Give each node its own node key: stop one of the two, remove its copied node key (the node key file, or node.key in its data folder), "+
				"and start it again. If its validator keys were copied too, never run both."))
	case events.ForeignPeer:
		write(l.p2p, slog.LevelWarn, "peer has no gossip topic in common", Peer(e.Peer), slog.Any("our_topics", e.Ours), slog.Any("their_topics", e.Theirs),
			Advice("Compare the third part of the topics, which is the network name. It must be the same on all nodes of a network."))

	case events.ConsumerPanicked:
		write(l.node, slog.LevelError, "event lost by a panic", Err(e.Err), slog.String("stack", string(e.Stack)),
			Advice("Please report this as a bug, with this line. The node continues; metrics or log lines may be incomplete."))
	}
}

// duty logs the outcome of a duty. Missed duties are warnings. So are skipped ones, unless the
// reason is normal or is logged elsewhere.
func (l *eventLog) duty(e events.DutyEnded) {
	level, advice := slog.LevelWarn, Advice("Check the lines before this one, and the load of the machine. A single missed duty is harmless.")
	switch e.Reason {
	case events.ReasonSlotClosed:
		advice = Advice("The signing record of the key was missing or damaged, so the key may have signed this slot. Look for an earlier line about it: docs/keys.md.")
	case string(lstar.SourceAfterTarget):
		advice = Advice("This is normal for some slots after a start, and when finality resumes.")
	}
	switch e.Outcome {
	case events.OutcomeMade:
		return
	case events.OutcomeLate:
		level, advice = slog.LevelInfo, slog.Attr{}
	case events.OutcomeSkipped:
		switch e.Reason {
		case events.ReasonNotSynced, events.ReasonNotAggregator, events.ReasonNoSignatures:
			level, advice = slog.LevelDebug, slog.Attr{}
		case events.ReasonNoTarget:
			level, advice = slog.LevelInfo, slog.Attr{}
		}
	}
	write(l.validator, level, "duty "+e.Outcome, Slot(e.Slot), slog.String("duty", e.Duty), slog.Int("count", max(e.Count, 1)), Reason(e.Reason), advice)
}
