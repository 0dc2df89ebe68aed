package devnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/internal/porttest"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// If these variables are set, the test binary runs as a fake node, or as a devnet that the test kills.
const (
	fakeNodeEnv   = "DEVNET_TEST_NODE"
	fakeDevnetEnv = "DEVNET_TEST_DEVNET"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(fakeNodeEnv) != "":
		os.Exit(fakeNode())
	case os.Getenv(fakeDevnetEnv) != "":
		os.Exit(fakeDevnet())
	default:
		os.Exit(m.Run())
	}
}

// flagValue returns the value of a flag of this process, written as --name value or --name=value.
func flagValue(name string) string {
	for i, word := range os.Args {
		if value, ok := strings.CutPrefix(word, "--"+name+"="); ok {
			return value
		}
		if word == "--"+name && i+1 < len(os.Args) {
			return os.Args[i+1]
		}
	}
	return ""
}

const genesisForkChoice = `{"nodes":[{"root":"0xaa","slot":0,"parent_root":"0x00","proposer_index":0,"weight":0}],"head":"0xaa",` +
	`"justified":{"slot":0,"root":"0xaa"},"finalized":{"slot":0,"root":"0xaa"},"safe_target":"0xaa","validator_count":1}`

// fakeNode runs a fake node, and returns its exit code. With --fake=die it exits at once. Otherwise it serves the API and the
// metrics, and connects to the address of --ready. With --fake=stubborn it ignores SIGTERM.
func fakeNode() int {
	if flagValue("fake") == "die" {
		fmt.Fprintln(os.Stderr, `{"time":"2026-01-02T03:04:05.678Z","level":"warn","msg":"low memory","component":"chain","slot":3}`)
		fmt.Fprintln(os.Stderr, "something else")
		return 3
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	choice := flagValue("fork-choice")
	if choice == "" {
		choice = genesisForkChoice
	}
	serve := func(flag string, mux *http.ServeMux) {
		ln, err := net.Listen("tcp", "127.0.0.1:"+flagValue(flag))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(4)
		}
		go func() { _ = http.Serve(ln, mux) }()
	}
	answer := func(mux *http.ServeMux, path string, status int, text string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		})
	}
	api, metrics := http.NewServeMux(), http.NewServeMux()
	answer(api, "/lean/v0/fork_choice", 200, choice)
	answer(metrics, "/metrics", 200, "# TYPE leanspec_peers_connected gauge\nleanspec_peers_connected 2\n")
	answer(metrics, "/health", 503, `{"status":"syncing","slot":0,"synced":false}`)
	serve("api-port", api)
	serve("metrics-port", metrics)
	if flagValue("ready") != "" {
		conn, err := net.Dial("tcp", flagValue("ready"))
		if err != nil {
			return 5
		}
		defer conn.Close()
		fmt.Fprintln(conn, flagValue("node-id"))
	}
	for range term {
		if flagValue("fake") != "stubborn" {
			return 0
		}
	}
	return 0
}

// fakeDevnet runs a network of a fake node until it is killed.
func fakeDevnet() int {
	options := fakeOptions(flagValue("dir"), 1, NodeOptions{Args: []string{"--ready=" + flagValue("ready"), "--fake=stubborn"}})
	if _, err := Start(context.Background(), options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	select {}
}

// fakeOptions returns the options of a network of fake nodes.
func fakeOptions(dir string, nodes int, options ...NodeOptions) Options {
	return Options{
		Dir: dir, Nodes: nodes, Validators: nodes, Scheme: xmss.Test, ActiveSlots: 16,
		Env:         []string{fakeNodeEnv + "=1"},
		NodeOptions: options,
		// Genesis must not occur during a test.
		GenesisDelay: time.Hour,
	}
}

// start starts a network of fake nodes, which is stopped when the test ends.
func start(t *testing.T, options Options) *Network {
	t.Helper()
	n, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop() })
	return n
}

// readyListener accepts the connections of fake nodes, which are open while a node runs.
type readyListener struct {
	t  *testing.T
	ln net.Listener
}

func newReadyListener(t *testing.T) *readyListener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return &readyListener{t, ln}
}

// flag returns the flag that makes a fake node connect.
func (r *readyListener) flag() string { return "--ready=" + r.ln.Addr().String() }

// next waits until a node connects, and returns its name and a function that waits until it exits.
func (r *readyListener) next() (name string, awaitExit func()) {
	r.t.Helper()
	_ = r.ln.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	conn, err := r.ln.Accept()
	if err != nil {
		r.t.Fatalf("no node has connected: %v", err)
	}
	r.t.Cleanup(func() { conn.Close() })
	reader := bufio.NewReader(conn)
	name, err = reader.ReadString('\n')
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(name), func() {
		r.t.Helper()
		// The exit of the process closes its connection.
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := reader.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			r.t.Fatalf("the node still runs (error %v), want it to exit", err)
		}
	}
}

func TestNodeLife(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newReadyListener(t)
	n := start(t, fakeOptions(t.TempDir(), 1, NodeOptions{Args: []string{r.flag()}}))
	node := n.Nodes[0]
	wantState := func(want State) {
		t.Helper()
		s := n.Observe(t.Context())
		if got := s.Nodes[0].State; got != want {
			t.Fatalf("state = %s (%s), want %s", got, s.Nodes[0].Problem, want)
		}
	}
	name, awaitExit := r.next()
	if name != "lean_spec_0" {
		t.Errorf("name = %q, want lean_spec_0", name)
	}
	wantState(Up)
	if err := node.Start(); err == nil {
		t.Error("Start of a running node succeeds, want an error")
	}
	pid := node.PID()

	if err := node.Pause(); err != nil {
		t.Fatal(err)
	}
	wantState(Paused)
	if err := node.Resume(); err != nil {
		t.Fatal(err)
	}
	wantState(Up)

	node.Kill()
	awaitExit()
	wantState(Stopped)
	if node.PID() != 0 {
		t.Errorf("PID of a killed node = %d, want 0", node.PID())
	}
	if err := node.Pause(); err == nil {
		t.Error("Pause of a killed node succeeds, want an error")
	}

	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	_, awaitExit = r.next()
	if node.PID() == pid {
		t.Errorf("PID after a restart = %d, want another one", pid)
	}
	if err := node.Restart(); err != nil {
		t.Fatal(err)
	}
	awaitExit()
	_, awaitExit = r.next()
	wantState(Up)

	// Stop must also stop a paused node.
	if err := node.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
	awaitExit()
	if err, want := node.Start(), "lean_spec_0: the network has stopped"; err == nil || err.Error() != want {
		t.Errorf("Start in a stopped network: %v, want %s", err, want)
	}
	if err := n.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

// TestStopKills checks that Stop kills a node that ignores SIGTERM.
func TestStopKills(t *testing.T) {
	r := newReadyListener(t)
	options := fakeOptions(t.TempDir(), 1, NodeOptions{Args: []string{r.flag(), "--fake=stubborn"}})
	options.StopTimeout = 50 * time.Millisecond
	n := start(t, options)
	_, awaitExit := r.next()
	const want = "lean_spec_0 did not stop within 50ms and was killed"
	if err := n.Stop(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	awaitExit()
}

func TestDeath(t *testing.T) {
	r := newReadyListener(t)
	n := start(t, fakeOptions(t.TempDir(), 2, NodeOptions{Args: []string{r.flag()}}, NodeOptions{Args: []string{"--fake=die"}}))
	r.next()
	ctx, cancel := context.WithCancel(t.Context())
	var deaths []Death
	err := n.Follow(ctx, func(*Status) bool { t.Error("Follow reports a status before genesis, want none"); return true }, func(d Death) {
		deaths = append(deaths, d)
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Follow: %v, want %v, because the other node still runs", err, context.Canceled)
	}
	want := "lean_spec_1 died: exit status 3. The end of " + n.Nodes[1].LogPath() + ":\n" +
		"  03:04:05.678 warn chain: low memory slot=3\n  something else"
	if len(deaths) != 1 || deaths[0].String() != want {
		t.Errorf("deaths = %q, want one:\n%s", deaths, want)
	}
	s := n.Observe(t.Context())
	if got, want := s.Nodes[1].String(), "dead (exit status 3)"; got != want {
		t.Errorf("view of the dead node = %q, want %q", got, want)
	}
	if count, first, err := n.Nodes[1].LogErrors(); count != 1 || !slices.Equal(first, []string{"something else"}) || err != nil {
		t.Errorf("LogErrors = %d, %q, %v, want 1 and the line that is not JSON", count, first, err)
	}
	if err := n.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func TestAllGone(t *testing.T) {
	n := start(t, fakeOptions(t.TempDir(), 2, NodeOptions{Args: []string{"--fake=die"}}, NodeOptions{Args: []string{"--fake=die"}}))
	deaths := 0
	err := n.Follow(t.Context(), func(*Status) bool { return true }, func(Death) { deaths++ })
	if !errors.Is(err, ErrAllGone) || deaths != 2 {
		t.Errorf("Follow: %v after %d deaths, want %v after 2", err, deaths, ErrAllGone)
	}
}

func TestWaitFailsWithDeath(t *testing.T) {
	n := start(t, fakeOptions(t.TempDir(), 1, NodeOptions{Args: []string{"--fake=die"}}))
	if _, err := n.WaitFinalized(t.Context(), 1); err == nil || !strings.HasPrefix(err.Error(), "lean_spec_0 died: exit status 3.") {
		t.Errorf("WaitFinalized: %v, want the death of the node", err)
	}
}

// TestNoOrphans checks that the nodes are killed if the process of the network is killed.
func TestNoOrphans(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can kill a process when its parent dies")
	}
	r := newReadyListener(t)
	cmd := exec.Command(os.Args[0], "--dir="+t.TempDir(), r.flag())
	cmd.Env = append(os.Environ(), fakeDevnetEnv+"=1")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, awaitExit := r.next()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	awaitExit()
}

// steppingTime is a clock that advances by a second with each call of Now.
type steppingTime struct{ now time.Time }

func (s *steppingTime) Now() time.Time {
	s.now = s.now.Add(time.Second)
	return s.now
}

func (s *steppingTime) Until(ctx context.Context, _ time.Time) error { return ctx.Err() }

// chain returns a response of /lean/v0/fork_choice: blocks at slots 0, 1 and so on, finalized up to the second block before the
// head.
func chain(roots ...string) string {
	var nodes []string
	parent := "0x00"
	for slot, root := range roots {
		nodes = append(nodes, fmt.Sprintf(`{"root":%q,"slot":%d,"parent_root":%q}`, root, slot, parent))
		parent = root
	}
	final := max(0, len(roots)-2)
	return fmt.Sprintf(`{"nodes":[%s],"head":%q,"justified":{"slot":%d,"root":%q},"finalized":{"slot":%d,"root":%q}}`,
		strings.Join(nodes, ","), roots[len(roots)-1], final, roots[final], final, roots[final])
}

func TestFollow(t *testing.T) {
	r := newReadyListener(t)
	node := func(choice string) NodeOptions {
		return NodeOptions{Args: []string{r.flag(), "--fork-choice=" + choice}}
	}
	n := start(t, fakeOptions(t.TempDir(), 3,
		node(chain("0xaa", "0xbb", "0xcc", "0xdd")), node(chain("0xaa", "0xbb", "0xcc", "0xdd", "0xee")), node(`{"head":"0xaa"}`)))
	for range n.Nodes {
		r.next()
	}
	n.Clock.Time = &steppingTime{n.Clock.StartOf(0).Add(-2 * time.Second)}
	var slots []uint64
	var last *Status
	err := n.Follow(t.Context(), func(s *Status) bool {
		slots = append(slots, s.Slot)
		last = s
		return len(slots) == 3
	}, func(d Death) { t.Error(d) })
	if err != nil {
		t.Fatal(err)
	}
	if len(slots) != 3 || slots[1] != slots[0]+1 || slots[2] != slots[1]+1 {
		t.Errorf("slots of the statuses = %d, want three successive ones", slots)
	}
	const want = "" +
		"  lean_spec_0  head 3 dd, justified 2, finalized 2, peers 2, not synced\n" +
		"  lean_spec_1  head 4 ee, justified 3, finalized 3, peers 2, not synced\n" +
		"  lean_spec_2  silent (fork choice: the head is not one of the blocks)\n"
	if got := last.Details(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, ok := last.Finalized(2); ok {
		t.Error("slot 2 is finalized while a node is silent, want not finalized")
	}
	n.Nodes[2].Kill()
	status, err := n.WaitFinalized(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if root, ok := status.Finalized(2); root != "0xcc" || !ok {
		t.Errorf("Finalized(2) = %s, %t, want 0xcc, true", root, ok)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("test cause")
	cancel(cause)
	if _, err := n.WaitFinalized(ctx, 3); !errors.Is(err, cause) {
		t.Errorf("WaitFinalized: %v, want %v", err, cause)
	}
}

// reservePort reserves a TCP port until the test ends.
func reservePort(t *testing.T) uint16 {
	t.Helper()
	port, err := strconv.ParseUint(porttest.Reserve(t), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(port)
}

func TestPrefixAndEnvironment(t *testing.T) {
	r := newReadyListener(t)
	t.Setenv("LEANSPEC_FAKE", "set")
	options := fakeOptions(t.TempDir(), 2,
		NodeOptions{Prefix: []string{"sh", "-c", `test -z "$LEANSPEC_FAKE" || exit 9; "$@"; exit $?`, "prefix"}, Args: []string{r.flag(), "--fake=stubborn"}, Late: true},
		NodeOptions{Late: true})
	options.StopTimeout = 50 * time.Millisecond
	n := start(t, options)
	// A node with a prefix gets the standard ports, because it usually runs on its own host.
	n.Nodes[0].API, n.Nodes[0].Metrics = reservePort(t), reservePort(t)
	if err := n.Nodes[0].Start(); err != nil {
		t.Fatal(err)
	}
	_, awaitExit := r.next()
	if s := n.Observe(t.Context()); s.Nodes[0].State != Up || s.Nodes[1].State != Stopped {
		t.Errorf("states = %s and %s, want %s and %s", s.Nodes[0].State, s.Nodes[1].State, Up, Stopped)
	}
	_ = n.Stop()
	awaitExit() // the node is a child of the prefix
}

func TestCommand(t *testing.T) {
	n := &Network{Dir: "net", options: Options{Executable: "leanspec-node", Scheme: xmss.Test, LogLevel: "debug"}}
	n.Nodes = []*Node{{
		NodeFiles: NodeFiles{
			Name: "lean_spec_0", Validators: []uint64{0}, ENR: "enr:0", PeerID: "16Uiu2", KeyPath: "net/lean_spec_0.key",
			Place: Place{IP: netip.MustParseAddr("10.0.0.1"), Ports: Ports{QUIC: 1, API: 2, Metrics: 3}, IsAggregator: true},
		},
		Dir: filepath.Join("net", "lean_spec_0"), network: n, options: NodeOptions{Prefix: []string{"ip", "netns", "exec", "ns0"}, Args: []string{"--verbose"}},
	}, {NodeFiles: NodeFiles{Name: "lean_spec_1", ENR: "enr:1"}, network: n}}
	const want = "ip netns exec ns0 leanspec-node run --genesis net/config.yaml --node-id lean_spec_0 --node-key net/lean_spec_0.key " +
		"--scheme test --data-dir net/lean_spec_0/data --listen /ip4/10.0.0.1/udp/1/quic-v1 --http-address 10.0.0.1 --api-port 2 --metrics-port 3 " +
		"--log-format json --log-level debug --validator-keys net --is-aggregator --bootnode enr:1 --verbose --checkpoint-sync-url http://x"
	if got := strings.Join(n.Nodes[0].command([]string{"--checkpoint-sync-url", "http://x"}), " "); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// A node without validators gets no keys.
	if got := strings.Join(n.Nodes[1].command(nil), " "); strings.Contains(got, "--validator-keys") || !strings.Contains(got, "--bootnode enr:0") {
		t.Errorf("command of the second node =\n%s\nwant --bootnode enr:0 and no --validator-keys", got)
	}
	node := n.Nodes[0]
	for got, want := range map[string]string{
		node.Multiaddr():  "/ip4/10.0.0.1/udp/1/quic-v1/p2p/16Uiu2",
		node.APIURL():     "http://10.0.0.1:2",
		node.MetricsURL(): "http://10.0.0.1:3/metrics",
		node.HealthURL():  "http://10.0.0.1:3/health",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPorts(t *testing.T) {
	busy, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if port := uint16(busy.Addr().(*net.TCPAddr).Port); isFree("tcp", port) {
		t.Errorf("isFree(tcp, %d) = true, want false for a port in use", port)
	}
	own := NodeOptions{Prefix: []string{"ip"}, IP: netip.MustParseAddr("10.0.0.3"), Aggregator: true}
	options := Options{Nodes: 3, NodeOptions: []NodeOptions{{}, {}, own}}
	// Networks that choose ports at the same time must choose different ones.
	type place struct {
		network string
		port    uint16
	}
	seen := make(map[place]bool) // a TCP port and a UDP port may have the same number
	for range 50 {
		r := new(reservations)
		defer r.close()
		places, err := r.choosePlaces(&options)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range places[:2] {
			for _, at := range []place{{"udp", p.QUIC}, {"tcp", p.API}, {"tcp", p.Metrics}} {
				if at.port < firstPort || at.port >= lastPort || seen[at] {
					t.Errorf("ports = %v, want unused ones from %d to %d", places, firstPort, lastPort-1)
				}
				seen[at] = true
			}
		}
		standard := StandardPlace(2, own.IP)
		standard.IsAggregator = true
		if places[2] != standard {
			t.Errorf("place of a node with its own IP address = %v, want %v", places[2], standard)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	for at := range seen {
		r := new(reservations)
		if r.take(at.network, at.port) {
			t.Errorf("take(%s, %d) = true, want false for a reserved port", at.network, at.port)
		}
		r.close()
	}
}

// TestFilesHaveTheRealPorts checks that the files contain the ports on which the nodes listen.
func TestFilesHaveTheRealPorts(t *testing.T) {
	n := start(t, fakeOptions(t.TempDir(), 2, NodeOptions{Late: true}, NodeOptions{Late: true}))
	nodes, err := os.ReadFile(filepath.Join(n.Dir, "nodes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	setup, err := os.ReadFile(filepath.Join(n.Dir, "validator-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("- %s\n- %s\n", n.Nodes[0].ENR, n.Nodes[1].ENR); string(nodes) != want {
		t.Errorf("nodes.yaml =\n%s\nwant\n%s", nodes, want)
	}
	for _, node := range n.Nodes {
		if node.QUIC < firstPort || node.API < firstPort || node.Metrics < firstPort {
			t.Errorf("%s: ports = %v, want at least %d, because StandardPorts is not set", node.Name, node.Ports, firstPort)
		}
		for _, want := range []string{
			fmt.Sprintf("quic: %d\n", node.QUIC), fmt.Sprintf("apiPort: %d\n", node.API), fmt.Sprintf("metricsPort: %d\n", node.Metrics),
			fmt.Sprintf("# %s\n", node.Multiaddr()),
		} {
			if !strings.Contains(string(setup), want) {
				t.Errorf("validator-config.yaml =\n%s\nwant %q in it", setup, want)
			}
		}
	}
}

func TestStartRefuses(t *testing.T) {
	dir := t.TempDir()
	for want, change := range map[string]func(*Options){
		"number of nodes: 0: want 1 to 1000":                              func(o *Options) { o.Nodes = 0 },
		"number of nodes: 1: want at least the number of node options, 2": func(o *Options) { o.NodeOptions = make([]NodeOptions, 2) },
		`IP address: "::1": want an IPv4 address`:                         func(o *Options) { o.NodeOptions = []NodeOptions{{IP: netip.IPv6Loopback()}} },
		"output folder: want a folder":                                    func(o *Options) { o.Dir = "" },
		"number of active slots: 257: want 1 to 256, the lifetime of":     func(o *Options) { o.ActiveSlots = 257 },
	} {
		options := fakeOptions(dir, 1)
		change(&options)
		var refused *config.Error
		if _, err := Start(t.Context(), options); !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Start: %v, want %s", err, want)
		}
	}
	// Start must not change an existing network.
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), fakeOptions(dir, 1)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want %v", err, fs.ErrExist)
	}
	if data, _ := os.ReadFile(path); string(data) != "mine" {
		t.Errorf("config.yaml = %q, want it unchanged", data)
	}
	// Start fails if the program does not exist.
	options := fakeOptions(t.TempDir(), 1)
	options.Executable = filepath.Join(dir, "nothing")
	if _, err := Start(t.Context(), options); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

// TestRecords checks the node records: address, aggregator role and signature.
func TestRecords(t *testing.T) {
	n := start(t, fakeOptions(t.TempDir(), 2, NodeOptions{Late: true}, NodeOptions{Late: true, Aggregator: true}))
	if n.Nodes[0].ENR == n.Nodes[1].ENR || !strings.HasPrefix(n.Nodes[0].ENR, "enr:") {
		t.Errorf("records = %s and %s, want two different ones", n.Nodes[0].ENR, n.Nodes[1].ENR)
	}
	if !n.Nodes[0].IsAggregator || !n.Nodes[1].IsAggregator {
		t.Errorf("aggregators = %t and %t, want both: the first node, and the one with the option", n.Nodes[0].IsAggregator, n.Nodes[1].IsAggregator)
	}
	for _, node := range n.Nodes {
		key, err := config.LoadNodeKey(filepath.Join(n.Dir, node.Name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := enr.Sign(key.ECDSA(), enr.Content{
			Seq: 1, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), node.QUIC), ForkDigest: enr.DefaultForkDigest, IsAggregator: true,
		})
		if err != nil || node.ENR != want.String() || node.PeerID != key.PeerID().String() {
			t.Errorf("%s, port %d: record = %s, want %s (error %v)", node.Name, node.QUIC, node.ENR, want, err)
		}
	}
}
