package metrics

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
)

// Fold updates the metrics of an event. It is an events.Consumer. A label value that the definition of
// the metric does not have counts as "other" or is not counted, so the number of series is bounded.
func (m *Metrics) Fold(event events.Event) {
	switch e := event.(type) {
	// The chain.
	case events.BlockImported:
		m.imported(&e)
	case events.BlockRejected:
		m.rejected[events.GossipBlock].WithLabelValues(blockReasons.label(e.Reason), sourceOf(e.Own, e.Gossip)).Inc()
		if isSignatureReason(e.Reason) {
			m.aggregatedSignaturesInvalid.Inc()
		}
	case events.AttestationAccepted:
		m.attestationsProcessed.Inc()
		m.attestationsValid.Inc()
		observe(m.attestationValidationTime, e.Duration)
		if !e.Own {
			m.attestationSignaturesValid.Inc()
			observe(m.attestationVerificationTime, e.SignatureVerification)
		}
	case events.AttestationRejected:
		m.attestationsInvalid.Inc()
		m.rejected[events.GossipAttestation].WithLabelValues(voteReasons.label(e.Reason), sourceOf(e.Own, e.Gossip)).Inc()
		observe(m.attestationVerificationTime, e.SignatureVerification)
		if isSignatureReason(e.Reason) {
			m.attestationSignaturesInvalid.Inc()
		}
	case events.AggregateAccepted:
		add(m.attestationsProcessed, e.Participants)
		if !e.Own {
			m.aggregatedSignaturesValid.Inc()
			observe(m.aggregateVerificationTime, e.Duration)
		}
	case events.AggregateRejected:
		m.rejected[events.GossipAggregation].WithLabelValues(voteReasons.label(e.Reason), sourceOf(e.Own, e.Gossip)).Inc()
		if isSignatureReason(e.Reason) {
			m.aggregatedSignaturesInvalid.Inc()
		}
	case events.AggregateProduced:
		// An aggregate holds the signatures of one committee, so both metrics of leanMetrics
		// observe its duration.
		m.aggregatedSignatures.Inc()
		add(m.attestationsInAggregates, e.Participants)
		observe(m.aggregateBuildingTime, e.Duration)
		observe(m.committeeAggregationTime, e.Duration)
	case events.HeadChanged:
		// leanSpec counts a head that extends the old one as a reorg of depth 0, for which
		// leanMetrics has no bucket.
		m.headSlot.Set(float64(e.New.Slot))
		if e.ReorgDepth > 0 {
			m.reorgs.Inc()
			m.reorgDepth.Observe(float64(e.ReorgDepth))
		}
	case events.Justified:
		m.setJustified(e.Slot)
	case events.Finalized:
		m.setFinalized(e.Slot)
		m.finalizations.WithLabelValues("success").Inc()
	case events.SafeTarget:
		m.safeTargetSlot.Set(float64(e.Slot))
	case events.ChainLoaded:
		m.headSlot.Set(float64(e.Head.Slot))
		m.safeTargetSlot.Set(float64(e.SafeTarget.Slot))
		m.setJustified(e.Justified.Slot)
		m.setFinalized(e.Finalized.Slot)
	case events.SlotSummary:
		m.setFinalized(e.Finalized.Slot) // a reorganization can lower it, which is not a finalization
	case events.PoolSizes:
		m.gossipSignatures.Set(float64(e.AttestationSignatures))
		m.newAggregatedPayloads.Set(float64(e.NewPayloads))
		m.knownAggregatedPayloads.Set(float64(e.KnownPayloads))
		m.storeBlocks.Set(float64(e.Blocks))
		m.storeStates.Set(float64(e.States))
	case events.Tick:
		observe(m.tickInterval, e.Elapsed)
	case events.Fingerprint:
		var b [8]byte // 48 bits, which a float64 holds exactly
		copy(b[2:], e.Root[:6])
		m.fingerprint.Set(float64(binary.BigEndian.Uint64(b[:])))
	case events.ChainSaved:
		m.saveTime.Observe(e.Duration.Seconds())
	case events.Disk:
		m.storageUsed.Set(float64(e.Used))
		m.storageFree.WithLabelValues().Set(float64(e.Free))
	case events.QueueDropped:
		m.queueDropped.WithLabelValues(queueNames.label(e.Queue)).Inc()
	case events.SyncState:
		status, distance := statusSyncing, e.Distance
		if e.Synced {
			status, distance = statusSynced, 0
		}
		m.syncDistance.Set(float64(distance))
		m.setSyncStatus(status)

	// Validators.
	case events.BlockProduced:
		m.blockBuildingSuccess.Inc()
		observe(m.blockBuildingTime, e.Duration)
		observe(m.payloadAggregationTime, e.Payloads)
		m.blockAggregatedPayloads.Observe(float64(e.Attestations))
	case events.BlockProductionFailed:
		if !e.Built {
			m.blockBuildingFailures.Inc()
		}
		m.duty(events.DutyEnded{Duty: events.DutyBlock, Outcome: events.OutcomeMissed, Reason: e.Reason})
	case events.AttestationProduced:
		observe(m.attestationProductionTime, e.Duration)
	case events.DutyEnded:
		m.duty(e)
	case events.SignatureMade:
		if e.Err == nil && e.Kind == events.SignatureAttestation {
			m.attestationSignatures.Inc()
			observe(m.attestationSigningTime, e.Duration)
		}
	case events.SignatureRefused:
		m.signaturesRefused.WithLabelValues(signatureKinds.label(e.Kind)).Inc()
	case events.SigningRecordsMissing:
		m.signingRecordsMissing.Set(float64(e.Keys))
	case events.KeyWindow:
		m.keySlotsLeft.WithLabelValues(strconv.FormatUint(uint64(e.Validator), 10), signatureKinds.label(e.Role)).Set(float64(e.SlotsLeft))
	case events.ValidatorsLoaded:
		m.validatorsCount.Set(float64(e.Count))
	case events.AggregatorRole:
		m.isAggregator.Set(oneIf(e.Enabled))
	case events.AttestationCommittee:
		m.committeeSubnet.Set(float64(e.Subnet))
		m.committeeCount.Set(float64(e.Count))

	// The network.
	case events.PeerConnection:
		if !e.Further && directions.has(e.Direction) && connectionResults.has(e.Result) {
			m.connections.WithLabelValues(e.Direction, e.Result).Inc()
		}
	case events.PeerDisconnection:
		if !e.Further && directions.has(e.Direction) && disconnectReasons.has(e.Reason) {
			m.disconnections.WithLabelValues(e.Direction, e.Reason).Inc()
		}
	case events.PeerFault:
		m.faults.Inc()
	case events.PeerBanned:
		m.bans.Inc()
	case events.Peers:
		m.peersConnected.Set(float64(e.Connected))
		setByName(m.connectedPeers, m.peerNames, e.Connected, e.ByName)
	case events.MeshPeers:
		setByName(m.meshPeers, m.peerNames, e.Count, e.ByName)
	case events.Agreement:
		for _, relation := range headRelations {
			m.peersByHead.WithLabelValues(relation).Set(float64(e.Heads[relation]))
		}
		for _, relation := range finalRelations {
			m.peersByFinalized.WithLabelValues(relation).Set(float64(e.Finalized[relation]))
		}
	case events.SubscriptionsLost:
		m.subscriptionsLost.Inc()
	case events.DuplicateIdentity:
		m.duplicates.Inc()
	case events.ForeignPeers:
		m.foreignPeers.Set(float64(e.Count))
	case events.MessageSeen:
		if h := m.seen[e.Kind]; h != nil {
			observeDelay(h, e.Delay)
		}
		m.drift.add(time.Now(), e.Peer, e.Offset)
	case events.MessageEarly:
		m.drift.add(time.Now(), e.Peer, e.Offset)
	case events.GossipReceived:
		if h := m.gossipSize[e.Kind]; h != nil {
			h.Observe(float64(e.Bytes))
		}
	case events.GossipJudged:
		m.judged(e)
	case events.RequestEnded:
		if !protocols.has(e.Protocol) || !directions.has(e.Direction) || !requestResults.has(e.Result) {
			return
		}
		m.requests.WithLabelValues(e.Protocol, e.Direction, e.Result).Inc()
		if e.Direction == events.DirectionOutbound && e.Result == events.ResultSuccess {
			observe(m.requestTime[e.Protocol], e.Duration)
		}
	}
}

// imported counts a block, its votes and its proof, which is an aggregated signature.
func (m *Metrics) imported(e *events.BlockImported) {
	s := &e.Stages
	m.blocksImported.Inc()
	add(m.attestationsProcessed, e.Participants)
	m.transitionSlots.Add(float64(e.Slots))
	add(m.transitionAttestations, e.Attestations)
	observe(m.transitionSlotsTime, s.Slots)
	observe(m.transitionBlockTime, s.Block)
	observe(m.transitionAttestationsTime, s.Attestations)
	observe(m.stateTransitionTime, s.StateTransition)
	observe(m.blockProcessingTime, s.Total)
	observe(m.importTime, s.Elapsed)
	for i, spent := range [...]time.Duration{s.Wait, s.SignatureVerification, s.StateTransition, s.ForkChoice, s.Save} {
		observe(m.importStages[i], spent)
	}
	if !e.Own {
		m.aggregatedSignaturesValid.Inc()
		observe(m.aggregateVerificationTime, s.SignatureVerification)
	}
	if e.Own || e.Gossip {
		observeDelay(m.blockImported, e.Delay)
	}
}

func (m *Metrics) duty(e events.DutyEnded) {
	if !duties.has(e.Duty) || !outcomes.has(e.Outcome) {
		return
	}
	count := max(e.Count, 1)
	add(m.duties.WithLabelValues(e.Duty, e.Outcome, dutyReason(e.Outcome, e.Reason)), count)
	if e.Duty == events.DutyAggregation && e.Outcome == events.OutcomeSkipped {
		add(m.aggregatorSkipped.WithLabelValues(aggregatorSkipReasons.label(e.Reason)), count)
	}
}

// judged counts a verdict. An undecodable message also counts as a rejected block, vote or aggregate.
func (m *Metrics) judged(e events.GossipJudged) {
	if !gossipKinds.has(e.Kind) || !verdicts.has(e.Verdict) {
		return
	}
	m.gossipMessages.WithLabelValues(e.Kind, e.Verdict).Inc()
	if e.Undecodable {
		m.rejected[e.Kind].WithLabelValues(string(lstar.DecodeError), "gossip").Inc()
	}
}

func (m *Metrics) setJustified(slot lstar.Slot) {
	m.latestJustifiedSlot.Set(float64(slot))
	m.justifiedSlot.Set(float64(slot))
}

func (m *Metrics) setFinalized(slot lstar.Slot) {
	m.latestFinalizedSlot.Set(float64(slot))
	m.finalizedSlot.Set(float64(slot))
	m.finalized.Store(uint64(slot))
}

// setSyncStatus sets lean_node_sync_status to 1 for status and to 0 for the others.
func (m *Metrics) setSyncStatus(status string) {
	for _, s := range statuses {
		m.syncStatus.WithLabelValues(s).Set(oneIf(s == status))
	}
}

// setByName sets a gauge for the peers of each name, and for those without a name.
func setByName(gauge *prometheus.GaugeVec, names []string, total int, byName map[string]int) {
	for _, name := range names {
		n := byName[name]
		gauge.WithLabelValues(name).Set(float64(n))
		total -= n
	}
	gauge.WithLabelValues(unknownPeer).Set(float64(max(total, 0)))
}
