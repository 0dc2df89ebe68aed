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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// startNetwork starts a network that is stopped when the test ends. It makes the test parallel, and skips it under -short.
func startNetwork(t *testing.T, o devnet.Options) *devnet.Network {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a network for minutes")
	}
	t.Parallel()
	return launch(t, o)
}

// launch starts a network that is stopped when the test ends.
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

// awaitStatus waits until enough accepts a status of the network, and returns it.
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

// awaitFinalized waits until all running nodes have finalized a slot with the same root.
func awaitFinalized(t *testing.T, n *devnet.Network, slot uint64, timeout time.Duration) *devnet.Status {
	t.Helper()
	return awaitStatus(t, n, timeout, fmt.Sprintf("slot %d to be final everywhere", slot), func(s *devnet.Status) bool {
		_, ok := s.Finalized(slot)
		return ok
	})
}

// noErrors fails the test if a node has logged a line at level error.
func noErrors(t *testing.T, n *devnet.Network) {
	t.Helper()
	checkLevels(t, n, func(level string) bool { return level != "error" })
}

// checkLevels fails the test for every line of a log whose level is not allowed.
func checkLevels(t *testing.T, n *devnet.Network, allowed func(level string) bool) {
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
			if err := json.Unmarshal(line, &l); err != nil || !allowed(l.Level) {
				t.Errorf("%s: unexpected line in the log: %s", node.Name, line)
			}
		}
	}
}

// TestLateJoiners checks that nodes which start late finalize with the others: one requests all blocks, one starts from a
// checkpoint.
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

	// The node that started from a checkpoint at slot 5 or later must not fetch earlier blocks.
	imported := func(node *devnet.Node) float64 {
		return value(t, scrape(t, port(node.Metrics)), "leanspec_blocks_imported_total")
	}
	if all, some := imported(n.Nodes[3]), imported(n.Nodes[4]); all < float64(s.Slot) || some < 1 || some > all-4 {
		t.Errorf("blocks imported from genesis = %v, from a checkpoint = %v; want at least %d, and at least 4 fewer", all, some, s.Slot)
	}
}

// TestPauseAndKill checks that a network finalizes while a node is paused for a minute, and that this node and one that is killed
// and restarted catch up.
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
		t.Errorf("finalized slot after a minute without one of four nodes = %d, want at least %d", after, before+8)
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

// setAggregator sets the aggregator role of a node through its API.
func setAggregator(t *testing.T, node *devnet.Node, enabled bool) {
	t.Helper()
	r, err := http.Post(node.APIURL()+"/lean/v0/admin/aggregator", "application/json", strings.NewReader(fmt.Sprintf(`{"enabled":%v}`, enabled)))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != 200 {
		t.Fatalf("setting the role: status %s, want 200", r.Status)
	}
}

// TestNoAggregator checks that without an aggregator the chain grows but finality stops, that the metrics show this, and that
// finality resumes with an aggregator.
func TestNoAggregator(t *testing.T) {
	n := startNetwork(t, devnet.Options{Nodes: 3, Validators: 6})
	awaitFinalized(t, n, 2, 90*time.Second)
	setAggregator(t, n.Nodes[0], false)
	start := uint64(n.Clock.Slot())
	s := awaitStatus(t, n, 90*time.Second, "ten slots without an aggregator", func(s *devnet.Status) bool { return s.Slot >= start+10 })
	for i, v := range s.Nodes {
		if v.Head.Slot < start+8 || v.Finalized.Slot > start+1 {
			t.Errorf("%s: head slot = %d, finalized slot = %d, want at least %d and at most %d", v.Name, v.Head.Slot, v.Finalized.Slot, start+8, start+1)
		}
		families := scrape(t, port(n.Nodes[i].Metrics))
		if got := value(t, families, "lean_is_aggregator"); got != 0 {
			t.Errorf("%s: lean_is_aggregator = %v, want 0", v.Name, got)
		}
		if lag := value(t, families, "leanspec_slot_current") - value(t, families, "lean_latest_finalized_slot"); lag < 9 {
			t.Errorf("%s: finality is %v slots behind the clock, want at least 9", v.Name, lag)
		}
		if status, h := getHealth(t, port(n.Nodes[i].Metrics)); status != 200 || !h.Synced {
			t.Errorf("%s: /health without finality = %d %+v, want 200 and synced", v.Name, status, h)
		}
	}
	setAggregator(t, n.Nodes[0], true)
	awaitFinalized(t, n, s.Slot+1, 60*time.Second)
	noErrors(t, n)
}

// TestLossAndDelay checks that a network finalizes if its links lose every fifth packet and delay the others by 200 ms.
func TestLossAndDelay(t *testing.T) {
	alone := devnet.NodeOptions{Alone: true, Late: true}
	n := startNetwork(t, devnet.Options{
		Nodes: 4, Validators: 8, NodeOptions: []devnet.NodeOptions{alone, alone, alone, alone},
	})
	for i, node := range n.Nodes {
		var bootnodes []string
		for _, other := range n.Nodes[:i] { // one link for each pair of nodes
			link := newLink(t, netip.AddrPortFrom(other.IP, other.QUIC), 0.2, 200*time.Millisecond)
			bootnodes = append(bootnodes, "--bootnode", fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", link.Port(), other.PeerID))
		}
		if err := node.Start(bootnodes...); err != nil {
			t.Fatal(err)
		}
	}
	awaitFinalized(t, n, 5, 3*time.Minute)
}

// newLink relays UDP packets to a node with loss and delay, until the test ends. It returns the address of the relay.
func newLink(t *testing.T, to netip.AddrPort, loss float64, delay time.Duration) netip.AddrPort {
	t.Helper()
	near, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		far   = map[netip.AddrPort]*net.UDPConn{} // by the address of the node that dials
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
				continue // the node does not listen yet
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

// TestPartition splits a network into two halves for half a minute. Neither half may finalize meanwhile. After they are joined they
// must agree, and finalize within ten slots.
func TestPartition(t *testing.T) { testPartition(t, 4) }

// TestPartitionOfTwo splits a network in which no third node can relay.
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
			t.Errorf("%s: finalized slot in a split network = %d, want at most %d", v.Name, v.Finalized.Slot, start)
		}
	}
	joined := uint64(n.Clock.Slot())
	final := awaitFinalized(t, n, joined, 90*time.Second)
	if final.Slot > joined+10+2 { // the nodes show finality of a slot two slots later
		t.Errorf("slot %d, in which the halves were joined, was final at slot %d, want at most %d", joined, final.Slot, joined+12)
	}
	if len(final.Disagreements) != 0 {
		t.Errorf("disagreements = %v, want none", final.Disagreements)
	}
	noErrors(t, n)
}

// host is a network namespace with its own address.
type host struct {
	name string
	ip   netip.Addr
}

// run runs a command in the namespace.
func (h *host) run(t *testing.T, words ...string) {
	t.Helper()
	command := append([]string{"netns", "exec", h.name}, words...)
	if out, err := exec.Command("ip", command...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(command, " "), err, out)
	}
}

// newHosts makes hosts on a new network that also connects to this process. If this is not possible, it skips the test.
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
		unavailable(t, "network namespaces need Linux, root and iproute2: %s: %v %s", strings.Join(words, " "), err, out)
	}
	// The bridge is in its own namespace, where the firewall rules of this machine do not apply.
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

// TestSubnets checks that two committees, each with an aggregator that receives only the votes of its subnet, finalize together.
func TestSubnets(t *testing.T) {
	two := devnet.NodeOptions{Args: []string{"--attestation-committee-count", "2"}}
	options := []devnet.NodeOptions{two, two, two, two}
	options[1].Aggregator = true // besides the first node; their validators are in different committees
	n := startNetwork(t, devnet.Options{Nodes: 4, Validators: 8, NodeOptions: options})
	awaitFinalized(t, n, 5, 90*time.Second)
	noErrors(t, n)
}
