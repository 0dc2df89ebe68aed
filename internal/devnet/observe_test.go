package devnet

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// forked returns a tree with two branches after the block at slot 1:
//
//	g0 - a1 - a2 - a4
//	       \- b3 - b4
func forked() tree {
	t := make(tree)
	t.add([]block{{"g0", 0, ""}, {"a1", 1, "g0"}, {"a2", 2, "a1"}, {"a4", 4, "a2"}, {"b3", 3, "a1"}, {"b4", 4, "b3"}})
	return t
}

// up returns the view of a running node. The second character of a root is its slot.
func up(head, finalized string) View {
	at := func(root string) Checkpoint { return Checkpoint{uint64(root[1] - '0'), root} }
	return View{State: Up, Head: at(head), Finalized: at(finalized)}
}

func TestDisagreements(t *testing.T) {
	dead := up("b4", "b3")
	dead.State = Dead
	for name, test := range map[string]struct {
		views []View
		want  []Disagreement
	}{
		"the same":                        {[]View{up("a4", "a2"), up("a4", "a2")}, nil},
		"one is behind":                   {[]View{up("a4", "a2"), up("a2", "g0")}, nil},
		"heads at different slots":        {[]View{up("a4", "a1"), up("b3", "a1")}, nil},
		"heads at the same slot":          {[]View{up("a4", "a1"), up("b4", "a1"), up("b4", "a1")}, []Disagreement{{"head", 4}}},
		"finalized at the same slot":      {[]View{up("a4", "a4"), up("b4", "b4")}, []Disagreement{{"head", 4}, {"finalized", 4}}},
		"finalized on different branches": {[]View{up("a4", "a4"), up("b3", "b3")}, []Disagreement{{"finalized", 3}}},
		"two of three differ, not at the lowest": {
			[]View{up("a2", "a1"), up("a4", "a4"), up("b3", "b4")}, []Disagreement{{"finalized", 4}},
		},
		"dead nodes do not count":  {[]View{up("a4", "a4"), dead}, nil},
		"no known common ancestor": {[]View{up("a4", "x4"), up("a4", "a2")}, nil},
		"no nodes":                 {nil, nil},
	} {
		got := disagreements(test.views, forked())
		if len(got) != len(test.want) || len(got) > 0 && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: disagreements = %v, want %v", name, got, test.want)
		}
	}
	if text, _ := json.Marshal(disagreements(nil, nil)); string(text) != "[]" {
		t.Errorf("JSON without disagreements = %s, want []", text)
	}
	for want, d := range map[string]Disagreement{
		"heads differ at slot 4":            {"head", 4},
		"finalized blocks differ at slot 3": {"finalized", 3},
	} {
		if d.String() != want {
			t.Errorf("got %q, want %q", d, want)
		}
	}
}

func TestFinalized(t *testing.T) {
	silent, stopped := up("a4", "a4"), up("a1", "g0")
	silent.State, stopped.State = Silent, Stopped
	for name, test := range map[string]struct {
		slot  uint64
		views []View
		root  string
	}{
		"final on all nodes":             {2, []View{up("a4", "a2"), up("a4", "a4")}, "a2"},
		"a slot without a block":         {3, []View{up("a4", "a4"), up("a4", "a4")}, "a2"},
		"not final on one node":          {2, []View{up("a4", "a2"), up("a4", "a1")}, ""},
		"different blocks":               {3, []View{up("a4", "a4"), up("b4", "b4")}, ""},
		"same block before the branches": {1, []View{up("a4", "a4"), up("b4", "b4")}, "a1"},
		"one node is silent":             {2, []View{up("a4", "a2"), silent}, ""},
		"one node is stopped":            {2, []View{up("a4", "a2"), stopped}, "a2"},
		"all nodes are stopped":          {0, []View{stopped}, ""},
		"unknown ancestors":              {2, []View{up("x4", "x4"), up("x4", "x4")}, "x4"},
	} {
		s := &Status{Nodes: test.views, tree: forked()}
		if root, ok := s.Finalized(test.slot); root != test.root || ok != (test.root != "") {
			t.Errorf("%s: Finalized(%d) = %q, %t, want %q", name, test.slot, root, ok, test.root)
		}
	}
}

func TestPrune(t *testing.T) {
	dead := up("g0", "g0")
	dead.State = Dead
	blocks := forked()
	blocks.prune([]View{up("a4", "a4"), up("b4", "b3"), dead})
	if want := 3; len(blocks) != want { // a4, b3, b4
		t.Errorf("%d blocks after prune, want %d: %v", len(blocks), want, blocks)
	}
	blocks.prune(nil)
	if len(blocks) != 3 {
		t.Errorf("%d blocks after prune without nodes, want 3", len(blocks))
	}
	// Blocks that are parents of each other must not cause an endless loop.
	circle := tree{"x": {"x", 3, "y"}, "y": {"y", 3, "x"}}
	if got := circle.ancestor(Checkpoint{3, "x"}, 1); got.Root != "x" {
		t.Errorf("ancestor = %v, want x", got)
	}
}

func TestViewString(t *testing.T) {
	seen := View{
		Head: Checkpoint{12, "0x1a2b3c4d5e6f"}, Justified: Checkpoint{11, "0x11"}, Finalized: Checkpoint{10, "0x10"}, Peers: 3, Synced: true,
	}
	for _, test := range []struct {
		change func(*View)
		want   string
	}{
		{func(v *View) { v.State = Up }, "head 12 1a2b3c4d, justified 11, finalized 10, peers 3"},
		{func(v *View) { v.State, v.Synced = Up, false }, "head 12 1a2b3c4d, justified 11, finalized 10, peers 3, not synced"},
		{func(v *View) { v.State, v.Problem = Dead, "exit status 2" }, "dead (exit status 2); before: head 12 1a2b3c4d, justified 11, finalized 10"},
		{func(v *View) { *v = View{State: Silent, Problem: "connection refused"} }, "silent (connection refused)"},
		{func(v *View) { *v = View{State: Stopped} }, "stopped"},
	} {
		v := seen
		test.change(&v)
		if got := v.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestReadPeers(t *testing.T) {
	for page, want := range map[string]int{
		"# HELP leanspec_peers_connected x\nleanspec_peers_connected 3\n": 3,
		"a 1\nleanspec_peers_connected 1e+01\nb 2\n":                      10,
		"leanspec_peers_connected_total 3\n":                              -1,
		"leanspec_peers_connected many\n":                                 -1,
		"":                                                                -1,
	} {
		got, err := readPeers(strings.NewReader(page))
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("readPeers(%q) = %d (error %v), want %d", page, got, err, want)
		}
	}
}

func TestBriefly(t *testing.T) {
	for want, err := range map[string]error{
		"no answer within 3s": &url.Error{Op: "Get", URL: "http://x", Err: context.DeadlineExceeded},
		"refused":             &url.Error{Op: "Get", URL: "http://x", Err: errors.New("refused")},
		"status 500":          errors.New("status 500"),
	} {
		if got := briefly(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
