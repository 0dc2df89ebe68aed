package telemetry

import (
	"context"
	"encoding/binary"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"
)

// Observer turns events into metrics and log lines. Its methods are safe for concurrent use and never fail. They
// do not block where the log's writer is a Sink. A nil *Observer takes all events and does nothing.
//
// Levels: a line a slot and changes of the node's own condition at info, single blocks, votes and checkpoints at
// debug, rejected blocks at warn, failures of this node itself at error.
type Observer struct {
	m *Metrics

	// Loggers of the parts of the node that the lines speak for.
	node, chain, validator, sync, p2p *slog.Logger

	// syncState is the status and reason of the last SyncState, to log changes only.
	syncState atomic.Pointer[[2]string]
	stall     stall
}

// NewObserver returns an observer that moves m and writes to log. Either may be nil and then goes nowhere.
func NewObserver(m *Metrics, log *slog.Logger) *Observer {
	if m == nil {
		m = NewMetrics(Info{})
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Observer{
		m:         m,
		node:      Component(log, defaultComponent),
		chain:     Component(log, "chain"),
		validator: Component(log, "validator"),
		sync:      Component(log, "sync"),
		p2p:       Component(log, "p2p"),
	}
}

// write logs a line. Lines below info come often; their callers ask debugs first, so that a line that is not
// written costs nothing.
func write(log *slog.Logger, level slog.Level, msg string, attrs ...slog.Attr) {
	log.LogAttrs(context.Background(), level, msg, attrs...)
}

func debugs(log *slog.Logger) bool { return log.Enabled(context.Background(), slog.LevelDebug) }

// BlockImported counts the block, its votes and its proof, which is an aggregated signature.
func (o *Observer) BlockImported(e BlockImported) {
	if o == nil {
		return
	}
	m, stages := o.m, &e.Stages
	m.blocksImported.Inc()
	add(m.attestationsProcessed, e.Participants)
	m.transitionSlots.Add(float64(e.Slots))
	add(m.transitionAttestations, e.Attestations)
	observe(m.transitionSlotsTime, stages.Slots)
	observe(m.transitionBlockTime, stages.Block)
	observe(m.transitionAttestationsTime, stages.Attestations)
	observe(m.stateTransitionTime, stages.StateTransition)
	observe(m.blockProcessingTime, stages.Total)
	observe(m.importTime, stages.Elapsed)
	for i, spent := range [...]time.Duration{stages.Wait, stages.SignatureVerification, stages.StateTransition, stages.ForkChoice, stages.Save} {
		observe(m.importStages[i], spent)
	}
	if !e.Own {
		m.aggregatedSignaturesValid.Inc()
		observe(m.aggregateVerificationTime, stages.SignatureVerification)
	}
	if e.Own || e.Gossip {
		observeDelay(m.blockImported, e.Delay)
	}

	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "block imported",
			Slot(e.Slot), Validator(e.ProposerIndex), Root(e.Root), namedRoot("parent_root", e.ParentRoot),
			slog.Int("attestations", e.Attestations), slog.Int("participants", e.Participants),
			slog.Bool("own", e.Own), Peer(e.PeerID), Duration(e.Stages.Total),
			namedDuration("wait_ms", e.Stages.Wait),
			namedDuration("signature_verification_ms", e.Stages.SignatureVerification),
			namedDuration("state_transition_ms", e.Stages.StateTransition),
			namedDuration("fork_choice_ms", e.Stages.ForkChoice),
			namedDuration("save_ms", e.Stages.Save))
	}
}

// Seen observes how long after its slot began a valid message came, and compares the clocks.
func (o *Observer) Seen(e Seen) {
	if o == nil {
		return
	}
	switch e.Kind {
	case GossipBlock:
		observeDelay(o.m.blockSeen, e.Delay)
	case GossipAttestation:
		observeDelay(o.m.attestationSeen, e.Delay)
	case GossipAggregation:
		observeDelay(o.m.aggregateSeen, e.Delay)
	}
	o.m.drift.add(time.Now(), e.PeerID, e.Offset)
}

// Early takes a message that is too far ahead of the clock to be judged: it says nothing but what the clocks are.
func (o *Observer) Early(e Seen) {
	if o == nil {
		return
	}
	o.m.drift.add(time.Now(), e.PeerID, e.Offset)
}

// BlockRejected counts the rejection by reason and source.
func (o *Observer) BlockRejected(e BlockRejected) {
	if o == nil {
		return
	}
	o.m.blocksRejected.WithLabelValues(blockReasons.label(e.Reason), sourceOf(e.Own, e.Gossip)).Inc()
	if isSignatureReason(e.Reason) {
		o.m.aggregatedSignaturesInvalid.Inc()
	}
	write(o.chain, slog.LevelWarn, "block rejected",
		Slot(e.Slot), Root(e.Root), Reason(e.Reason), Peer(e.PeerID), Err(e.Err),
		Advice("a bad block is the matter of who made it; if every block is rejected, compare genesis and version with the network's"))
}

// BlockPending logs a block that waits for its parent.
func (o *Observer) BlockPending(e BlockPending) {
	if o == nil {
		return
	}
	if debugs(o.sync) {
		write(o.sync, slog.LevelDebug, "block waits for parent",
			Slot(e.Slot), Root(e.Root), namedRoot("parent_root", e.ParentRoot), Peer(e.PeerID))
	}
}

// AttestationAccepted counts one vote. An own vote's signature was made here, not checked.
func (o *Observer) AttestationAccepted(e AttestationAccepted) {
	if o == nil {
		return
	}
	o.m.attestationsProcessed.Inc()
	o.m.attestationsValid.Inc()
	observe(o.m.attestationValidationTime, e.Duration)
	if !e.Own {
		o.m.attestationSignaturesValid.Inc()
		observe(o.m.attestationVerificationTime, e.SignatureVerification)
	}
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "vote accepted",
			Slot(e.Slot), Validator(e.Validator), slog.Bool("own", e.Own), Peer(e.PeerID), Duration(e.Duration))
	}
}

// AttestationRejected counts the rejection by reason.
func (o *Observer) AttestationRejected(e AttestationRejected) {
	if o == nil {
		return
	}
	o.m.attestationsInvalid.Inc()
	o.m.attestationsRejected.WithLabelValues(voteReasons.label(e.Reason), sourceOf(e.Own, e.Gossip)).Inc()
	observe(o.m.attestationVerificationTime, e.SignatureVerification)
	if isSignatureReason(e.Reason) {
		o.m.attestationSignaturesInvalid.Inc()
	}
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "vote rejected",
			Slot(e.Slot), Validator(e.Validator), Reason(e.Reason), Peer(e.PeerID), Err(e.Err))
	}
}

// AggregateAccepted counts each participant as a vote, and the proof as one aggregated signature.
func (o *Observer) AggregateAccepted(e AggregateAccepted) {
	if o == nil {
		return
	}
	o.stall.aggregate()
	add(o.m.attestationsProcessed, e.Participants)
	if !e.Own {
		o.m.aggregatedSignaturesValid.Inc()
		observe(o.m.aggregateVerificationTime, e.Duration)
	}
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "aggregate accepted", Slot(e.Slot),
			slog.Int("participants", e.Participants), slog.Bool("own", e.Own), Peer(e.PeerID), Duration(e.Duration))
	}
}

// AggregateRejected counts the rejection by reason.
func (o *Observer) AggregateRejected(e AggregateRejected) {
	if o == nil {
		return
	}
	o.m.aggregatesRejected.WithLabelValues(voteReasons.label(e.Reason), sourceOf(e.Own, e.Gossip)).Inc()
	if isSignatureReason(e.Reason) {
		o.m.aggregatedSignaturesInvalid.Inc()
	}
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "aggregate rejected",
			Slot(e.Slot), Reason(e.Reason), Peer(e.PeerID), Err(e.Err))
	}
}

// AggregateProduced counts an aggregate made here. One aggregate is one committee's signatures, so that both
// metrics of leanMetrics for its duration see it.
func (o *Observer) AggregateProduced(e AggregateProduced) {
	if o == nil {
		return
	}
	o.stall.aggregate()
	o.m.aggregatedSignatures.Inc()
	add(o.m.attestationsInAggregates, e.Participants)
	observe(o.m.aggregateBuildingTime, e.Duration)
	observe(o.m.committeeAggregationTime, e.Duration)
	if debugs(o.validator) {
		write(o.validator, slog.LevelDebug, "aggregate produced",
			Slot(e.Slot), slog.Int("participants", e.Participants), Duration(e.Duration))
	}
}

// HeadChanged moves the head. A head that extends the old one is no reorg; leanSpec counts it as one of depth 0,
// for which the histogram of leanMetrics has no bucket.
func (o *Observer) HeadChanged(e HeadChanged) {
	if o == nil {
		return
	}
	o.m.headSlot.Set(float64(e.NewSlot))
	level, msg := slog.LevelDebug, "head changed"
	if e.ReorgDepth > 0 {
		o.m.reorgs.Inc()
		o.m.reorgDepth.Observe(float64(e.ReorgDepth))
		level, msg = slog.LevelInfo, "head changed by reorg"
	} else if !debugs(o.chain) {
		return
	}
	write(o.chain, level, msg, Slot(e.NewSlot), Root(e.NewRoot), slog.Uint64("old_slot", e.OldSlot),
		namedRoot("old_root", e.OldRoot), slog.Int("reorg_depth", e.ReorgDepth))
}

// Justified moves the justified checkpoint.
func (o *Observer) Justified(e Justified) {
	if o == nil {
		return
	}
	o.setJustified(e.Slot)
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "justified", Slot(e.Slot), Root(e.Root))
	}
}

// Finalized moves the finalized checkpoint and counts one finalization.
func (o *Observer) Finalized(e Finalized) {
	if o == nil {
		return
	}
	o.setFinalized(e.Slot)
	o.m.finalizations.WithLabelValues("success").Inc()
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "finalized", Slot(e.Slot), Root(e.Root))
	}
}

// SafeTarget moves the safe target.
func (o *Observer) SafeTarget(e SafeTarget) {
	if o == nil {
		return
	}
	o.m.safeTargetSlot.Set(float64(e.Slot))
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "safe target", Slot(e.Slot), Root(e.Root))
	}
}

// BlockProduced counts a block that was built here.
func (o *Observer) BlockProduced(e BlockProduced) {
	if o == nil {
		return
	}
	o.m.blockBuildingSuccess.Inc()
	observe(o.m.blockBuildingTime, e.Duration)
	observe(o.m.payloadAggregationTime, e.Payloads)
	o.m.blockAggregatedPayloads.Observe(float64(e.Attestations))
	if debugs(o.validator) {
		write(o.validator, slog.LevelDebug, "block produced", Slot(e.Slot), Validator(e.Validator), Root(e.Root),
			slog.Int("attestations", e.Attestations), Duration(e.Duration))
	}
}

// BlockProductionFailed counts a duty that was missed, and the block if it could not be built.
func (o *Observer) BlockProductionFailed(e BlockProductionFailed) {
	if o == nil {
		return
	}
	if !e.Built {
		o.m.blockBuildingFailures.Inc()
	}
	o.m.duties.WithLabelValues(DutyBlock, OutcomeMissed, dutyReason(OutcomeMissed, e.Reason)).Inc()
	write(o.validator, slog.LevelError, "block production failed",
		Slot(e.Slot), Validator(e.Validator), Reason(e.Reason), Err(e.Err),
		Advice("the slot has no block of this validator; if it goes on, look at the machine's load and disk, and at earlier errors"))
}

// AttestationProduced times a vote that was made here.
func (o *Observer) AttestationProduced(e AttestationProduced) {
	if o == nil {
		return
	}
	observe(o.m.attestationProductionTime, e.Duration)
	if debugs(o.validator) {
		write(o.validator, slog.LevelDebug, "vote produced", Slot(e.Slot), Validator(e.Validator), Duration(e.Duration))
	}
}

// Duty counts what became of a duty. That the node is not synced or no aggregator is told by other lines already, and
// that there is nothing to do is no fault, so only the other reasons not to do it are worth a warning.
func (o *Observer) Duty(e Duty) {
	if o == nil {
		return
	}
	if !duties.has(e.Duty) || !outcomes.has(e.Outcome) {
		return
	}
	add(o.m.duties.WithLabelValues(e.Duty, e.Outcome, dutyReason(e.Outcome, e.Reason)), max(e.Count, 1))
	level, advice := slog.LevelWarn, Advice("look at the lines before it, and at the machine's load; one is no harm")
	switch e.Reason {
	case ReasonSlotClosed:
		advice = Advice("The record of the key was missing or damaged, so it is not known whether it has signed this slot. Look for an earlier line about it; docs/keys.md says more.")
	case "SOURCE_AFTER_TARGET":
		advice = Advice("normal for some slots after a start, and when finality comes back")
	}
	switch e.Outcome {
	case OutcomeMade:
		return
	case OutcomeLate:
		level, advice = slog.LevelInfo, slog.Attr{}
	case OutcomeSkipped:
		if e.Duty == DutyAggregation {
			add(o.m.aggregatorSkipped.WithLabelValues(aggregatorSkipReasons.label(e.Reason)), max(e.Count, 1))
		}
		switch e.Reason {
		case ReasonNotSynced, ReasonNotAggregator, ReasonNoSignatures:
			level, advice = slog.LevelDebug, slog.Attr{}
		case ReasonNoTarget:
			level, advice = slog.LevelInfo, slog.Attr{}
		}
	}
	write(o.validator, level, "duty "+e.Outcome, Slot(e.Slot), slog.String("duty", e.Duty), slog.Int("count", max(e.Count, 1)), Reason(e.Reason), advice)
}

// DutyGate logs that duties stop or go on.
func (o *Observer) DutyGate(e DutyGate) {
	if o == nil {
		return
	}
	level, msg, advice := slog.LevelWarn, "duties paused", Advice("they resume when the head has caught up: look for why it is behind, at peers and disk first")
	if e.Open {
		level, msg, advice = slog.LevelInfo, "duties resumed", slog.Attr{}
	}
	write(o.validator, level, msg, Slot(e.Slot), slog.String("duty", e.Duty),
		slog.Uint64("head_slot", e.HeadSlot), slog.Uint64("lag", e.Lag), Reason(e.Reason), advice)
}

// SignatureMade counts and times the signing of votes, and logs every failure to sign.
func (o *Observer) SignatureMade(e SignatureMade) {
	if o == nil {
		return
	}
	if e.Err != nil {
		write(o.validator, slog.LevelError, "signing failed", Slot(e.Slot), Validator(e.Validator),
			slog.String("kind", e.Kind), Duration(e.Duration), Err(e.Err),
			Advice("the error says why: a key that has run out needs a new network or validator, a disk that fails needs a look"))
		return
	}
	if e.Kind == SignatureAttestation {
		o.m.attestationSignatures.Inc()
		observe(o.m.attestationSigningTime, e.Duration)
	}
	if debugs(o.validator) {
		write(o.validator, slog.LevelDebug, "signed", Slot(e.Slot), Validator(e.Validator), slog.String("kind", e.Kind), Duration(e.Duration))
	}
}

// SignatureRefused counts and logs a refusal. Something has asked for what gives a key away.
func (o *Observer) SignatureRefused(e SignatureRefused) {
	if o == nil {
		return
	}
	o.m.signaturesRefused.WithLabelValues(signatureKinds.label(e.Kind)).Inc()
	write(o.validator, slog.LevelError, "signature refused", Slot(e.Slot), Validator(e.Validator),
		slog.String("kind", e.Kind), slog.Uint64("latest_slot", e.LatestSlot), Err(e.Err),
		Advice("make sure that the key runs on one node only, and that neither its records nor the clock were set back; docs/keys.md says more"))
}

// SigningRecordsMissing sets the number of keys without a record, and logs it.
func (o *Observer) SigningRecordsMissing(e SigningRecordsMissing) {
	if o == nil {
		return
	}
	o.m.signingRecordsMissing.Set(float64(e.Keys))
	write(o.validator, slog.LevelError, "signing records are missing", Slot(e.Slot),
		slog.Int("keys", e.Keys), slog.String("file", e.File), slog.Uint64("next_slot", e.NextSlot),
		Advice("The keys sign from next_slot on. Unless they are new, make sure that they run on no other machine "+
			"and that the data folder outlives the node; docs/keys.md says more."))
}

// KeyWindow sets the slots that a key has left, and warns where it is asked to.
func (o *Observer) KeyWindow(e KeyWindow) {
	if o == nil {
		return
	}
	o.m.keySlotsLeft.WithLabelValues(strconv.FormatUint(e.Validator, 10), signatureKinds.label(e.Role)).Set(float64(e.SlotsLeft))
	if e.Low {
		write(o.validator, slog.LevelWarn, "key runs out", Validator(e.Validator), slog.String("role", e.Role),
			slog.Uint64("slots_left", e.SlotsLeft), slog.Uint64("last_slot", e.LastSlot),
			Advice("after its last slot the validator does no duties; a key cannot be renewed"))
	}
}

// SlotSummary writes the line of the slot, and one where finality or aggregation stalls or resumes. It sets what is
// finalized: a reorganisation can lower it, which does not count as a finalization.
func (o *Observer) SlotSummary(e SlotSummary) {
	if o == nil {
		return
	}
	o.setFinalized(e.FinalizedSlot)
	write(o.chain, slog.LevelInfo, "slot", Slot(e.Slot),
		slog.Uint64("head_slot", e.HeadSlot), slog.Uint64("justified_slot", e.JustifiedSlot),
		slog.Uint64("finalized_slot", e.FinalizedSlot), slog.Uint64("finality_lag", e.finalityLag()),
		slog.Uint64("safe_target_slot", e.SafeTargetSlot),
		Root(e.HeadRoot), slog.Int("peers", e.Peers), slog.Int("votes", e.Votes),
		slog.Bool("block_seen", e.BlockSeen), slog.Bool("synced", e.Synced))
	o.stalled(e)
}

// PoolSizes sets the sizes of the store.
func (o *Observer) PoolSizes(e PoolSizes) {
	if o == nil {
		return
	}
	o.m.gossipSignatures.Set(float64(e.AttestationSignatures))
	o.m.newAggregatedPayloads.Set(float64(e.NewPayloads))
	o.m.knownAggregatedPayloads.Set(float64(e.KnownPayloads))
	o.m.storeBlocks.Set(float64(e.Blocks))
	o.m.storeStates.Set(float64(e.States))
}

// Tick observes the time between two intervals.
func (o *Observer) Tick(e Tick) {
	if o == nil {
		return
	}
	observe(o.m.tickInterval, e.Elapsed)
}

// ChainLoaded sets the slots of the chain before anything has happened.
func (o *Observer) ChainLoaded(e ChainLoaded) {
	if o == nil {
		return
	}
	o.m.headSlot.Set(float64(e.HeadSlot))
	o.m.safeTargetSlot.Set(float64(e.SafeTargetSlot))
	o.setJustified(e.JustifiedSlot)
	o.setFinalized(e.FinalizedSlot)
}

// Fingerprint sets what nodes are compared by: 48 bits, which a float64 holds exactly.
func (o *Observer) Fingerprint(e Fingerprint) {
	if o == nil {
		return
	}
	var b [8]byte
	copy(b[2:], e.Root[:6])
	o.m.fingerprint.Set(float64(binary.BigEndian.Uint64(b[:])))
}

// Disk sets the sizes.
func (o *Observer) Disk(e Disk) {
	if o == nil {
		return
	}
	o.m.storageUsed.Set(float64(e.Used))
	o.m.storageFree.WithLabelValues().Set(float64(e.Free))
}

// QueueDropped counts an item that was dropped.
func (o *Observer) QueueDropped(e QueueDropped) {
	if o == nil {
		return
	}
	o.m.queueDropped.WithLabelValues(queueNames.label(e.Queue)).Inc()
	write(o.node, slog.LevelWarn, "queue full, item dropped", slog.String(keyQueue, e.Queue),
		Advice("this node does not keep up with its peers: look at the machine's load; a moment of it while syncing is harmless"))
}

// ChainSaved observes how long the disk took.
func (o *Observer) ChainSaved(e ChainSaved) {
	if o == nil {
		return
	}
	o.m.saveTime.Observe(e.Duration.Seconds())
}

// SyncState sets the distance to the best known head, and logs when the node falls out of sync or catches up.
func (o *Observer) SyncState(e SyncState) {
	if o == nil {
		return
	}
	status := statusSyncing
	if e.Synced {
		status, e.Reason = statusSynced, ""
		e.Distance = 0
	}
	o.m.syncDistance.Set(float64(e.Distance))
	o.m.setSyncStatus(status)

	next := &[2]string{status, e.Reason}
	if last := o.syncState.Swap(next); last == nil || *last != *next {
		write(o.sync, slog.LevelInfo, status, slog.Uint64("distance", e.Distance), Reason(e.Reason))
	}
}

// ValidatorsLoaded sets the number of validators run here.
func (o *Observer) ValidatorsLoaded(e ValidatorsLoaded) {
	if o == nil {
		return
	}
	o.m.validatorsCount.Set(float64(e.Count))
	write(o.validator, slog.LevelInfo, "validators loaded", slog.Int("count", e.Count))
}

// AggregatorRole sets whether this node aggregates.
func (o *Observer) AggregatorRole(e AggregatorRole) {
	if o == nil {
		return
	}
	o.m.isAggregator.Set(oneIf(e.Enabled))
	write(o.validator, slog.LevelInfo, "aggregator role", slog.Bool("enabled", e.Enabled))
}

// Peers sets the number of connected peers.
func (o *Observer) Peers(e Peers) {
	if o == nil {
		return
	}
	o.m.peersConnected.Set(float64(e.Connected))
	setByName(o.m.connectedPeers, o.m.peerNames, e.Connected, e.ByName)
	if debugs(o.p2p) {
		write(o.p2p, slog.LevelDebug, "peers", slog.Int("connected", e.Connected))
	}
}

func (o *Observer) setJustified(slot uint64) {
	o.m.latestJustifiedSlot.Set(float64(slot))
	o.m.justifiedSlot.Set(float64(slot))
}

func (o *Observer) setFinalized(slot uint64) {
	o.m.latestFinalizedSlot.Set(float64(slot))
	o.m.finalizedSlot.Set(float64(slot))
	o.m.finalized.Store(slot)
}

// isSignatureReason says whether an object was rejected for its signature or proof.
func isSignatureReason(reason string) bool {
	return reason == reasonInvalidSignature || reason == reasonInvalidBlockProof
}
