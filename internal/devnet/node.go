package devnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is a node of a network.
type Node struct {
	NodeFiles
	// Dir is the folder of the node's log and data.
	Dir string

	network *Network
	options NodeOptions

	mu      sync.Mutex
	process *process // the latest, nil if there never was one
}

// process is one run of a node. Its fields are guarded by the node's mutex; err is set before done is closed.
type process struct {
	pid     int
	done    chan struct{} // closed when the process is gone
	err     error         // how it ended
	asked   bool          // its end was asked for
	paused  bool
	logFrom int64 // where its lines begin in the log
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Multiaddr is where peers reach the node.
func (n *Node) Multiaddr() string { return n.listenAddr() + "/p2p/" + n.PeerID }

func (n *Node) listenAddr() string { return fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", n.IP, n.QUIC) }

// APIURL is where the HTTP API begins, without a slash at its end.
func (n *Node) APIURL() string { return n.url(n.API) }

// MetricsURL is the page of the metrics, and HealthURL that of the health check.
func (n *Node) MetricsURL() string { return n.url(n.Metrics) + "/metrics" }

// HealthURL is the page of the health check.
func (n *Node) HealthURL() string { return n.url(n.Metrics) + "/health" }

func (n *Node) url(port uint16) string {
	return "http://" + net.JoinHostPort(n.IP.String(), strconv.Itoa(int(port)))
}

// LogPath is the node's log, JSON lines.
func (n *Node) LogPath() string { return filepath.Join(n.Dir, "log.jsonl") }

// PID is the process of the node, or of its prefix; 0 while it does not run.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.process.running() {
		return 0
	}
	return n.process.pid
}

// command is the node's command line.
func (n *Node) command(more []string) []string {
	o := &n.network.options
	dir := n.network.Dir
	words := append(n.options.Prefix[:len(n.options.Prefix):len(n.options.Prefix)],
		o.Executable, "run",
		"--genesis", filepath.Join(dir, "config.yaml"),
		"--node-id", n.Name,
		"--node-key", n.KeyPath,
		"--scheme", o.Scheme.String(),
		"--data-dir", filepath.Join(n.Dir, "data"),
		"--listen", n.listenAddr(),
		"--api-port", strconv.Itoa(int(n.API)),
		"--metrics-port", strconv.Itoa(int(n.Metrics)),
		"--log-format", "json",
	)
	if o.LogLevel != "" {
		words = append(words, "--log-level", o.LogLevel)
	}
	if len(n.Validators) > 0 {
		words = append(words, "--validator-keys", dir)
	}
	if n.IsAggregator {
		words = append(words, "--is-aggregator")
	}
	for _, other := range n.network.Nodes {
		if other != n && !n.options.Alone {
			words = append(words, "--bootnode", other.ENR)
		}
	}
	words = append(words, n.options.Args...)
	return append(words, more...)
}

// environment is that of this process, without the variables that set flags.
func (n *Node) environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "LEANSPEC_") {
			env = append(env, variable)
		}
	}
	return append(env, n.network.options.Env...)
}

// Start starts the node, with more flags than those of its options, if it does not run. It does not wait until
// the node answers.
func (n *Node) Start(more ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process.running() {
		return fmt.Errorf("%s runs already", n.Name)
	}
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(n.LogPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	words := n.command(more)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = n.environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = processAttributes()
	if err := n.network.start(cmd); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	p := &process{pid: cmd.Process.Pid, done: make(chan struct{}), logFrom: from}
	n.process = p
	go n.await(p, cmd)
	return nil
}

// start has the keeper start a process, unless the network has stopped.
func (n *Network) start(cmd *exec.Cmd) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return errors.New("the network has stopped")
	}
	result := make(chan error)
	n.starts <- func() { result <- cmd.Start() }
	return <-result
}

// await waits for the end of a process, and tells of one that nobody asked for.
func (n *Node) await(p *process, cmd *exec.Cmd) {
	err := cmd.Wait()
	_ = signalGroup(p.pid, syscall.SIGKILL) // what a prefix may have left
	death := Death{Node: n.Name, Cause: howItEnded(err), LogPath: n.LogPath(), Log: logEnd(n.LogPath(), p.logFrom)}
	n.mu.Lock()
	p.err = err
	asked := p.asked
	if !asked { // queued before the node counts as dead, so that a network is not all gone with deaths untold
		n.network.queue(death)
	}
	close(p.done)
	n.mu.Unlock()
	if !asked {
		n.network.wake()
	}
}

func howItEnded(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// end asks the process for its end with a signal, and returns it, or nil if none runs.
func (n *Node) end(sig syscall.Signal) *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.process
	if !p.running() {
		return nil
	}
	p.asked = true
	_ = signalGroup(p.pid, sig) // if it is gone already that is as well
	if p.paused {
		_ = resumeGroup(p.pid) // so that it can hear
		p.paused = false
	}
	return p
}

// Stop asks the node to stop, and kills it if it does not within the timeout. It is no error if it does not run,
// and one if it had to be killed or ended badly.
func (n *Node) Stop() error {
	p := n.end(syscall.SIGTERM)
	if p == nil {
		return nil
	}
	timeout := time.NewTimer(n.network.options.StopTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		n.end(syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s did not stop within %s and was killed", n.Name, n.network.options.StopTimeout)
	}
	// A process that has only begun knows no signals yet.
	if p.err != nil && !endedBy(p.err, syscall.SIGTERM) {
		return fmt.Errorf("%s did not stop cleanly: %w", n.Name, p.err)
	}
	return nil
}

// Kill ends the node without warning, and waits until it is gone.
func (n *Node) Kill() {
	if p := n.end(syscall.SIGKILL); p != nil {
		<-p.done
	}
}

// Restart stops the node if it runs, and starts it, with more flags than those of its options.
func (n *Node) Restart(more ...string) error {
	if err := n.Stop(); err != nil {
		return err
	}
	return n.Start(more...)
}

// Pause freezes the node, and Resume lets it go on.
func (n *Node) Pause() error { return n.freeze(true) }

// Resume lets a node that is paused go on.
func (n *Node) Resume() error { return n.freeze(false) }

func (n *Node) freeze(paused bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.process
	if !p.running() {
		return fmt.Errorf("%s does not run", n.Name)
	}
	signal := resumeGroup
	if paused {
		signal = pauseGroup
	}
	if err := signal(p.pid); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	p.paused = paused
	return nil
}

// state says whether the process runs, and of a dead one how it ended.
func (n *Node) state() (State, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch p := n.process; {
	case p == nil:
		return Stopped, ""
	case p.running() && p.paused:
		return Paused, ""
	case p.running():
		return Up, ""
	case p.asked:
		return Stopped, ""
	default:
		return Dead, howItEnded(p.err)
	}
}
