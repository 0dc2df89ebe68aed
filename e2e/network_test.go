package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// startNetwork starts a network that ends with the test.
func startNetwork(t *testing.T, o devnet.Options) *devnet.Network {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a network for minutes")
	}
	t.Parallel()
	return launch(t, o)
}

// launch starts a network, which ends with the test at the latest.
func launch(t *testing.T, o devnet.Options) *devnet.Network {
	t.Helper()
	o.Dir, o.Executable = filepath.Join(t.TempDir(), "net"), binary
	if o.Scheme == nil {
		o.Scheme, o.ActiveSlots = xmss.Test, 250
	}
	n, err := devnet.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		for _, node := range n.Nodes {
			if t.Failed() {
				log, _ := os.ReadFile(node.LogPath())
				lines := strings.Split(strings.TrimSpace(string(log)), "\n")
				t.Logf("%s:\n%s", node.Name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
			}
		}
	})
	return n
}

// within waits until the network is as wanted.
func awaitStatus(t *testing.T, n *devnet.Network, timeout time.Duration, what string, enough func(*devnet.Status) bool) *devnet.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	s, err := n.Wait(ctx, enough)
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
	return s
}

// finalizes waits until all running nodes have finalized a slot, and agree.
func awaitFinalized(t *testing.T, n *devnet.Network, slot uint64, timeout time.Duration) *devnet.Status {
	t.Helper()
	return awaitStatus(t, n, timeout, fmt.Sprintf("slot %d to be final everywhere", slot), func(s *devnet.Status) bool {
		_, ok := s.Finalized(slot)
		return ok
	})
}

// noErrors wants no line at level error in any log.
func noErrors(t *testing.T, n *devnet.Network) {
	t.Helper()
	for _, node := range n.Nodes {
		log, err := os.ReadFile(node.LogPath())
		if err != nil {
			t.Fatal(err)
		}
		if len(log) == 0 {
			t.Errorf("%s: the log is empty", node.Name)
		}
		for line := range bytes.Lines(log) {
			var l struct{ Level string }
			if err := json.Unmarshal(line, &l); err != nil || l.Level == "error" {
				t.Errorf("%s: %s", node.Name, line)
			}
		}
	}
}

// TestLateJoiners: nodes that start when the chain is long under way get to where
// it is, one by asking for all blocks, one from a checkpoint.
func TestLateJoiners(t *testing.T) {
	n := startNetwork(t, devnet.Options{
		Nodes: 5, Validators: 3, NodeOptions: []devnet.NodeOptions{{}, {}, {}, {Late: true}, {Late: true}},
	})
	s := awaitFinalized(t, n, 5, 90*time.Second)
	if err := n.Nodes[3].Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.Nodes[4].Start("--checkpoint-sync-url", n.Nodes[0].APIURL()+"/lean/v0/states/finalized"); err != nil {
		t.Fatal(err)
	}
	awaitFinalized(t, n, s.Slot+3, 60*time.Second)
	noErrors(t, n)

	// The one that started from a checkpoint, at slot 5 or later, did not fetch the blocks before it.
	imported := func(node *devnet.Node) float64 {
		return value(t, scrape(t, fmt.Sprint(node.Metrics)), "leanspec_blocks_imported_total")
	}
	if all, some := imported(n.Nodes[3]), imported(n.Nodes[4]); all < float64(s.Slot) || some < 1 || some > all-4 {
		t.Errorf("%v blocks imported from genesis, %v from a checkpoint at slot 5 or later, want all of %d slots, and 5 fewer", all, some, s.Slot)
	}
}

// TestPauseAndKill: a node that is stopped for a minute, and one that is killed
// and starts anew, catch up with the others, which go on without them.
func TestPauseAndKill(t *testing.T) {
	n := startNetwork(t, devnet.Options{Nodes: 4, Validators: 8})
	awaitFinalized(t, n, 2, 90*time.Second)
	if err := n.Nodes[3].Pause(); err != nil {
		t.Fatal(err)
	}
	paused := time.Now()
	before := n.Observe(t.Context()).Nodes[0].Finalized.Slot
	awaitStatus(t, n, 90*time.Second, "a minute to pass", func(s *devnet.Status) bool {
		return time.Since(paused) >= time.Minute
	})
	if after := n.Observe(t.Context()).Nodes[0].Finalized.Slot; after < before+8 {
		t.Errorf("in a minute without one of four nodes finality went from slot %d to %d", before, after)
	}
	if err := n.Nodes[3].Resume(); err != nil {
		t.Fatal(err)
	}
	s := awaitFinalized(t, n, uint64(n.Clock.Slot())+2, 60*time.Second)

	n.Nodes[2].Kill()
	if err := n.Nodes[2].Start(); err != nil {
		t.Fatal(err)
	}
	awaitFinalized(t, n, s.Slot+4, 90*time.Second)
	noErrors(t, n)
}

// setAggregator changes the role of a node through its API.
func setAggregator(t *testing.T, node *devnet.Node, enabled bool) {
	t.Helper()
	r, err := http.Post(node.APIURL()+"/lean/v0/admin/aggregator", "application/json", strings.NewReader(fmt.Sprintf(`{"enabled":%v}`, enabled)))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != 200 {
		t.Fatalf("changing the role: %s", r.Status)
	}
}

// TestNoAggregator: without an aggregator the chain grows and finality stops,
// which the metrics say, and both go on when one returns.
func TestNoAggregator(t *testing.T) {
	n := startNetwork(t, devnet.Options{Nodes: 3, Validators: 6})
	awaitFinalized(t, n, 2, 90*time.Second)
	setAggregator(t, n.Nodes[0], false)
	start := uint64(n.Clock.Slot())
	s := awaitStatus(t, n, 90*time.Second, "ten slots without an aggregator", func(s *devnet.Status) bool { return s.Slot >= start+10 })
	for i, v := range s.Nodes {
		if v.Head.Slot < start+8 || v.Finalized.Slot > start+1 {
			t.Errorf("%s: head %d, finalized %d ten slots after slot %d: want a growing chain without finality", v.Name, v.Head.Slot, v.Finalized.Slot, start)
		}
		families := scrape(t, fmt.Sprint(n.Nodes[i].Metrics))
		if got := value(t, families, "lean_is_aggregator"); got != 0 {
			t.Errorf("%s: lean_is_aggregator is %v", v.Name, got)
		}
		if lag := value(t, families, "leanspec_slot_current") - value(t, families, "lean_latest_finalized_slot"); lag < 9 {
			t.Errorf("%s: finality is %v slots behind the clock, want 9 or more", v.Name, lag)
		}
		if status, h := getHealth(t, fmt.Sprint(n.Nodes[i].Metrics)); status != 200 || !h.Synced {
			t.Errorf("%s: /health is %d %+v: the node is synced, whatever finality does", v.Name, status, h)
		}
	}
	setAggregator(t, n.Nodes[0], true)
	awaitFinalized(t, n, s.Slot+1, 60*time.Second)
	noErrors(t, n)
}

// TestLossAndDelay: a network whose links lose every fifth packet, and delay the
// others by 200 ms, still finalizes.
func TestLossAndDelay(t *testing.T) {
	alone := devnet.NodeOptions{Alone: true, Late: true}
	n := startNetwork(t, devnet.Options{
		Nodes: 4, Validators: 8, NodeOptions: []devnet.NodeOptions{alone, alone, alone, alone},
	})
	for i, node := range n.Nodes {
		var bootnodes []string
		for _, other := range n.Nodes[:i] { // one link between any two
			link := newLink(t, netip.AddrPortFrom(other.IP, other.QUIC), 0.2, 200*time.Millisecond)
			bootnodes = append(bootnodes, "--bootnode", fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", link.Port(), other.PeerID))
		}
		if err := node.Start(bootnodes...); err != nil {
			t.Fatal(err)
		}
	}
	awaitFinalized(t, n, 5, 3*time.Minute)
}

// newLink relays UDP packets to a node, badly, until the test ends.
func newLink(t *testing.T, to netip.AddrPort, loss float64, delay time.Duration) netip.AddrPort {
	t.Helper()
	near, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		far   = map[netip.AddrPort]*net.UDPConn{} // by the address of who dials
		ended bool
	)
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		_ = near.Close()
		for _, c := range far {
			_ = c.Close()
		}
	})
	carry := func(packet []byte, send func([]byte)) {
		if rand.Float64() >= loss {
			packet = bytes.Clone(packet)
			time.AfterFunc(delay, func() { send(packet) })
		}
	}
	back := func(conn *net.UDPConn, to netip.AddrPort) {
		buffer := make([]byte, 1<<16)
		for {
			k, err := conn.Read(buffer)
			if err != nil {
				if mu.Lock(); ended {
					mu.Unlock()
					return
				}
				mu.Unlock()
				continue // the other side is not there yet
			}
			carry(buffer[:k], func(b []byte) { _, _ = near.WriteToUDPAddrPort(b, to) })
		}
	}
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			k, from, err := near.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			conn := far[from]
			if conn == nil && !ended {
				if conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to)); err == nil {
					far[from] = conn
					go back(conn, from)
				}
			}
			mu.Unlock()
			if conn != nil {
				carry(buffer[:k], func(b []byte) { _, _ = conn.Write(b) })
			}
		}
	}()
	return near.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestPartition cuts a network in two for half a minute. Neither half can
// finalize; together again they agree, and finalize within ten slots.
func TestPartition(t *testing.T) { testPartition(t, 4) }

// TestPartitionOfTwo has no third node that could relay between the two.
func TestPartitionOfTwo(t *testing.T) { testPartition(t, 2) }

func testPartition(t *testing.T, nodes int) {
	hosts := newHosts(t, nodes)
	half := nodes / 2
	var options []devnet.NodeOptions
	for _, h := range hosts {
		options = append(options, devnet.NodeOptions{Prefix: []string{"ip", "netns", "exec", h.name}, IP: h.ip})
	}
	options[half].Aggregator = true // one in each half
	n := startNetwork(t, devnet.Options{Nodes: nodes, Validators: 2 * nodes, NodeOptions: options})
	awaitFinalized(t, n, 2, 90*time.Second)

	cut := func(verb string) {
		for _, a := range hosts[:half] {
			for _, b := range hosts[half:] {
				a.run(t, "ip", "route", verb, "blackhole", b.ip.String()+"/32")
				b.run(t, "ip", "route", verb, "blackhole", a.ip.String()+"/32")
			}
		}
	}
	cut("add")
	start := n.Clock.Slot()
	began := time.Now()
	s := awaitStatus(t, n, time.Minute, "half a minute to pass", func(*devnet.Status) bool { return time.Since(began) >= 30*time.Second })
	cut("del")
	for _, v := range s.Nodes {
		if v.Finalized.Slot > uint64(start) {
			t.Errorf("%s finalized slot %d of a network that was cut in two at slot %d", v.Name, v.Finalized.Slot, start)
		}
	}
	healed := uint64(n.Clock.Slot())
	final := awaitFinalized(t, n, healed, 90*time.Second)
	if final.Slot > healed+10+2 { // finality of a slot is seen two slots later
		t.Errorf("slot %d, when the halves met again, was final at slot %d, want within ten slots", healed, final.Slot)
	}
	if len(final.Disagreements) != 0 {
		t.Errorf("%v", final.Disagreements)
	}
	noErrors(t, n)
}

// host is a network namespace with an address of its own.
type host struct {
	name string
	ip   netip.Addr
}

func (h *host) run(t *testing.T, words ...string) {
	t.Helper()
	command := append([]string{"netns", "exec", h.name}, words...)
	if out, err := exec.Command("ip", command...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(command, " "), err, out)
	}
}

// newHosts makes hosts on a network of their own, which this process is on as
// well. Where that cannot be done the test is skipped, but not in CI.
func newHosts(t *testing.T, count int) []*host {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a network for minutes")
	}
	must := func(words ...string) {
		t.Helper()
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err == nil {
			return
		}
		text := fmt.Sprintf("%s: %v %s", strings.Join(words, " "), err, out)
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skipf("SKIPPED: no network namespaces (%s). They need Linux, root and iproute2.", text)
	}
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: network namespaces need Linux")
	}
	// The switch is a bridge in a namespace of its own, where no firewall rules of
	// this machine apply.
	id := fmt.Sprintf("%04x", rand.IntN(1<<16))
	subnet := fmt.Sprintf("10.%d.%d", 64+rand.IntN(64), rand.IntN(256))
	namespace := func(name string) *host {
		must("ip", "netns", "add", name)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
		h := &host{name: name}
		h.run(t, "ip", "link", "set", "lo", "up")
		return h
	}
	hub := namespace("lean" + id + "-hub")
	hub.run(t, "ip", "link", "add", "hub", "type", "bridge")
	hub.run(t, "ip", "link", "set", "hub", "up")
	plug := func(i int) (inside string) {
		outside, inside := fmt.Sprintf("lo%s%d", id, i), fmt.Sprintf("li%s%d", id, i)
		must("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
		must("ip", "link", "set", outside, "netns", hub.name)
		hub.run(t, "ip", "link", "set", outside, "master", "hub", "up")
		return inside
	}
	own := plug(254)
	must("ip", "addr", "add", subnet+".254/24", "dev", own)
	must("ip", "link", "set", own, "up")
	hosts := make([]*host, count)
	for i := range hosts {
		h := namespace(fmt.Sprintf("lean%s-%d", id, i))
		h.ip = netip.MustParseAddr(fmt.Sprintf("%s.%d", subnet, i+1))
		inside := plug(i)
		must("ip", "link", "set", inside, "netns", h.name)
		h.run(t, "ip", "addr", "add", h.ip.String()+"/24", "dev", inside)
		h.run(t, "ip", "link", "set", inside, "up")
		hosts[i] = h
	}
	return hosts
}

// TestSubnets: two committees, each with an aggregator of its own that hears only
// the votes of its subnet, justify together what neither could alone.
func TestSubnets(t *testing.T) {
	two := devnet.NodeOptions{Args: []string{"--attestation-committee-count", "2"}}
	options := []devnet.NodeOptions{two, two, two, two}
	options[1].Aggregator = true // the first one always is; their validators are in different committees
	n := startNetwork(t, devnet.Options{Nodes: 4, Validators: 8, NodeOptions: options})
	awaitFinalized(t, n, 5, 90*time.Second)
	noErrors(t, n)
}
