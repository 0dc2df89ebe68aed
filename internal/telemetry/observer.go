package telemetry

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
)

// Observer turns events into metrics and log lines. Its methods are safe for concurrent use, never fail, and
// block only for as long as the log's writer does.
//
// Levels: a line a slot and changes of the node's own condition at info, single blocks, votes and checkpoints at
// debug, rejected blocks at warn, failures of this node itself at error.
type Observer struct {
	m *Metrics

	// Loggers of the parts of the node that the lines speak for.
	node, chain, validator, sync, p2p *slog.Logger

	// syncState is the last SyncState seen, to log changes only.
	syncState atomic.Int32
}

const (
	syncStateSyncing = iota + 1 // zero: none seen yet
	syncStateSynced
)

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
	o.m.blocksImported.Inc()
	add(o.m.attestationsProcessed, e.Participants)
	add(o.m.transitionAttestationsDone, e.Attestations)
	observe(o.m.stateTransitionTime, e.Stages.StateTransition)
	observe(o.m.blockProcessingTime, e.Stages.Total)
	if !e.Own {
		o.m.aggregatedSignaturesValid.Inc()
		observe(o.m.aggregateVerificationTime, e.Stages.SignatureVerification)
	}

	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "block imported",
			Slot(e.Slot), Validator(e.ProposerIndex), Root(e.Root), namedRoot("parent_root", e.ParentRoot),
			slog.Int("attestations", e.Attestations), slog.Int("participants", e.Participants),
			slog.Bool("own", e.Own), Peer(e.PeerID), Duration(e.Stages.Total),
			namedDuration("signature_verification_ms", e.Stages.SignatureVerification),
			namedDuration("state_transition_ms", e.Stages.StateTransition),
			namedDuration("fork_choice_ms", e.Stages.ForkChoice))
	}
}

// BlockRejected counts the rejection by reason.
func (o *Observer) BlockRejected(e BlockRejected) {
	o.m.blocksRejected.WithLabelValues(knownReasons.label(e.Reason)).Inc()
	if isSignatureReason(e.Reason) {
		o.m.aggregatedSignaturesInvalid.Inc()
	}
	write(o.chain, slog.LevelWarn, "block rejected",
		Slot(e.Slot), Root(e.Root), Reason(e.Reason), Peer(e.PeerID), Err(e.Err),
		Advice("a bad block is the matter of who made it; if every block is rejected, compare genesis and version with the network's"))
}

// BlockPending logs a block that waits for its parent.
func (o *Observer) BlockPending(e BlockPending) {
	if debugs(o.sync) {
		write(o.sync, slog.LevelDebug, "block waits for parent",
			Slot(e.Slot), Root(e.Root), namedRoot("parent_root", e.ParentRoot), Peer(e.PeerID))
	}
}

// AttestationAccepted counts one vote. An own vote's signature was made here, not checked.
func (o *Observer) AttestationAccepted(e AttestationAccepted) {
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
	o.m.attestationsInvalid.Inc()
	o.m.attestationsRejected.WithLabelValues(knownReasons.label(e.Reason)).Inc()
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
	o.m.aggregatesRejected.WithLabelValues(knownReasons.label(e.Reason)).Inc()
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
	o.setJustified(e.Slot)
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "justified", Slot(e.Slot), Root(e.Root))
	}
}

// Finalized moves the finalized checkpoint and counts one finalization.
func (o *Observer) Finalized(e Finalized) {
	o.setFinalized(e.Slot)
	o.m.finalizations.WithLabelValues("success").Inc()
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "finalized", Slot(e.Slot), Root(e.Root))
	}
}

// SafeTarget moves the safe target.
func (o *Observer) SafeTarget(e SafeTarget) {
	o.m.safeTargetSlot.Set(float64(e.Slot))
	if debugs(o.chain) {
		write(o.chain, slog.LevelDebug, "safe target", Slot(e.Slot), Root(e.Root))
	}
}

// BlockProduced counts a block that was built here.
func (o *Observer) BlockProduced(e BlockProduced) {
	o.m.blockBuildingSuccess.Inc()
	observe(o.m.blockBuildingTime, e.Duration)
	o.m.blockAggregatedPayloads.Observe(float64(e.Attestations))
	if debugs(o.validator) {
		write(o.validator, slog.LevelDebug, "block produced", Slot(e.Slot), Validator(e.Validator), Root(e.Root),
			slog.Int("attestations", e.Attestations), Duration(e.Duration))
	}
}

// BlockProductionFailed counts a block that could not be built.
func (o *Observer) BlockProductionFailed(e BlockProductionFailed) {
	o.m.blockBuildingFailures.Inc()
	write(o.validator, slog.LevelError, "block production failed",
		Slot(e.Slot), Validator(e.Validator), Reason(e.Reason), Err(e.Err),
		Advice("the slot has no block of this validator; if it goes on, look at the machine's load and disk, and at earlier errors"))
}

// AttestationProduced times a vote that was made here.
func (o *Observer) AttestationProduced(e AttestationProduced) {
	observe(o.m.attestationProductionTime, e.Duration)
	if debugs(o.validator) {
		write(o.validator, slog.LevelDebug, "vote produced", Slot(e.Slot), Validator(e.Validator), Duration(e.Duration))
	}
}

// DutySkipped counts a duty that was not done. That the node is not synced or no aggregator is told by other lines
// already, and that there is nothing to do is no fault, so only the other reasons are worth a warning.
func (o *Observer) DutySkipped(e DutySkipped) {
	o.m.dutiesSkipped.WithLabelValues(knownDuties.label(e.Duty), knownReasons.label(e.Reason)).Inc()
	if e.Duty == DutyAggregation {
		o.m.aggregatorSkipped.WithLabelValues(aggregatorSkipReasons.label(e.Reason)).Inc()
	}
	level, advice := slog.LevelWarn, Advice("look at the lines before it, and at the machine's load; one is no harm")
	switch e.Reason {
	case ReasonNotSynced, ReasonNotAggregator, ReasonNoValidators, ReasonNoSignatures:
		level, advice = slog.LevelDebug, slog.Attr{}
	}
	write(o.validator, level, "duty skipped", Slot(e.Slot), slog.String("duty", e.Duty), Reason(e.Reason), advice)
}

// DutyGate logs that duties stop or go on.
func (o *Observer) DutyGate(e DutyGate) {
	level, msg, advice := slog.LevelWarn, "duties paused", Advice("they resume when the head has caught up: look for why it is behind, at peers and disk first")
	if e.Open {
		level, msg, advice = slog.LevelInfo, "duties resumed", slog.Attr{}
	}
	write(o.validator, level, msg, Slot(e.Slot), slog.String("duty", e.Duty),
		slog.Uint64("head_slot", e.HeadSlot), slog.Uint64("lag", e.Lag), Reason(e.Reason), advice)
}

// SignatureMade counts and times the signing of votes, and logs every failure to sign.
func (o *Observer) SignatureMade(e SignatureMade) {
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
	o.m.signaturesRefused.WithLabelValues(signatureKinds.label(e.Kind)).Inc()
	write(o.validator, slog.LevelError, "signature refused", Slot(e.Slot), Validator(e.Validator),
		slog.String("kind", e.Kind), slog.Uint64("latest_slot", e.LatestSlot), Err(e.Err),
		Advice("make sure that the key runs on one node only, and that neither its records nor the clock were set back; docs/keys.md says more"))
}

// KeyWindow sets the slots that a key has left, and warns where it is asked to.
func (o *Observer) KeyWindow(e KeyWindow) {
	o.m.keySlotsLeft.WithLabelValues(strconv.FormatUint(e.Validator, 10), signatureKinds.label(e.Role)).Set(float64(e.SlotsLeft))
	if e.Low {
		write(o.validator, slog.LevelWarn, "key runs out", Validator(e.Validator), slog.String("role", e.Role),
			slog.Uint64("slots_left", e.SlotsLeft), slog.Uint64("last_slot", e.LastSlot),
			Advice("after its last slot the validator does no duties; a key cannot be renewed"))
	}
}

// SlotSummary writes the line of the slot and brings the slots of the chain up to date, which no other event does
// for a store that was loaded rather than built.
func (o *Observer) SlotSummary(e SlotSummary) {
	o.m.headSlot.Set(float64(e.HeadSlot))
	o.m.safeTargetSlot.Set(float64(e.SafeTargetSlot))
	o.setJustified(e.JustifiedSlot)
	o.setFinalized(e.FinalizedSlot)
	write(o.chain, slog.LevelInfo, "slot", Slot(e.Slot),
		slog.Uint64("head_slot", e.HeadSlot), slog.Uint64("justified_slot", e.JustifiedSlot),
		slog.Uint64("finalized_slot", e.FinalizedSlot), slog.Uint64("safe_target_slot", e.SafeTargetSlot),
		Root(e.HeadRoot), slog.Int("peers", e.Peers), slog.Int("votes", e.Votes),
		slog.Bool("block_seen", e.BlockSeen), slog.Bool("synced", e.Synced))
}

// PoolSizes sets the sizes of the store.
func (o *Observer) PoolSizes(e PoolSizes) {
	o.m.gossipSignatures.Set(float64(e.AttestationSignatures))
	o.m.newAggregatedPayloads.Set(float64(e.NewPayloads))
	o.m.knownAggregatedPayloads.Set(float64(e.KnownPayloads))
	o.m.storeBlocks.Set(float64(e.Blocks))
	o.m.storeStates.Set(float64(e.States))
}

// AggregateCoverage sets the coverage of one section.
func (o *Observer) AggregateCoverage(e AggregateCoverage) {
	if !coverageSections.has(e.Section) {
		return
	}
	validators, subnets := 0, 0
	for subnet, covered := range e.BySubnet {
		o.m.coverageValidators.WithLabelValues(e.Section, "subnet_"+strconv.Itoa(subnet)).Set(float64(covered))
		validators += covered
		if covered > 0 {
			subnets++
		}
	}
	o.m.coverageValidators.WithLabelValues(e.Section, subnetCombined).Set(float64(validators))
	o.m.coverageSubnets.WithLabelValues(e.Section).Set(float64(subnets))
}

// AggregateCoverageDiff sets the difference between two sections.
func (o *Observer) AggregateCoverageDiff(e AggregateCoverageDiff) {
	o.m.coverageDiffValidators.WithLabelValues("block_only").Set(float64(e.BlockOnly))
	o.m.coverageDiffValidators.WithLabelValues("timely_only").Set(float64(e.TimelyOnly))
}

// QueueDropped counts an item that was dropped.
func (o *Observer) QueueDropped(e QueueDropped) {
	o.m.queueDropped.WithLabelValues(o.m.queues.label(e.Queue)).Inc()
	write(o.node, slog.LevelWarn, "queue full, item dropped", slog.String(keyQueue, e.Queue),
		Advice("this node does not keep up with its peers: look at the machine's load; a moment of it while syncing is harmless"))
}

// ChainSaved observes how long the disk took.
func (o *Observer) ChainSaved(e ChainSaved) { o.m.saveTime.Observe(e.Duration.Seconds()) }

// SyncState sets the distance to the best known head, and logs when the node falls out of sync or catches up.
func (o *Observer) SyncState(e SyncState) {
	next, status := int32(syncStateSyncing), statusSyncing
	if e.Synced {
		next, status = syncStateSynced, statusSynced
		e.Distance = 0
	}
	o.m.syncDistance.Set(float64(e.Distance))
	o.m.setSyncStatus(status)

	if o.syncState.Swap(next) != next {
		write(o.sync, slog.LevelInfo, status, slog.Uint64("distance", e.Distance), Reason(e.Reason))
	}
}

// ValidatorsLoaded sets the number of validators run here.
func (o *Observer) ValidatorsLoaded(e ValidatorsLoaded) {
	o.m.validatorsCount.Set(float64(e.Count))
	write(o.validator, slog.LevelInfo, "validators loaded", slog.Int("count", e.Count))
}

// AggregatorRole sets whether this node aggregates.
func (o *Observer) AggregatorRole(e AggregatorRole) {
	o.m.isAggregator.Set(oneIf(e.Enabled))
	write(o.validator, slog.LevelInfo, "aggregator role", slog.Bool("enabled", e.Enabled))
}

// Peers sets the number of connected peers.
func (o *Observer) Peers(e Peers) {
	o.m.peersConnected.Set(float64(e.Connected))
	o.m.connectedPeers.Set(float64(e.Connected))
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
}

// isSignatureReason says whether an object was rejected for its signature or proof.
func isSignatureReason(reason string) bool {
	return reason == reasonInvalidSignature || reason == reasonInvalidBlockProof
}
