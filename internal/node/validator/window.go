package validator

import (
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/node/guard"
)

// windows remembers what was told of the windows of the keys.
type windows struct {
	reported bool
	slot     lstar.Slot            // of the latest report
	percent  map[*guard.Key]uint64 // of the window that was left when a warning said so
}

// lowWindow is the percentage of a key's window below which warnings begin.
const lowWindow = 10

// reportWindows tells, once a slot, for how many slots each key can still sign.
func (s *Service) reportWindows(slot lstar.Slot) {
	w := &s.windows
	if w.reported && slot == w.slot {
		return
	}
	w.reported, w.slot = true, slot
	for _, v := range s.order {
		w.report(s.Bus, v.index, events.SignatureAttestation, v.attestation, slot)
		w.report(s.Bus, v.index, events.SignatureProposal, v.proposal, slot)
	}
}

func (w *windows) report(bus *events.Bus, index lstar.ValidatorIndex, role string, key Key, slot lstar.Slot) {
	start, end := key.Signer.ActivationInterval()
	left := guard.SlotsLeft(key.Guard.Record(), start, end, uint64(slot))
	event := events.KeyWindow{Validator: index, Role: role, SlotsLeft: left, LastSlot: end - 1}
	// A warning for each percent that is lost, so that it is seen and fills no log.
	if total := end - start; left*100 <= lowWindow*total {
		percent := left * 100 / total
		if w.percent == nil {
			w.percent = make(map[*guard.Key]uint64)
		}
		if before, told := w.percent[key.Guard]; !told || percent < before {
			event.Low, w.percent[key.Guard] = true, percent
		}
	}
	bus.Report(event)
}
