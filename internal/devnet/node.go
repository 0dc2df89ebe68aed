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

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// Node is a node of a network.
type Node struct {
	NodeFiles
	// Dir is the folder with the node's log and data.
	Dir string

	network *Network
	options NodeOptions

	mu      sync.Mutex
	process *process // latest process, or nil
}

// process is one process of a node. The node's mutex guards its fields; err is set before done is closed.
type process struct {
	pid     int
	done    chan struct{} // closed when the process has ended
	err     error         // result of the process
	asked   bool          // a method has ended it
	paused  bool
	logFrom int64 // offset of its first line in the log
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

// Multiaddr returns the address at which peers reach the node.
func (n *Node) Multiaddr() string { return n.listenAddr() + "/p2p/" + n.PeerID }

func (n *Node) listenAddr() string { return fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", n.IP, n.QUIC) }

// APIURL returns the base URL of the HTTP API, without a slash at its end.
func (n *Node) APIURL() string { return n.url(n.API) }

// MetricsURL returns the URL of the metrics.
func (n *Node) MetricsURL() string { return n.url(n.Metrics) + "/metrics" }

// HealthURL returns the URL of the health check.
func (n *Node) HealthURL() string { return n.url(n.Metrics) + "/health" }

func (n *Node) url(port uint16) string {
	return "http://" + net.JoinHostPort(n.IP.String(), strconv.Itoa(int(port)))
}

// LogPath returns the path of the node's log, which has JSON lines.
func (n *Node) LogPath() string { return filepath.Join(n.Dir, "log.jsonl") }

// PID returns the process id of the node, or of its prefix, and 0 while the node does not run.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.process.running() {
		return 0
	}
	return n.process.pid
}

// command returns the node's command line.
func (n *Node) command(more []string) []string {
	o := &n.network.options
	dir := n.network.Dir
	words := append(n.options.Prefix[:len(n.options.Prefix):len(n.options.Prefix)],
		o.Executable, "run",
		"--genesis", filepath.Join(dir, config.GenesisFile),
		"--node-id", n.Name,
		"--node-key", n.KeyPath,
		"--scheme", o.Scheme.String(),
		"--data-dir", filepath.Join(n.Dir, "data"),
		"--listen", n.listenAddr(),
		"--http-address", n.IP.String(),
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

// environment returns the variables of this process without those that set flags, and the variables of the options.
func (n *Node) environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "LEANSPEC_") {
			env = append(env, variable)
		}
	}
	return append(env, n.network.options.Env...)
}

// Start starts the node with additional flags, and returns an error if it runs. It does not wait until the node answers.
func (n *Node) Start(more ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process.running() {
		return fmt.Errorf("%s already runs", n.Name)
	}
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(n.LogPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
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

// start starts a process on the thread of keep, unless the network has stopped.
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

// await waits for the end of a process, and queues its death if no method has ended it.
func (n *Node) await(p *process, cmd *exec.Cmd) {
	err := cmd.Wait()
	_ = signalGroup(p.pid, syscall.SIGKILL) // children of a prefix
	death := Death{Node: n.Name, Cause: howItEnded(err), LogPath: n.LogPath(), Log: logEnd(n.LogPath(), p.logFrom)}
	n.mu.Lock()
	p.err = err
	asked := p.asked
	if !asked { // queued before the node counts as dead, so that Follow reports it before ErrAllGone
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

// end sends a signal to the process and returns the process, or nil if none runs.
func (n *Node) end(sig syscall.Signal) *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.process
	if !p.running() {
		return nil
	}
	p.asked = true
	_ = signalGroup(p.pid, sig) // fails only if the process has ended
	if p.paused {
		_ = resumeGroup(p.pid) // a paused process does not handle signals
		p.paused = false
	}
	return p
}

// Stop stops the node, and kills it if it does not stop within the timeout. It returns an error if the node was killed or did not
// end cleanly, and nil if it did not run.
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
	// A process that has just started does not handle signals yet.
	if p.err != nil && !endedBy(p.err, syscall.SIGTERM) {
		return fmt.Errorf("%s did not stop cleanly: %w", n.Name, p.err)
	}
	return nil
}

// Kill kills the node and waits until it has ended.
func (n *Node) Kill() {
	if p := n.end(syscall.SIGKILL); p != nil {
		<-p.done
	}
}

// Restart stops the node if it runs, and starts it with additional flags.
func (n *Node) Restart(more ...string) error {
	if err := n.Stop(); err != nil {
		return err
	}
	return n.Start(more...)
}

// Pause suspends the process of the node.
func (n *Node) Pause() error { return n.freeze(true) }

// Resume continues a paused node.
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

// state returns the state of the process, and the cause of death of a dead one.
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
