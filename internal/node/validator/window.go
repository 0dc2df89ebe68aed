package validator

import (
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/guard"
)

// windows is the state of the reports about the windows of the keys.
type windows struct {
	due     lstar.Slot            // first slot that is not reported yet
	percent map[*guard.Key]uint64 // part of the window that was left at the last warning
}

// lowWindow is the part of a key's window, in percent, at which warnings begin.
const lowWindow = 10

// reportWindows reports, once per slot, the number of slots that each key can still sign.
func (s *Service) reportWindows(slot lstar.Slot) {
	w := &s.windows
	if slot < w.due {
		return
	}
	w.due = slot + 1
	for _, v := range s.Keys {
		w.report(s.Bus, v.Index, events.SignatureAttestation, v.Attestation, slot)
		w.report(s.Bus, v.Index, events.SignatureProposal, v.Proposal, slot)
	}
}

// report reports the window of one key.
func (w *windows) report(bus *events.Bus, index lstar.ValidatorIndex, role string, key Key, slot lstar.Slot) {
	start, end := key.Signer.ActivationInterval()
	left := guard.SlotsLeft(key.Guard.Record(), start, end, uint64(slot))
	event := events.KeyWindow{Validator: index, Role: role, SlotsLeft: left, LastSlot: end - 1}
	// Warn once for each percent, so that the warning repeats without flooding the log.
	if total := end - start; left*100 <= lowWindow*total {
		percent := left * 100 / total
		if before, warned := w.percent[key.Guard]; !warned || percent < before {
			event.Low, w.percent[key.Guard] = true, percent
		}
	}
	bus.Report(event)
}
