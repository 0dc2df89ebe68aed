// Package devnet makes the keys and the files of a network ([WriteFiles], [WriteKeyPair]) and runs a network on this machine
// ([Start]), each node as its own process. It observes the nodes through the interfaces that every operator has: HTTP API, metrics,
// health and logs.
//
// The commands genesis, keygen and devnet use it, and so do tests that need real processes: they can kill, pause and restart
// nodes, start them late and put them into network namespaces.
package devnet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/setting"
	"github.com/leanEthereum/leanspec-node/xmss"
)

const (
	// DefaultGenesisDelay gives the nodes time to start and to connect.
	DefaultGenesisDelay = 10 * time.Second
	// DefaultStopTimeout is the time that a node has to stop.
	DefaultStopTimeout = 5 * time.Second
)

// Options describe a network to start.
type Options struct {
	// Dir is the folder of the network. Start creates it if it does not exist, and returns an error if it holds a network.
	Dir string
	// Nodes and Validators are the numbers of both. Validators are assigned to the nodes in turn.
	Nodes, Validators int
	// Scheme is the XMSS scheme of the keys, and ActiveSlots the number of slots for which they can sign.
	Scheme      *xmss.Scheme
	ActiveSlots uint64
	// Progress is as in [FilesOptions].
	Progress func(KeyProgress)
	// GenesisDelay is the time from the end of the key generation to slot 0. The default is DefaultGenesisDelay.
	GenesisDelay time.Duration
	// StandardPorts uses the ports of [StandardPlace] if all of them are free. Otherwise, and without it, Start chooses free
	// ports. The network's files have the ports in use.
	StandardPorts bool
	// LogLevel is the log level of the nodes. The default is info.
	LogLevel string

	// Executable is the leanspec-node to run. The default is the running program.
	Executable string
	// Env has additional variables for the nodes. Variables of this process whose names begin with LEANSPEC_ are not passed
	// on, because they would set flags of all nodes.
	Env []string
	// NodeOptions are the options of the nodes, in order. It may be shorter than the number of nodes.
	NodeOptions []NodeOptions
	// StopTimeout is the time that a node has to stop before it is killed. The default is DefaultStopTimeout.
	StopTimeout time.Duration
}

// NodeOptions are the options of a single node.
type NodeOptions struct {
	// Prefix is put in front of the command, such as ip netns exec ns0. The ports of such a node are not checked.
	Prefix []string
	// IP is the address at which the other nodes and this process reach the node. The default is 127.0.0.1.
	IP netip.Addr
	// Args are additional flags.
	Args []string
	// Aggregator makes the node an aggregator. The first node always is one.
	Aggregator bool
	// Alone starts the node without bootnodes. Other nodes still dial it.
	Alone bool
	// Late makes Start skip the node. Call Node.Start to start it.
	Late bool
}

// Validate checks the options without accessing the file system. Errors are of type [*config.Error].
func (o *Options) Validate() error {
	files := o.files()
	if err := files.Validate(); err != nil {
		return err
	}
	if len(o.NodeOptions) > o.Nodes {
		return refuse(setting.Nodes, strconv.Itoa(o.Nodes), "want at least the number of node options, %d", len(o.NodeOptions))
	}
	for _, node := range o.NodeOptions {
		if node.IP.IsValid() && !node.IP.Is4() {
			return refuse(setting.IP, config.Quote(node.IP.String()), "want an IPv4 address")
		}
	}
	return nil
}

// files returns the options of the network's files.
func (o *Options) files() FilesOptions {
	delay := o.GenesisDelay
	if delay == 0 {
		delay = DefaultGenesisDelay
	}
	return FilesOptions{
		Dir: o.Dir, Nodes: o.Nodes, Validators: o.Validators, Scheme: o.Scheme, ActiveSlots: o.ActiveSlots, Progress: o.Progress,
		// Rounded up, so that the delay is at least as long as requested.
		GenesisTime: func() uint64 { return uint64(time.Now().Add(delay + time.Second - 1).Unix()) },
	}
}

// Network is a running network. Its methods are safe for concurrent use.
type Network struct {
	Dir         string
	Clock       clock.Clock
	Scheme      *xmss.Scheme
	ActiveSlots uint64
	Nodes       []*Node

	options Options
	ports   *reservations
	client  *http.Client
	starts  chan func()   // starts of processes, for the goroutine keep
	died    chan struct{} // has a value if deaths is not empty

	mu      sync.Mutex
	stopped bool
	deaths  []Death
	blocks  tree   // blocks of all nodes
	last    []View // latest answer of each node
}

// Start makes a network and starts its nodes, which run until Stop. Cancelling ctx ends only Start itself.
//
// If the folder already holds a network, Start changes nothing and returns an error that is [fs.ErrExist].
func Start(ctx context.Context, options Options) (*Network, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	var err error
	if options.Executable == "" {
		if options.Executable, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	// Absolute, because a prefix of the command may change the working folder.
	if options.Dir, err = filepath.Abs(options.Dir); err != nil {
		return nil, err
	}
	if options.StopTimeout == 0 {
		options.StopTimeout = DefaultStopTimeout
	}
	options.NodeOptions = append(options.NodeOptions[:len(options.NodeOptions):len(options.NodeOptions)],
		make([]NodeOptions, options.Nodes-len(options.NodeOptions))...)

	ports := new(reservations)
	wanted := options.files()
	wanted.Places = func() ([]Place, error) { return ports.choosePlaces(&options) }
	files, err := WriteFiles(ctx, wanted)
	if err != nil {
		ports.close()
		return nil, err
	}
	n := &Network{
		Dir:         options.Dir,
		Clock:       clock.Clock{SlotClock: clock.SlotClock{GenesisTime: files.GenesisTime}, Time: clock.System{}},
		Scheme:      options.Scheme,
		ActiveSlots: files.ActiveSlots,
		options:     options,
		ports:       ports,
		// Without a proxy, and with connections that Stop can close.
		client: &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext}},
		starts: make(chan func()),
		died:   make(chan struct{}, 1),
		blocks: make(tree),
		last:   make([]View, options.Nodes),
	}
	for i, node := range files.Nodes {
		n.Nodes = append(n.Nodes, &Node{NodeFiles: node, Dir: filepath.Join(n.Dir, node.Name), network: n, options: options.NodeOptions[i]})
	}
	go n.keep()
	for i, node := range n.Nodes {
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(err, n.Stop())
		}
		if options.NodeOptions[i].Late {
			continue
		}
		if err := node.Start(); err != nil {
			return nil, errors.Join(err, n.Stop())
		}
	}
	return n, nil
}

// keep starts all processes from one thread that runs as long as they do. Linux sends the signal of dieWithParent when the thread
// that has started the process ends.
func (n *Network) keep() {
	runtime.LockOSThread()
	for start := range n.starts {
		start()
	}
}

// Stop stops all nodes at the same time, and kills those that do not stop within the timeout. The error names the nodes that it
// killed and those that did not end cleanly. No node can be started afterwards.
func (n *Network) Stop() error {
	n.mu.Lock()
	already := n.stopped
	n.stopped = true
	n.mu.Unlock()
	if already {
		return nil
	}
	errs := make([]error, len(n.Nodes))
	var nodes sync.WaitGroup
	for i, node := range n.Nodes {
		nodes.Go(func() { errs[i] = node.Stop() })
	}
	nodes.Wait()
	close(n.starts)
	n.ports.close()
	n.client.CloseIdleConnections()
	return errors.Join(errs...)
}

// Death is an unexpected end of a node.
type Death struct {
	Node string `json:"node"`
	// Cause is the end of the process, such as "exit status 2".
	Cause string `json:"cause"`
	// LogPath is the path of the node's log, and Log has its last lines as text.
	LogPath string   `json:"log_path"`
	Log     []string `json:"log"`
}

// String returns a report of several lines.
func (d Death) String() string {
	if len(d.Log) == 0 {
		return fmt.Sprintf("%s died: %s. Its log is empty.", d.Node, d.Cause)
	}
	return fmt.Sprintf("%s died: %s. The end of %s:\n  %s", d.Node, d.Cause, d.LogPath, strings.Join(d.Log, "\n  "))
}

// queue stores a death for Follow. The caller calls wake afterwards.
func (n *Network) queue(d Death) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaths = append(n.deaths, d)
}

func (n *Network) wake() {
	select {
	case n.died <- struct{}{}:
	default: // Follow reads all deaths at once
	}
}

// ErrAllGone is returned by Follow when no node runs any more.
var ErrAllGone = errors.New("all nodes are gone")

// observeAt is the time within a slot at which Follow observes the nodes: late enough for them to have imported the slot's block and
// accepted its votes.
const observeAt = 3600 * time.Millisecond

// Follow observes all nodes once per slot and calls onStatus. It calls onDeath as soon as a node dies. It returns nil when onStatus
// returns true, the cause of the end of ctx, or ErrAllGone. Both functions run on the calling goroutine.
func (n *Network) Follow(ctx context.Context, onStatus func(*Status) (last bool), onDeath func(Death)) error {
	slot := n.Clock.Slot()
	for {
		at := n.Clock.StartOf(lstar.Interval(slot) * lstar.IntervalsPerSlot).Add(observeAt)
		// At most one second, because the wall clock can be set and the machine can be suspended.
		timer := time.NewTimer(min(at.Sub(n.Clock.Now()), time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-n.died:
			timer.Stop()
			allGone := n.allGone() // checked first: the deaths that it counts are in the queue
			n.mu.Lock()
			deaths := n.deaths
			n.deaths = nil
			n.mu.Unlock()
			for _, death := range deaths {
				onDeath(death)
			}
			if allGone {
				return ErrAllGone
			}
		case <-timer.C:
			now := n.Clock.Now()
			if now.Before(at) {
				continue
			}
			status := n.Observe(ctx)
			if ctx.Err() != nil { // the status may be incomplete
				return context.Cause(ctx)
			}
			if onStatus(status) {
				return nil
			}
			// Skip the slots that passed during a slow observation.
			slot = max(slot+1, n.Clock.Slot())
		}
	}
}

func (n *Network) allGone() bool {
	for _, node := range n.Nodes {
		if state, _ := node.state(); state != Dead {
			return false
		}
	}
	return true
}

// Wait observes the nodes once per slot until enough returns true. It returns an error with the latest status if ctx ends first or
// a node dies.
func (n *Network) Wait(ctx context.Context, enough func(*Status) bool) (*Status, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var latest *Status
	var died error
	err := n.Follow(ctx, func(s *Status) bool {
		latest = s
		return enough(s)
	}, func(d Death) {
		died = errors.New(d.String())
		stop()
	})
	if died != nil {
		err = died
	}
	if err != nil && latest != nil {
		err = fmt.Errorf("%w\nlatest status, at slot %d:\n%s", err, latest.Slot, latest.Details())
	}
	return latest, err
}

// WaitFinalized waits until all running nodes have finalized a slot with the same block.
func (n *Network) WaitFinalized(ctx context.Context, slot uint64) (*Status, error) {
	return n.Wait(ctx, func(s *Status) bool {
		_, done := s.Finalized(slot)
		return done
	})
}

// Observe requests the status of all nodes.
func (n *Network) Observe(ctx context.Context) *Status {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	s := &Status{Slot: uint64(n.Clock.Slot()), Nodes: make([]View, len(n.Nodes))}
	blocks := make([][]block, len(n.Nodes))
	var nodes sync.WaitGroup
	for i, node := range n.Nodes {
		nodes.Go(func() { s.Nodes[i], blocks[i] = node.look(ctx, n.client) })
	}
	nodes.Wait()

	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range s.Nodes {
		if view := &s.Nodes[i]; view.State == Up {
			n.last[i] = *view
		} else {
			view.Head, view.Justified, view.Finalized = n.last[i].Head, n.last[i].Justified, n.last[i].Finalized
		}
		n.blocks.add(blocks[i])
	}
	n.blocks.prune(s.Nodes)
	s.tree = maps.Clone(n.blocks)
	s.Disagreements = disagreements(s.Nodes, s.tree)
	return s
}
