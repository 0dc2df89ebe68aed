// Package node creates the services of the node, connects them and runs them under one context.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/core/proof"
	"github.com/leanEthereum/leanspec-node/internal/events"
	"github.com/leanEthereum/leanspec-node/internal/logging"
	"github.com/leanEthereum/leanspec-node/internal/metrics"
	"github.com/leanEthereum/leanspec-node/internal/node/api"
	"github.com/leanEthereum/leanspec-node/internal/node/chain"
	"github.com/leanEthereum/leanspec-node/internal/node/clock"
	"github.com/leanEthereum/leanspec-node/internal/node/guard"
	"github.com/leanEthereum/leanspec-node/internal/node/health"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p"
	"github.com/leanEthereum/leanspec-node/internal/node/ports"
	"github.com/leanEthereum/leanspec-node/internal/node/storage"
	"github.com/leanEthereum/leanspec-node/internal/node/syncer"
	"github.com/leanEthereum/leanspec-node/internal/node/validator"
	"github.com/leanEthereum/leanspec-node/internal/setting"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// Config is the resolved and validated configuration of a node.
type Config struct {
	Version            string
	NodeID             string
	Genesis            *config.Genesis
	Keys               []config.ValidatorKeys
	Scheme             *xmss.Scheme
	IsAggregator       bool
	NodeKey            *config.NodeKey
	Listen             string // multiaddr; if empty, the node only dials
	Bootnodes          []string
	NetworkName        string
	Committees         uint64
	AggregateSubnetIDs []uint64
	// PeerNames are the names of known peers in metrics.
	PeerNames map[peer.ID]string
	// CheckpointSyncURL is the URL of the state to start from. If it is empty, the node starts from
	// genesis.
	CheckpointSyncURL string
	// DataDir is the data folder. If it is empty, the chain is kept in memory.
	DataDir string
	// Advertise is the address in the node record. Port 0 is the port of the listener; an invalid
	// address is one of this machine's.
	Advertise netip.AddrPort
	// HTTPAddress is the IP address of the three HTTP servers.
	HTTPAddress netip.Addr
	// Admin decides which HTTP requests may use the admin routes.
	Admin api.Access
	// CORSOrigins are the origins whose pages may read the API in a browser.
	CORSOrigins []string
	// Ports of the HTTP servers; 0 disables one. The RPC port serves /health, /livez and /readyz.
	APIPort, MetricsPort, RPCPort int
	// AnyMetricsPort lets the node use the next free port if MetricsPort is in use. It is set if
	// the operator did not choose the port.
	AnyMetricsPort bool

	Log       *slog.Logger
	LogLevels *logging.Control // of Log; nil disables the route that changes them
	Time      clock.Time
	StartTime time.Time // of the process

	// For tests: the time for the pulses of the event loops, and a wrapper for the storage of the chain.
	now     func() time.Time
	storage func(chain.Storage) chain.Storage
}

// Node is a node with open ports.
type Node struct {
	cfg       Config
	clock     clock.Clock
	db        *storage.DB // nil without a data folder
	chain     *chain.Chain
	sync      *syncer.Service
	network   *p2p.Network
	publisher *publisher
	validator *validator.Service
	guard     *guard.Guard
	signers   []*xmss.Signer
	metrics   *metrics.Metrics
	bus       *events.Bus
	stream    *api.Stream
	health    *health.Monitor
	servers   []server
}

// server is an HTTP server with its open port.
type server struct {
	name    string
	ln      net.Listener
	handler http.Handler
}

// New creates a node and opens its ports. The caller must call Run or Close. Errors name a cause
// that the operator can fix, for example a port in use.
func New(ctx context.Context, cfg Config) (_ *Node, err error) {
	n := &Node{
		cfg:    cfg,
		clock:  clock.Clock{SlotClock: clock.SlotClock{GenesisTime: cfg.Genesis.GenesisTime}, Time: cfg.Time},
		health: new(health.Monitor),
	}
	info := metrics.Info{
		Name: "leanspec-node", Version: cfg.Version, StartTime: cfg.StartTime, Slot: n.clock.Slot,
		PeerNames: slices.Compact(slices.Sorted(maps.Values(cfg.PeerNames))),
	}
	if cfg.LogLevels != nil {
		info.Log = cfg.LogLevels
	}
	n.metrics = metrics.New(info)
	n.health.Sync = n.syncState
	n.stream = api.NewStream()
	n.bus = events.NewBus(n.metrics.Fold, logging.Events(cfg.Log), n.stream.Consume)

	// Lock the keys first, so that a second node with the same keys does not even connect to the network.
	if n.guard, err = guard.Open(guard.Options{
		Keys: guard.KeyFiles(cfg.Keys), DataDir: cfg.DataDir, Log: logging.Component(cfg.Log, "guard"),
		Now: func() (uint64, bool) { return uint64(n.clock.Slot()), !n.clock.BeforeGenesis() },
	}); err != nil {
		return nil, err
	}
	if missing := n.guard.Missing(); len(missing.Keys) > 0 {
		n.bus.Report(events.SigningRecordsMissing{
			Keys: len(missing.Keys), File: missing.Keys[0].Path, Slot: missing.Slot, NextSlot: missing.Closed + 1,
		})
	}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()

	verifier := chain.NewVerifier(cfg.Scheme)
	crypto := lstar.Crypto{Signatures: cfg.Scheme, Proofs: proof.NewSigList(cfg.Scheme, verifier.Verify)}
	store, kept, db, err := openChain(ctx, &cfg, crypto, n.clock, logging.Component(cfg.Log, "storage"))
	if err != nil {
		return nil, err
	}
	n.db = db
	if cfg.storage == nil {
		cfg.storage = func(s chain.Storage) chain.Storage { return s }
	}
	n.publisher = &publisher{
		bus:        n.bus,
		log:        logging.Component(cfg.Log, "p2p"),
		aggregates: make(chan *lstar.SignedAggregatedAttestation, publishQueue),
	}
	n.chain = chain.New(chain.Config{
		Pulse: n.pulse("chain", stuckAfter),
		Store: store, Storage: cfg.storage(kept), Verifier: verifier, Clock: n.clock, Bus: n.bus,
		Log:               logging.Component(cfg.Log, "chain"),
		IsAggregator:      cfg.IsAggregator,
		PublishAggregates: n.publisher.publishAggregates,
		OnSlotEnd:         n.reportSlot,
	})
	n.sync = syncer.New(syncer.Config{
		Chain: n.chain, Blocks: kept, Clock: n.clock, Bus: n.bus, Log: logging.Component(cfg.Log, "sync"),
		VerifyProof: func(b *lstar.SignedBlock) error { return lstar.VerifyBlockProof(crypto, b, registry(cfg.Genesis)) },
		Pulse:       n.pulse("sync", stuckAfter),
	})
	if n.network, err = p2p.New(p2p.Config{
		NodeKey: cfg.NodeKey, Listen: cfg.Listen, Advertise: cfg.Advertise, Bootnodes: cfg.Bootnodes, NetworkName: cfg.NetworkName,
		Committees: cfg.Committees, Subnets: subnets(&cfg), IsAggregator: cfg.IsAggregator, Scheme: cfg.Scheme,
		Handler: n.sync, Bus: n.bus, Log: cfg.Log, Version: cfg.Version,
		PeerNames: cfg.PeerNames,
	}); err != nil {
		return nil, err
	}
	n.sync.SetNetwork(n.network)
	n.publisher.network, n.publisher.sync = n.network, n.sync
	n.metrics.Watch(slices.Concat(n.chain.Queues(), n.sync.Queues(), n.network.Queues(), n.publisher.queues())...)
	if err := n.listen(); err != nil {
		return nil, err
	}
	keys := make([]validator.Keys, len(cfg.Keys))
	for i, k := range cfg.Keys {
		keys[i] = validator.Keys{Index: lstar.ValidatorIndex(k.Index), Attestation: n.guarded(k.Attestation), Proposal: n.guarded(k.Proposal)}
	}
	n.validator = validator.New(validator.Config{
		Chain: n.chain, Publisher: n.publisher, Gate: n.sync.Duties, Clock: n.clock, Crypto: crypto, Keys: keys, Bus: n.bus,
		Log:   logging.Component(cfg.Log, "validator"),
		Pulse: n.pulse("validator", dutiesStuckAfter),
	})
	n.health.AddReady(health.Check{Name: "network", Run: n.network.Check})
	return n, nil
}

// guarded returns a signer for a key, with the guard of the key as its ledger.
func (n *Node) guarded(key *xmss.SecretKey) validator.Key {
	ledger := n.guard.Key(key.PublicKey().Bytes())
	signer := xmss.NewSigner(key, ledger)
	n.signers = append(n.signers, signer)
	return validator.Key{Signer: signer, Guard: ledger}
}

// registry returns the validators of genesis.
func registry(g *config.Genesis) *lstar.Validators {
	list := make([]lstar.Validator, len(g.Validators))
	for i, v := range g.Validators {
		list[i] = lstar.Validator{AttestationPublicKey: v.AttestationPublicKey, ProposalPublicKey: v.ProposalPublicKey}
	}
	return lstar.NewValidators(list)
}

// listen opens the ports of the enabled HTTP servers.
func (n *Node) listen() error {
	cfg := api.Config{
		Backend: backend{n.chain, n.sync}, Metrics: n.metrics.Handler(), Health: n.health, Identity: n.identity,
		Peers: n.peers, NetworkName: n.cfg.NetworkName, Stream: n.stream,
		Admin: n.cfg.Admin, CORSOrigins: n.cfg.CORSOrigins, Log: logging.Component(n.cfg.Log, "api"),
	}
	if n.cfg.LogLevels != nil {
		cfg.LogLevels = n.cfg.LogLevels
	}
	handlers := api.New(cfg)
	for _, s := range []struct {
		name    string
		setting setting.Name
		port    int
		handler http.Handler
	}{
		{"api", setting.APIPort, n.cfg.APIPort, handlers.API},
		{"metrics", setting.MetricsPort, n.cfg.MetricsPort, handlers.Metrics},
		{"rpc", setting.RPCPort, n.cfg.RPCPort, handlers.RPC},
	} {
		if s.port == 0 {
			continue
		}
		ln, err := n.listenOn(s.port)
		if s.setting == setting.MetricsPort && n.cfg.AnyMetricsPort && errors.Is(err, syscall.EADDRINUSE) {
			ln, err = n.listenAfter(s.port, err)
		}
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return &config.Error{Setting: setting.HTTPAddress, Value: n.cfg.HTTPAddress.String(), Problem: ports.Problem(err, "tcp", s.port), Err: err}
		}
		if err != nil {
			return &config.Error{Setting: s.setting, Value: fmt.Sprint(s.port), Problem: ports.Problem(err, "tcp", s.port), Err: err}
		}
		n.servers = append(n.servers, server{s.name, ln, s.handler})
	}
	return nil
}

// listenOn opens a port of the HTTP address.
func (n *Node) listenOn(port int) (net.Listener, error) {
	return net.Listen("tcp", netip.AddrPortFrom(n.cfg.HTTPAddress, uint16(port)).String())
}

// listenAfter opens the first free port after taken, and logs it. If there is none, it returns
// inUse, the error of taken.
func (n *Node) listenAfter(taken int, inUse error) (net.Listener, error) {
	const portsToTry = 1000
	for port := taken + 1; port < taken+portsToTry; port++ {
		if port == n.cfg.APIPort || port == n.cfg.RPCPort {
			continue
		}
		ln, err := n.listenOn(port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		logging.Component(n.cfg.Log, "node").Warn("default metrics port in use", "port", taken, logging.Err(errors.New(ports.Problem(inUse, "tcp", taken))), "port_used", port,
			logging.Advice("Set the metrics port to a free port, so that the port is the same after each start."))
		return ln, nil
	}
	return nil, inUse
}

// Close releases everything that New opened.
func (n *Node) Close() {
	if n.network != nil {
		_ = n.network.Close()
	}
	for _, s := range n.servers {
		_ = s.ln.Close()
	}
	for _, s := range n.signers {
		s.Close()
	}
	if n.db != nil {
		if err := n.db.Close(); err != nil {
			n.cfg.Log.Error("database not closed", logging.Err(err),
				logging.Advice("The node loses nothing that it has shown. If it does not start again, follow the advice in that error."))
		}
	}
	n.guard.Close()
}

// Run runs the node until ctx ends, and then returns nil. If a service fails, Run stops the others
// and returns the error. It closes the node.
func (n *Node) Run(ctx context.Context) error {
	defer n.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	log := logging.Component(n.cfg.Log, "node")
	n.logStart(log)
	n.publisher.ctx = ctx

	var services sync.WaitGroup
	run := func(name string, service func(context.Context) error) {
		services.Go(func() {
			if err := service(ctx); err != nil {
				stop(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	if n.db != nil {
		run("storage", n.watchDisk)
	}
	run("chain", n.chain.Run)
	run("validator", n.validator.Run)
	run("sync", n.sync.Run)
	run("p2p", n.network.Run)
	run("publisher", n.publisher.run)
	run("watchdog", n.watchLoops)
	run("stream", n.stream.Run)
	for _, s := range n.servers {
		run(s.name, func(ctx context.Context) error {
			return api.Serve(ctx, s.ln, s.handler, logging.Component(n.cfg.Log, "http"))
		})
	}

	<-ctx.Done()
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		cause = nil
		log.Info("stopping", n.where()...)
	} else {
		log.Error("stopping after a failure", logging.Err(cause),
			logging.Advice("Fix the cause named in the error, then restart the node."))
	}
	services.Wait()
	log.Info("stopped", n.where()...)
	return cause
}

// where returns log fields with the slots of the clock, of the head and of the finalized block.
func (n *Node) where() []any {
	snap := n.chain.Snapshot()
	return []any{logging.Slot(n.clock.Slot()), "head_slot", snap.Head.Slot, "finalized_slot", snap.LatestFinalized.Slot}
}

// watchDisk reports the usage of the disk every 10 s, and returns its error when it fails.
func (n *Node) watchDisk(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		if used, free, err := n.db.Space(); err == nil {
			n.bus.Report(events.Disk{Used: used, Free: free})
		}
		select {
		case <-n.db.Failed():
			return n.db.Err()
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// logStart logs the configuration of the node.
func (n *Node) logStart(log *slog.Logger) {
	snap := n.chain.Snapshot()
	indices := make([]uint64, len(n.cfg.Keys))
	for i, k := range n.cfg.Keys {
		indices[i] = k.Index
	}
	attrs := []any{
		"version", n.cfg.Version, "node", n.cfg.NodeID, "scheme", n.cfg.Scheme.String(),
		"genesis_time", n.clock.StartOf(0).UTC().Format(time.RFC3339), "genesis_root", identity(&n.cfg).GenesisRoot,
		"registry", snap.HeadState.Validators.Len(), "validators", indices, "aggregator", n.cfg.IsAggregator,
	}
	for _, s := range n.servers {
		attrs = append(attrs, s.name, s.ln.Addr().String())
	}
	log.Info("started", attrs...)
	log.Info("network", logging.Peer(n.network.PeerID()), "name", n.cfg.NetworkName, "listen", n.cfg.Listen,
		"bootnodes", len(n.cfg.Bootnodes), "subnets", append([]uint64{}, subnets(&n.cfg)...), "enr", n.network.ENR())
	if n.db == nil {
		log.Warn("no data folder, chain is kept in memory only",
			logging.Advice("A restart loses the chain. Set the data folder to keep it."))
	}
	if n.clock.BeforeGenesis() {
		log.Info("waiting for genesis", "seconds", int(n.clock.StartOf(0).Sub(n.clock.Now()).Seconds()+0.5))
	}
}

// syncState returns the state of sync for /health and /readyz.
func (n *Node) syncState() health.Sync {
	v, slot := n.sync.View(), n.clock.Slot()
	s := health.Sync{HeadSlot: uint64(v.HeadSlot), ClockSlot: uint64(slot), Peers: v.Peers, Agree: v.Agree}
	s.Synced, s.Reason = v.Synced(slot)
	return s
}

// reportSlot adds the state of sync and the number of peers to the summary of a slot, and reports it.
func (n *Node) reportSlot(s events.SlotSummary) {
	s.Synced = n.syncState().Synced
	s.Peers = len(n.network.Peers())
	n.bus.Report(s)
}
