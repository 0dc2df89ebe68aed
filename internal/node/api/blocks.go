package api

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
)

// Response bodies of blocks, in the shape of ethlambda's API. Root and Weight are additions, for
// block explorers.
type (
	headerBody struct {
		Root          string               `json:"root"`
		Slot          lstar.Slot           `json:"slot"`
		ProposerIndex lstar.ValidatorIndex `json:"proposer_index"`
		ParentRoot    string               `json:"parent_root"`
		StateRoot     string               `json:"state_root"`
		BodyRoot      string               `json:"body_root"`
	}
	blockBody struct {
		headerBody
		// Weight is nil for a block before the finalized slot.
		Weight *int         `json:"weight,omitempty"`
		Body   contentsBody `json:"body"`
	}
	contentsBody struct {
		Attestations []aggregatedAttestationBody `json:"attestations"`
	}
	aggregatedAttestationBody struct {
		AggregationBits string              `json:"aggregation_bits"` // the SSZ encoding
		Data            attestationDataBody `json:"data"`
	}
	attestationDataBody struct {
		Slot   lstar.Slot     `json:"slot"`
		Head   checkpointBody `json:"head"`
		Target checkpointBody `json:"target"`
		Source checkpointBody `json:"source"`
	}
)

func toDataBody(d *lstar.AttestationData) attestationDataBody {
	return attestationDataBody{d.Slot, toBody(d.Head), toBody(d.Target), toBody(d.Source)}
}

// findRoot returns the root that a block_id stands for: "head", "finalized", a slot of the canonical
// chain, or a root. An id of another form is an error; the zero root means that the slot has no block.
func findRoot(s *lstar.Snapshot, id string) (lstar.Root, error) {
	switch digits, isRoot := strings.CutPrefix(id, "0x"); {
	case id == "head":
		return s.Head.Root, nil
	case id == "finalized":
		return s.LatestFinalized.Root, nil
	case isRoot:
		if b, err := hex.DecodeString(digits); err == nil && len(b) == len(lstar.Root{}) {
			return lstar.Root(b), nil
		}
	default:
		if slot, err := strconv.ParseUint(id, 10, 64); err == nil {
			return s.CanonicalRoot(lstar.Slot(slot)), nil
		}
	}
	return lstar.Root{}, badParameter("block_id", id, `a root of 32 bytes with 0x, a slot, "head" or "finalized"`)
}

// badParameter returns the error for a parameter of a request.
func badParameter(name, value, want string) error {
	const longest = 80 // so that the error is not as long as a URL can be
	return fmt.Errorf("%s: got %.*q, want %s", name, longest, value, want)
}

// findBlock returns a block and its header, both nil if the block is unknown. A node that started
// from a checkpoint state may have only the header of that block.
func (h handlers) findBlock(s *lstar.Snapshot, root lstar.Root) (*lstar.Block, *headerBody) {
	block, state := s.Block(root), s.State(root)
	if block == nil || state.LatestBlockHeader.BodyRoot != ssz.HashTreeRoot(&block.Body) {
		if signed := h.Backend.SignedBlock(root); signed != nil {
			block, state = &signed.Block, nil
		}
	}
	if block == nil {
		return nil, nil
	}
	header := &headerBody{
		root.String(), block.Slot, block.ProposerIndex, block.ParentRoot.String(), block.StateRoot.String(), "",
	}
	body := lstar.Root(ssz.HashTreeRoot(&block.Body))
	if state != nil && state.LatestBlockHeader.BodyRoot != body {
		block, body = nil, state.LatestBlockHeader.BodyRoot
	}
	header.BodyRoot = body.String()
	return block, header
}

// blockRoute returns a handler that calls handle with the block of the path.
func (h handlers) blockRoute(handle func(http.ResponseWriter, *lstar.Snapshot, *lstar.Block, *headerBody)) http.HandlerFunc {
	return h.withStore(func(w http.ResponseWriter, r *http.Request, s *lstar.Snapshot) {
		id := r.PathValue("block_id")
		root, err := findRoot(s, id)
		if err != nil {
			failJSON(w, http.StatusBadRequest, err.Error())
			return
		}
		block, header := h.findBlock(s, root)
		if header == nil {
			failJSON(w, http.StatusNotFound, fmt.Sprintf("block_id: no block %s", id))
			return
		}
		handle(w, s, block, header)
	})
}

func (h handlers) header(w http.ResponseWriter, _ *lstar.Snapshot, _ *lstar.Block, header *headerBody) {
	writeJSON(w, header)
}

func (h handlers) blockJSON(w http.ResponseWriter, s *lstar.Snapshot, block *lstar.Block, header *headerBody) {
	if block == nil {
		failJSON(w, http.StatusNotFound, "block_id: this node started from the state of the block and does not have its body")
		return
	}
	body := blockBody{headerBody: *header}
	body.Body.Attestations = make([]aggregatedAttestationBody, len(block.Body.Attestations))
	for i := range block.Body.Attestations {
		a := &block.Body.Attestations[i]
		body.Body.Attestations[i] = aggregatedAttestationBody{
			"0x" + hex.EncodeToString(a.AggregationBits.AppendSSZ(nil)), toDataBody(&a.Data),
		}
	}
	for _, b := range s.Blocks() {
		if b.Root.String() == header.Root {
			body.Weight = &b.Weight
		}
	}
	writeJSON(w, body)
}

// slotBlocks serves all known blocks of a slot: those of all forks from the finalized slot on,
// before it the canonical one.
func (h handlers) slotBlocks(w http.ResponseWriter, r *http.Request, s *lstar.Snapshot) {
	value := r.PathValue("slot")
	slot, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		failJSON(w, http.StatusBadRequest, badParameter("slot", value, "a slot").Error())
		return
	}
	nodes := []forkChoiceNode{}
	for _, b := range s.Blocks() {
		if b.Block.Slot == lstar.Slot(slot) {
			nodes = append(nodes, toNode(b))
		}
	}
	if root := s.CanonicalRoot(lstar.Slot(slot)); len(nodes) == 0 && !root.IsZero() {
		if _, b := h.findBlock(s, root); b != nil {
			nodes = append(nodes, forkChoiceNode{b.Root, b.Slot, b.ParentRoot, b.ProposerIndex, 0})
		}
	}
	writeJSON(w, nodes)
}
