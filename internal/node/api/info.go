package api

import (
	_ "embed" // openapi.json
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

// Peer is a connected peer.
type Peer struct {
	PeerID    string    `json:"peer_id"`
	Name      string    `json:"name,omitempty"` // from the operator's files
	Address   string    `json:"last_seen_p2p_address"`
	State     string    `json:"state"`     // always connected
	Direction string    `json:"direction"` // inbound or outbound
	Connected time.Time `json:"connected_at"`
	// Head and Finalized are those of the peer's latest status. They are nil before it.
	Head      *lstar.Checkpoint `json:"-"`
	Finalized *lstar.Checkpoint `json:"-"`
}

// Response bodies of the additions to leanSpec's routes. genesisBody, specBody and syncingBody have
// the shape of ethlambda's API, configBody and summaryBody that of the Nemo explorer, peersBody
// that of the Beacon API.
type (
	errorBody struct {
		Error string `json:"error"`
	}
	genesisBody struct {
		GenesisTime    uint64 `json:"genesis_time"`
		ValidatorCount int    `json:"validator_count"`
	}
	specBody struct {
		MillisecondsPerSlot        int    `json:"MILLISECONDS_PER_SLOT"`
		IntervalsPerSlot           int    `json:"INTERVALS_PER_SLOT"`
		MillisecondsPerInterval    int    `json:"MILLISECONDS_PER_INTERVAL"`
		JustificationLookbackSlots int    `json:"JUSTIFICATION_LOOKBACK_SLOTS"`
		HistoricalRootsLimit       int    `json:"HISTORICAL_ROOTS_LIMIT"`
		ValidatorRegistryLimit     int    `json:"VALIDATOR_REGISTRY_LIMIT"`
		MaxAttestationsData        int    `json:"MAX_ATTESTATIONS_DATA"`
		ForkDigest                 string `json:"FORK_DIGEST"` // the network's name in gossip topics
	}
	configBody struct {
		GenesisTime  uint64 `json:"genesis_time"`
		SlotDuration int    `json:"slot_duration_seconds"`
		NetworkName  string `json:"network_name"`
	}
	syncingBody struct {
		IsSyncing     bool       `json:"is_syncing"`
		HeadSlot      lstar.Slot `json:"head_slot"`
		SyncDistance  lstar.Slot `json:"sync_distance"` // from the head to the slot of the wall clock
		FinalizedSlot lstar.Slot `json:"finalized_slot"`
		Reason        string     `json:"reason,omitempty"`
	}
	peerBody struct {
		Peer
		Head      *checkpointBody `json:"head,omitempty"`
		Finalized *checkpointBody `json:"finalized,omitempty"`
	}
	peersBody struct {
		Data []peerBody `json:"data"`
		Meta struct {
			Count int `json:"count"`
		} `json:"meta"`
	}
	validatorBody struct {
		Index                lstar.ValidatorIndex `json:"index"`
		AttestationPublicKey string               `json:"attestation_public_key"`
		ProposalPublicKey    string               `json:"proposal_public_key"`
	}
	summaryBody struct {
		Slot           lstar.Slot     `json:"slot"`
		Root           string         `json:"root"` // of the block
		StateRoot      string         `json:"state_root"`
		ValidatorCount int            `json:"validator_count"`
		Justified      checkpointBody `json:"latest_justified"`
		Finalized      checkpointBody `json:"latest_finalized"`
	}
)

// withStore answers 503 until the backend has a snapshot, like withSnapshot, but with an error in JSON.
func (h handlers) withStore(handle func(http.ResponseWriter, *http.Request, *lstar.Snapshot)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s := h.Backend.Snapshot(); s != nil {
			handle(w, r, s)
		} else {
			failJSON(w, http.StatusServiceUnavailable, "store not initialized")
		}
	}
}

// failJSON sends an error in the format of ethlambda's API, which all routes have that leanSpec
// does not define.
func failJSON(w http.ResponseWriter, status int, reason string) {
	b, _ := json.Marshal(errorBody{reason}) // cannot fail: a string
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// openAPIDocument describes the routes of the API port.
//
//go:embed openapi.json
var openAPIDocument []byte

func openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPIDocument)
}

func (h handlers) genesis(w http.ResponseWriter, _ *http.Request, s *lstar.Snapshot) {
	writeJSON(w, genesisBody{s.HeadState.Config.GenesisTime, s.HeadState.Validators.Len()})
}

func (h handlers) spec(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, specBody{
		MillisecondsPerSlot:        lstar.MillisecondsPerSlot,
		IntervalsPerSlot:           lstar.IntervalsPerSlot,
		MillisecondsPerInterval:    lstar.MillisecondsPerInterval,
		JustificationLookbackSlots: lstar.JustificationLookbackSlots,
		HistoricalRootsLimit:       lstar.HistoricalRootsLimit,
		ValidatorRegistryLimit:     lstar.ValidatorRegistryLimit,
		MaxAttestationsData:        lstar.MaxAttestationsData,
		ForkDigest:                 h.NetworkName,
	})
}

func (h handlers) config(w http.ResponseWriter, _ *http.Request, s *lstar.Snapshot) {
	writeJSON(w, configBody{s.HeadState.Config.GenesisTime, lstar.SecondsPerSlot, h.NetworkName})
}

func (h handlers) syncing(w http.ResponseWriter, _ *http.Request, s *lstar.Snapshot) {
	state := h.Health.Sync()
	head, now := s.Head.Slot, lstar.Slot(state.ClockSlot)
	writeJSON(w, syncingBody{
		IsSyncing: !state.Synced, HeadSlot: head, SyncDistance: max(now, head) - head,
		FinalizedSlot: s.LatestFinalized.Slot, Reason: state.Reason,
	})
}

func (h handlers) peers(w http.ResponseWriter, _ *http.Request) {
	peers := h.Peers()
	body := peersBody{Data: make([]peerBody, len(peers))}
	body.Meta.Count = len(peers)
	checkpoint := func(c *lstar.Checkpoint) *checkpointBody {
		if c == nil {
			return nil
		}
		b := toBody(*c)
		return &b
	}
	for i, p := range peers {
		body.Data[i] = peerBody{p, checkpoint(p.Head), checkpoint(p.Finalized)}
	}
	writeJSON(w, body)
}

func (h handlers) finalizedCheckpoint(w http.ResponseWriter, _ *http.Request, s *lstar.Snapshot) {
	writeJSON(w, toBody(s.LatestFinalized))
}

func (h handlers) validators(w http.ResponseWriter, _ *http.Request, s *lstar.Snapshot) {
	all := s.HeadState.Validators
	list := make([]validatorBody, all.Len())
	for i := range list {
		v := all.At(lstar.ValidatorIndex(i))
		list[i] = validatorBody{
			v.Index, "0x" + hex.EncodeToString(v.AttestationPublicKey[:]), "0x" + hex.EncodeToString(v.ProposalPublicKey[:]),
		}
	}
	writeJSON(w, list)
}

func (h handlers) finalizedSummary(w http.ResponseWriter, _ *http.Request, s *lstar.Snapshot) {
	root := s.LatestFinalized.Root
	block, state := s.Block(root), s.State(root)
	if block == nil || state == nil {
		failJSON(w, http.StatusNotFound, "finalized state not available")
		return
	}
	writeJSON(w, summaryBody{
		state.Slot, root.String(), block.StateRoot.String(), state.Validators.Len(),
		toBody(state.LatestJustified), toBody(state.LatestFinalized),
	})
}
