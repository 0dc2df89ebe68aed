// Package devnet runs a network of nodes on this machine, each a process of its
// own: it makes the network's files, starts the processes, watches them through
// the interfaces that any operator has (HTTP API, metrics, health, logs), and
// ends them.
//
// The devnet command is built upon it, and so are tests that need real
// processes: nodes can be killed, paused, restarted, started late, and placed
// into network namespaces.
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
	// DefaultGenesisDelay leaves the nodes the time to start and to find each other.
	DefaultGenesisDelay = 10 * time.Second
	// DefaultStopTimeout is how long a node may take to stop.
	DefaultStopTimeout = 5 * time.Second
)

// Options describe a network to be started.
type Options struct {
	// Dir is the folder of the network, made if it is not there. A network that is there already is refused.
	Dir string
	// Nodes and Validators are their numbers. Validators are dealt to the nodes in turn.
	Nodes, Validators int
	// Scheme is the XMSS scheme, and ActiveSlots the number of slots for which the keys can sign.
	Scheme      *xmss.Scheme
	ActiveSlots uint64
	// Progress is as in [FilesOptions].
	Progress func(KeyProgress)
	// GenesisDelay is the time from when the keys are ready to slot 0, DefaultGenesisDelay where 0.
	GenesisDelay time.Duration
	// StandardPorts takes the ports of the genesis command, if all of them are free. Otherwise, and without it,
	// free ports are chosen. The network's files name those that were taken.
	StandardPorts bool
	// LogLevel is that of the nodes, info where empty.
	LogLevel string

	// Executable is the leanspec-node to run, the running program where empty.
	Executable string
	// Env has more variables for the nodes. Variables of this process whose names begin with LEANSPEC_ are not
	// passed on: they would set flags of all nodes alike.
	Env []string
	// NodeOptions are those of the nodes in order. It may be shorter than the number of nodes.
	NodeOptions []NodeOptions
	// StopTimeout is how long a node may take to stop before it is killed, DefaultStopTimeout where 0.
	StopTimeout time.Duration
}

// NodeOptions are what sets a node apart from the others.
type NodeOptions struct {
	// Prefix goes in front of the command, for example ip netns exec ns0. The ports of such a node are taken
	// to be free.
	Prefix []string
	// IP is the address at which the other nodes and this process reach the node, 127.0.0.1 where not set.
	IP netip.Addr
	// Args are more flags.
	Args []string
	// Aggregator makes the node an aggregator. The first one of the network always is.
	Aggregator bool
	// Alone gives the node no bootnodes. Others may still dial it.
	Alone bool
	// Late leaves it to Node.Start to start the node.
	Late bool
}

// Validate checks the options, without looking at the file system. Errors are of type [*config.Error], and name
// the flag of the devnet command.
func (o *Options) Validate() error {
	files := o.files()
	if err := files.Validate(); err != nil {
		return err
	}
	if len(o.NodeOptions) > o.Nodes {
		return refuse(setting.Nodes, strconv.Itoa(o.Nodes), "want no fewer than have options, %d", len(o.NodeOptions))
	}
	for _, node := range o.NodeOptions {
		if node.IP.IsValid() && !node.IP.Is4() {
			return refuse(setting.IP, config.Quote(node.IP.String()), "want an IPv4 address")
		}
	}
	return nil
}

// files are the options of the network's files.
func (o *Options) files() FilesOptions {
	delay := o.GenesisDelay
	if delay == 0 {
		delay = DefaultGenesisDelay
	}
	return FilesOptions{
		Dir: o.Dir, Nodes: o.Nodes, Validators: o.Validators, Scheme: o.Scheme, ActiveSlots: o.ActiveSlots, Progress: o.Progress,
		// Rounded up: never sooner than asked for.
		GenesisTime: func() uint64 { return uint64(time.Now().Add(delay + time.Second - 1).Unix()) },
	}
}

// Network is a network of nodes that was started. Its methods can be called by several goroutines.
type Network struct {
	Dir         string
	Clock       clock.Clock
	Scheme      *xmss.Scheme
	ActiveSlots uint64
	Nodes       []*Node

	options Options
	ports   *reservations
	client  *http.Client
	starts  chan func()   // what the keeper is to start
	died    chan struct{} // has a value when there are deaths to be told

	mu      sync.Mutex
	stopped bool
	deaths  []Death
	blocks  tree   // what all nodes know of the chain
	last    []View // of each node, when it last answered
}

// Start makes a network and starts its nodes. ctx ends only what Start itself does; the nodes run until Stop.
//
// Where the folder holds a network already the error is [fs.ErrExist], and nothing is touched.
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
	// Absolute, as a prefix of the command may change the folder.
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
		// Of its own, so that no proxy stands between, and nothing is left open after Stop.
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

// keep starts processes, all from one thread that lives as long as they do: on Linux the signal at a parent's
// death comes when the thread ends that started the child.
func (n *Network) keep() {
	runtime.LockOSThread()
	for start := range n.starts {
		start()
	}
}

// Stop ends all nodes at once: each is asked to, and killed if it does not within the timeout. The error tells
// of those that had to be killed or ended badly. The network cannot be used any more.
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

// Death is the end of a node that nobody asked for.
type Death struct {
	Node string `json:"node"`
	// Cause is how the process ended, for example "exit status 2".
	Cause string `json:"cause"`
	// LogPath is the node's log, and Log its last lines in a form for reading.
	LogPath string   `json:"log_path"`
	Log     []string `json:"log"`
}

// String is a report of several lines.
func (d Death) String() string {
	if len(d.Log) == 0 {
		return fmt.Sprintf("%s died: %s. It logged nothing.", d.Node, d.Cause)
	}
	return fmt.Sprintf("%s died: %s. The end of %s:\n  %s", d.Node, d.Cause, d.LogPath, strings.Join(d.Log, "\n  "))
}

// queue keeps a death for Follow, which wake tells of it.
func (n *Network) queue(d Death) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaths = append(n.deaths, d)
}

func (n *Network) wake() {
	select {
	case n.died <- struct{}{}:
	default: // Follow will find this one too
	}
}

// ErrAllGone is the error of Follow when no node is left.
var ErrAllGone = errors.New("all nodes are gone")

// observeAt is the moment within a slot at which the nodes are looked at: late, when they have had the time to
// import the slot's block and to accept its votes.
const observeAt = 3600 * time.Millisecond

// Follow looks at all nodes once a slot and tells of what it finds, and at once of nodes that die. It returns nil
// when a status is the last that is wanted, the cause of ctx's end, or ErrAllGone.
//
// Both functions are called by the calling goroutine.
func (n *Network) Follow(ctx context.Context, onStatus func(*Status) (last bool), onDeath func(Death)) error {
	slot := n.Clock.Slot()
	for {
		at := n.Clock.StartOf(lstar.Interval(slot) * lstar.IntervalsPerSlot).Add(observeAt)
		// No longer than a second, as the wall clock can be set, and machines sleep.
		timer := time.NewTimer(min(at.Sub(n.Clock.Now()), time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-n.died:
			timer.Stop()
			allGone := n.allGone() // looked at first: what it counts is queued
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
			if ctx.Err() != nil { // what was seen may be half of it
				return context.Cause(ctx)
			}
			if onStatus(status) {
				return nil
			}
			// A look that took longer than a slot is followed by one at the slot that is current then.
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

// Wait looks at the nodes once a slot until enough of them is as wanted. It fails if ctx ends first, with what
// the nodes showed last, or if a node dies.
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
		err = fmt.Errorf("%w\nseen last, at slot %d:\n%s", err, latest.Slot, latest.Details())
	}
	return latest, err
}

// WaitFinalized waits until all nodes that run have finalized a slot, and agree on its block.
func (n *Network) WaitFinalized(ctx context.Context, slot uint64) (*Status, error) {
	return n.Wait(ctx, func(s *Status) bool {
		_, done := s.Finalized(slot)
		return done
	})
}

// Observe asks all nodes what they see.
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
