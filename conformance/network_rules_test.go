package conformance

import (
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
)

const networkRulesKind = "fork_choice_test, network rules"

// overruled maps each vector that contradicts a newer rule to the leanSpec pull request of
// that rule.
var overruled = map[string]string{
	"test_block_production/test_block_builder_fixed_point_advances_justification":   "1181",
	"test_block_production/test_produce_block_enforces_max_attestations_data_limit": "1181",
	"test_equivocation/test_same_slot_equivocating_attesters_count_once":            "1181",
	"test_finalized_safety/test_heavier_fork_below_finalized_slot_never_wins":       "1179",
	"test_finalized_safety/test_losing_fork_higher_finalized_does_not_latch":        "1179",
	"test_fork_choice_head/test_fork_from_before_finalization_not_considered":       "1179",
	"test_store_pruning/test_finalization_prunes_stale_attestation_signatures":      "1179",
}

// TestNetworkRules runs the fork choice vectors, except for the overruled ones, under the
// rules that nodes apply.
func TestNetworkRules(t *testing.T) {
	vectors, err := loadVectors(vectorsFolder())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if v.kind != "fork_choice_test" {
			continue
		}
		subtest(t, networkRulesKind, v.name, func(t *testing.T) {
			name, _, _ := strings.Cut(v.name, "[")
			if pr, ok := overruled[name]; ok {
				skip(t, networkRulesKind, "contradicts leanSpec PR "+pr+", newer than the vectors")
			}
			runVector(t, v, lstar.NetworkRules)
		})
	}
	wantRun(t, networkRulesKind)
}
