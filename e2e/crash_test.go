package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/leanEthereum/leanspec-node/internal/core/lstar"
	"github.com/leanEthereum/leanspec-node/internal/devnet"
	"github.com/leanEthereum/leanspec-node/internal/node/p2p/wire"
)

const (
	// defaultCrashes is how often TestCrash kills the node, unless LEANSPEC_CRASHES
	// says otherwise.
	defaultCrashes = 20
	// lastCrashSlot is when a network is too old to go on with: the keys of the test
	// scheme end with slot 249, and finality has to come after the last kill.
	lastCrashSlot = 215
	// standstill is how long the node's head may stay where it is while it is killed
	// again and again: eight slots.
	standstill = 8 * lstar.SecondsPerSlot * time.Second
	// startPatience is how long a node may take from its start to its first answer.
	startPatience = 30 * time.Second
)

// moment is when a node is killed.
type moment int

const (
	atSomeTime moment = iota
	onDuty
	afterHead
	afterMessage
	duringStart
	moments
)

// crashes is what was seen in all networks of TestCrash.
type crashes struct {
	kills, networks         int
	moments                 [moments]int
	restarts                []time.Duration // from the start of the process to its first answer
	answers                 int
	acknowledged            int // blocks that the node had shown, or sent
	blocks, votes           int
	aggregates              int
	signatures, different   int // of the node's validators
	twins, late             int64
	reorgs, companionReorgs int
	refused                 int // signatures that the guard refused
	lostBoth, lostOne       int // starts without the signing records, or without one copy of them
	closed                  int // duties that were skipped because the record was lost
	unseenHeads, otherForks int
	longestStandstill       time.Duration
	finality                uint64
}

// TestCrash kills a node at random moments, again and again, while a rival makes
// the chain reorganise, and starts it again at once. The node must lose nothing
// that it has shown or sent, go on with the chain, and never sign twice for a slot,
// even if the records of what it has signed are lost before it starts again.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for minutes")
	}
	left := defaultCrashes
	if s := os.Getenv("LEANSPEC_CRASHES"); s != "" {
		var err error
		if left, err = strconv.Atoi(s); err != nil || left < 1 {
			t.Fatalf("LEANSPEC_CRASHES: %q: want a number", s)
		}
	}
	t.Parallel()
	var all crashes
	began := time.Now()
	for left > 0 && !t.Failed() {
		before := all.kills
		crashNetwork(t, &all, left)
		left -= all.kills - before
	}
	t.Logf("after %s:\n%s", time.Since(began).Round(time.Second), &all)
	if all.lostBoth == 0 || all.closed == 0 {
		t.Errorf("%d starts without the signing records, %d duties skipped for it: want some of both", all.lostBoth, all.closed)
	}
}

// String is a table.
func (c *crashes) String() string {
	slices.Sort(c.restarts)
	quantile := func(q float64) time.Duration {
		if len(c.restarts) == 0 {
			return 0
		}
		return c.restarts[int(q*float64(len(c.restarts)-1))].Round(time.Millisecond)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range [][2]any{
		{"kills", fmt.Sprintf("%d in %d networks", c.kills, c.networks)},
		{"of them while it started", c.moments[duringStart]},
		{"of them at some time", c.moments[atSomeTime]},
		{"of them when it was to sign or to save", c.moments[onDuty]},
		{"of them when it had shown a new head", c.moments[afterHead]},
		{"of them when it had sent a block or a vote", c.moments[afterMessage]},
		{"restart to first answer", fmt.Sprintf("median %s, p95 %s, max %s of %d", quantile(0.5), quantile(0.95), quantile(1), len(c.restarts))},
		{"answers of the API", c.answers},
		{"blocks shown or sent, all found again", c.acknowledged},
		{"restarts with a head that nobody had seen", c.unseenHeads},
		{"restarts on another fork", c.otherForks},
		{"longest time with one head", c.longestStandstill.Round(100 * time.Millisecond)},
		{"finalized slots, all networks", c.finality},
		{"on the wire", fmt.Sprintf("%d blocks, %d votes, %d aggregates", c.blocks, c.votes, c.aggregates)},
		{"pairs of blocks for a slot, and late blocks", fmt.Sprintf("%d, %d", c.twins, c.late)},
		{"reorgs", fmt.Sprintf("%d of the node, %d of its companion", c.reorgs, c.companionReorgs)},
		{"signatures checked", fmt.Sprintf("%d, %d of them different", c.signatures, c.different)},
		{"signatures refused by the guard", c.refused},
		{"starts without the signing records", c.lostBoth},
		{"starts without one copy of them", c.lostOne},
		{"duties skipped because they were lost", c.closed},
	} {
		fmt.Fprintf(w, "  %s\t%v\n", row[0], row[1])
	}
	_ = w.Flush()
	return b.String()
}

// choice is an answer of the API.
type choice struct {
	Nodes []struct {
		Root   string `json:"root"`
		Slot   uint64 `json:"slot"`
		Parent string `json:"parent_root"`
	} `json:"nodes"`
	Head      string            `json:"head"`
	Justified devnet.Checkpoint `json:"justified"`
	Finalized devnet.Checkpoint `json:"finalized"`
}

// crasher is a node that is killed, and all that it has acknowledged.
type crasher struct {
	t      *testing.T
	net    *devnet.Network
	node   *devnet.Node
	tap    *wiretap
	id     peer.ID
	client *http.Client
	log    *follower
	run    int // lines of the log that are of earlier processes
	// records are the ends of the names of the key's records, and signs the first
	// slot that the node may sign since they were lost.
	records []string
	signs   uint64
	all     *crashes
	news    chan struct{} // has a value after a new head was shown

	mu        sync.Mutex
	blocks    map[string]uint64 // shown: slots by root
	parents   map[string]string // of all blocks that were shown
	heads     map[string]bool   // roots that were shown, or logged, as heads and checkpoints
	justified map[string]bool
	finalized map[string]bool
	last      choice // the last answer
	hasLast   bool
	headSlot  uint64
	headSince time.Time // when the head's slot was last seen to grow
	longest   time.Duration
}

// crashNetwork kills a node of a new network as often as it lives for.
func crashNetwork(t *testing.T, all *crashes, kills int) {
	t.Helper()
	all.networks++
	n := launch(t, devnet.Options{
		Nodes: 3, Validators: 18, LogLevel: "debug", GenesisDelay: 5 * time.Second,
		NodeOptions: []devnet.NodeOptions{{Late: true}, {Aggregator: true}, {Late: true}},
	})
	node, companion := n.Nodes[0], n.Nodes[1]
	id, err := peer.Decode(node.PeerID)
	if err != nil {
		t.Fatal(err)
	}
	c := &crasher{
		t: t, net: n, node: node, tap: newWiretap(t, n, node), id: id, all: all,
		client: &http.Client{Transport: &http.Transport{}, Timeout: patience},
		log:    &follower{path: node.LogPath()}, news: make(chan struct{}, 1),
		blocks: make(map[string]uint64), parents: make(map[string]string),
		heads: make(map[string]bool), justified: make(map[string]bool), finalized: make(map[string]bool),
	}
	defer c.client.CloseIdleConnections()
	rival, stopRival := startRival(t, n, n.Nodes[2])

	// Deaths that nobody asked for, and what the nodes disagree about for good.
	ctx, cancel := context.WithCancelCause(t.Context())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		_ = n.Follow(ctx, func(*devnet.Status) bool { return false }, func(d devnet.Death) {
			t.Error(d)
			cancel(fmt.Errorf("%s died", d.Node))
		})
	}()

	t.Cleanup(func() {
		cancel(nil)
		<-followed
	})

	// What the node sent and others forwarded is heard as well.
	info, err := peer.AddrInfoFromString(companion.Multiaddr())
	if err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return c.tap.Connect(ctx, *info) == nil }) {
		t.Fatalf("%s cannot be reached", companion.Name)
	}
	c.start(ctx)
	c.until(ctx, "the second block", 60*time.Second, func(a *choice) bool { return slotOf(a, a.Head) >= 2 })
	c.mu.Lock()
	c.headSince = time.Now()
	c.mu.Unlock()
	for from := all.kills; all.kills-from < kills && ctx.Err() == nil && !t.Failed() && n.Clock.Slot() <= lastCrashSlot; {
		c.crash(ctx)
	}
	if ctx.Err() != nil || t.Failed() {
		cancel(nil)
		<-followed
		return
	}

	// The chain goes on, and what is decided after the last start becomes final.
	rival.behaves.Store(true)
	slot := uint64(n.Clock.Slot())
	cancel(nil)
	<-followed
	stop := c.poll(t.Context())
	defer stop()
	status := finalizes(t, n, slot, 90*time.Second)
	stop()
	if len(status.Disagreements) > 0 {
		t.Error(status.Disagreements)
	}
	c.finish(companion)
	stopRival()
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	all.twins += rival.proposals[twins].Load() + rival.proposals[lateTwin].Load()
	all.late += rival.proposals[lateBlock].Load()
}

// start starts the node, and waits for its first answer.
func (c *crasher) start(ctx context.Context) (first *choice, took time.Duration) {
	c.t.Helper()
	began := time.Now()
	if err := c.node.Start("--bootnode", c.tap.address()); err != nil {
		c.t.Fatal(err)
	}
	return c.until(ctx, "the first answer", startPatience, func(*choice) bool { return true }), time.Since(began)
}

// until asks until an answer is as wanted.
func (c *crasher) until(ctx context.Context, what string, timeout time.Duration, ok func(*choice) bool) *choice {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if a, err := c.ask(ctx); err == nil && ok(a) {
			return a
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("waiting for %s: %v", what, context.Cause(ctx))
		}
	}
}

// ask asks the API.
func (c *crasher) ask(ctx context.Context) (*choice, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.node.APIURL()+"/lean/v0/fork_choice", nil)
	if err != nil {
		return nil, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	a := new(choice)
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return a, json.NewDecoder(response.Body).Decode(a)
}

func slotOf(a *choice, root string) uint64 {
	for _, b := range a.Nodes {
		if b.Root == root {
			return b.Slot
		}
	}
	return 0
}

// acknowledge keeps what an answer shows.
func (c *crasher) acknowledge(a *choice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range a.Nodes {
		c.blocks[b.Root], c.parents[b.Root] = b.Slot, b.Parent
	}
	c.heads[a.Head], c.justified[a.Justified.Root], c.finalized[a.Finalized.Root] = true, true, true
	if a.Head != c.last.Head {
		signal(c.news)
	}
	c.last, c.hasLast = *a, true
	c.all.answers++
	if slot := slotOf(a, a.Head); slot > c.headSlot {
		c.longest = max(c.longest, time.Since(c.headSince))
		c.headSlot, c.headSince = slot, time.Now()
	}
}

// poll asks the API until ctx is done, and returns once it does so no more.
func (c *crasher) poll(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			// An answer that comes is an acknowledgment, also after the kill.
			if a, err := c.ask(context.WithoutCancel(ctx)); err == nil {
				c.acknowledge(a)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	return func() { // any number of times
		cancel()
		<-done
	}
}

// crash lets the node run for a while, kills it, starts it again, and compares.
func (c *crasher) crash(ctx context.Context) {
	t := c.t
	stop := c.poll(ctx)
	when := c.wait(ctx)
	c.node.Kill()
	stop()
	_ = c.tap.Network().ClosePeer(c.id)
	c.all.kills++
	before := c.readLog()

	// What must be there after the restart is what was acknowledged until now.
	c.mu.Lock()
	acknowledged := maps.Clone(c.blocks)
	last, hasLast := c.last, c.hasLast
	c.mu.Unlock()
	for _, root := range c.tap.ownBlocks() {
		c.tap.mu.Lock()
		acknowledged[root.String()] = uint64(c.tap.blocks[root].slot)
		c.tap.mu.Unlock()
	}

	// Some do not get as far as to an answer.
	for rand.IntN(5) == 0 && ctx.Err() == nil {
		c.lose()
		if err := c.node.Start("--bootnode", c.tap.address()); err != nil {
			t.Fatal(err)
		}
		pause := time.NewTimer(rand.N(100 * time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
		c.node.Kill()
		_ = c.tap.Network().ClosePeer(c.id)
		c.all.kills++
		c.all.moments[duringStart]++
		if later := c.readLog(); later.restored {
			before = later
		}
	}
	lost := c.lose()
	c.signs = max(c.signs, lost.signs)
	first, took := c.start(ctx)
	c.all.restarts = append(c.all.restarts, took)
	restored := c.readLog()
	if restored.missing != lost.missing {
		t.Errorf("the log says that the signing records of %d keys are missing, want %d", restored.missing, lost.missing)
	}
	if !restored.restored {
		t.Fatal("the node answers, and its log does not say that the database is open")
	}
	c.compare(before, restored, &last, hasLast, first, acknowledged)
	c.acknowledge(first)

	waitCtx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.tap.await(waitCtx); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	c.mu.Lock()
	still := time.Since(c.headSince)
	c.mu.Unlock()
	if still > standstill {
		t.Errorf("the head of the node is at slot %d for %s: the chain does not go on", c.headSlot, still.Round(time.Second))
	}
	if problems, _, _ := c.tap.signatures.found(); len(problems) > 0 {
		t.Errorf("signatures:\n%s", strings.Join(problems, "\n"))
	}
	t.Logf("kill %3d at slot %d %s: head %d, justified %d, finalized %d, %d blocks; back after %s with head %d, justified %d, finalized %d",
		c.all.kills, c.net.Clock.Slot(), when, slotOf(&last, last.Head), last.Justified.Slot, last.Finalized.Slot, len(acknowledged),
		took.Round(time.Millisecond), restored.head.Slot, restored.justified.Slot, restored.finalized.Slot)
}

// losses says what is missing before a start.
type losses struct {
	missing int    // keys without any record
	signs   uint64 // the first slot that the node may sign if that is all of them, or 0
}

// lose removes the signing records at random: those in the data folder, those
// beside the keys, or both, which it does at the first kill.
func (c *crasher) lose() (lost losses) {
	t := c.t
	t.Helper()
	folders := [...]string{filepath.Join(c.node.Dir, "data", "guard"), filepath.Join(c.net.Dir, "hash-sig-keys")}
	list := func(folder, pattern string) []string {
		files, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	first := c.records == nil
	if first { // the node has had all of its records until now
		for _, file := range list(folders[0], "*.guard") {
			c.records = append(c.records, filepath.Base(file)[:8]) // of the public key
		}
		if want := 2 * len(c.node.Validators); len(c.records) != want {
			t.Fatalf("%d records in %s, want %d", len(c.records), folders[0], want)
		}
	}
	var remove []string
	switch {
	case first || rand.IntN(3) == 0:
		remove = folders[:]
		c.all.lostBoth++
	case rand.IntN(2) == 0:
		i := rand.IntN(len(folders))
		remove = folders[i : i+1]
		c.all.lostOne++
	}
	for _, record := range c.records {
		kept := 0
		for _, folder := range folders {
			// By public key in the data folder, by file and public key beside the key.
			for _, file := range append(list(folder, record+"*.guard"), list(folder, "*."+record+".guard")...) {
				if !slices.Contains(remove, folder) {
					kept++
				} else if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
		}
		if kept == 0 {
			lost.missing++
		}
	}
	if lost.missing == len(c.records) {
		lost.signs = uint64(c.net.Clock.Slot()) + 2
	}
	return lost
}

// wait waits for a moment to kill the node, and says which.
func (c *crasher) wait(ctx context.Context) (when string) {
	now := c.net.Clock.Now()
	at := now.Add(300*time.Millisecond + rand.N(3700*time.Millisecond))
	var news chan struct{}
	moment := moment(rand.IntN(int(duringStart)))
	switch moment {
	case atSomeTime:
		when = "at some time"
	case onDuty:
		// Blocks are signed in interval 0, votes in interval 1, votes count from
		// interval 4 on: that is when most is written.
		in := [...]lstar.Interval{0, 1, 4}[rand.IntN(3)]
		offset := rand.N(280*time.Millisecond) - 30*time.Millisecond
		slot := c.net.Clock.Slot()
		for at = c.net.Clock.StartOf(slot.Interval() + in).Add(offset); at.Before(now); slot++ {
			at = c.net.Clock.StartOf((slot + 1).Interval() + in).Add(offset)
		}
		when = fmt.Sprintf("in interval %d, %+d ms", in, offset.Milliseconds())
	case afterHead: // at once, for it must be true by then
		at, news, when = now.Add(2*lstar.SecondsPerSlot*time.Second), c.news, "when it showed a head"
	case afterMessage:
		at, news, when = now.Add(2*lstar.SecondsPerSlot*time.Second), c.tap.news, "when it sent a message"
	}
	c.all.moments[moment]++
	select {
	case <-news: // what was before
	default:
	}
	ctx, cancel := context.WithDeadline(ctx, at.Round(0))
	defer cancel()
	select {
	case <-news:
	case <-ctx.Done():
	}
	return when
}

// logged is what the log of a process says.
type logged struct {
	restored                   bool // the database was opened
	head, justified, finalized devnet.Checkpoint
	head0                      devnet.Checkpoint // the head at the start
	missing                    int               // keys without a record at the start
}

// readLog reads what the log has become since the last time: what was reached, and
// what went wrong.
func (c *crasher) readLog() (l logged) {
	lines := c.log.read(c.t)
	for _, line := range lines[c.run:] {
		checkpoint := func() devnet.Checkpoint {
			return devnet.Checkpoint{Slot: line.number(c.t, "slot"), Root: line.text(c.t, "root")}
		}
		switch line["msg"] {
		case "storage ready":
			l.restored, l.head = true, checkpoint()
			l.head0 = l.head
			l.justified.Slot, l.finalized.Slot = line.number(c.t, "justified_slot"), line.number(c.t, "finalized_slot")
		case "head changed by reorg":
			c.all.reorgs++
			fallthrough
		case "head changed":
			l.head = checkpoint()
			c.heads[l.head.Root] = true
		case "justified":
			l.justified = checkpoint()
			c.justified[l.justified.Root] = true
		case "finalized":
			l.finalized = checkpoint()
			c.finalized[l.finalized.Root] = true
		case "signing records are missing":
			l.missing = int(line.number(c.t, "keys"))
		case "signed":
			if slot := line.number(c.t, "slot"); slot < c.signs {
				c.t.Errorf("signed slot %d after the signing records were lost, want nothing before slot %d: %v", slot, c.signs, line)
			}
		case "duty skipped":
			switch line["reason"] {
			case "already_signed":
				c.all.refused++
			case "slot_closed":
				c.all.closed += int(line.number(c.t, "count"))
			}
		}
		if problem := objectionable(line); problem != "" {
			b, _ := json.Marshal(line)
			c.t.Errorf("%s: %s", problem, b)
		}
	}
	c.run = len(lines)
	return l
}

// objectionable says what is wrong about a line of the log of the node that is
// killed. One that starts again in a slot in which it had signed wants to sign
// something else there, and must not, which is no error.
func objectionable(l line) string {
	switch component := l["component"]; {
	case l["level"] == "error" && l["msg"] != "signing records are missing": // that is compared with what was removed
		return "an error in the log"
	case l["level"] == "warn" && component == "guard":
		return "the guard complains"
	case l["level"] == "warn" && component == "storage" && l["msg"] != "disk is slow":
		return "the database complains"
	}
	return ""
}

// compare looks at what the node shows first against what it had shown before, or
// logged, which it does right after showing it.
func (c *crasher) compare(before, after logged, last *choice, hasLast bool, first *choice, acknowledged map[string]uint64) {
	t := c.t
	t.Helper()
	there := make(map[string]bool)
	parents := maps.Clone(c.parents)
	for _, b := range first.Nodes {
		there[b.Root], parents[b.Root] = true, b.Parent
	}
	// descends reports whether a block is another one, or a descendant.
	descends := func(root, of string) bool {
		for n := 0; root != of && n < 1<<10; n++ {
			parent, ok := parents[root]
			if !ok {
				return false
			}
			root = parent
		}
		return root == of
	}

	// What was reached is a block that was shown, or heard of, or one of which the
	// signatures are good, which happens where it was saved and then the node died.
	reached := func(what, root string, shown map[string]bool) {
		if shown[root] || c.heads[root] {
			return
		}
		c.tap.mu.Lock()
		_, heard := c.tap.blocks[parseRoot(t, root)]
		c.tap.mu.Unlock()
		if what == "head" {
			c.all.unseenHeads++
		}
		if heard {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := c.tap.await(ctx); err != nil {
			t.Error(err)
			return
		}
		if missing, err := c.tap.fetch(ctx, c.tap.peerHost, []lstar.Root{parseRoot(t, root)}); err != nil || len(missing) > 0 {
			t.Errorf("the %s is %s after the start, which nobody had seen before: %v", what, root, err)
		}
	}
	reached("head", after.head0.Root, c.heads)
	reached("justified block", first.Justified.Root, c.justified)
	reached("finalized block", first.Finalized.Root, c.finalized)

	// Nothing goes back: neither behind the last answer nor behind the last line.
	fork := false
	for _, b := range []struct {
		from                       string
		known                      bool
		head                       string
		headSlot, justified, final uint64
	}{
		{"shown", hasLast, last.Head, slotOf(last, last.Head), last.Justified.Slot, last.Finalized.Slot},
		{"logged", before.restored && before.head.Root != "", before.head.Root, before.head.Slot, before.justified.Slot, before.finalized.Slot},
	} {
		if !b.known {
			continue
		}
		if head := after.head0.Root; head != b.head && descends(b.head, head) {
			t.Errorf("the head went back from slot %d, that was %s, to its ancestor at slot %d", b.headSlot, b.from, after.head0.Slot)
		}
		if after.justified.Slot < b.justified {
			t.Errorf("the justified slot went back from %d, that was %s, to %d", b.justified, b.from, after.justified.Slot)
		}
		// Finality is what the head's chain says: on another fork it may be less.
		extends := descends(after.head0.Root, b.head)
		fork = fork || !extends
		if after.finalized.Slot < b.final && extends {
			t.Errorf("the finalized slot went back from %d, that was %s, to %d on the same chain", b.final, b.from, after.finalized.Slot)
		}
	}
	if fork {
		c.all.otherForks++
	}
	if first.Justified.Slot < after.justified.Slot {
		t.Errorf("the node shows justified slot %d, and has restored %d", first.Justified.Slot, after.justified.Slot)
	}

	// Nothing is missing.
	for root, slot := range acknowledged {
		if slot >= first.Finalized.Slot && !there[root] {
			t.Errorf("block %s at slot %d was shown or sent, and is missing; finalized is slot %d", root, slot, first.Finalized.Slot)
		}
	}
}

func parseRoot(t *testing.T, s string) (root lstar.Root) {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil || len(b) != len(root) {
		t.Fatalf("%q is no root", s)
	}
	return lstar.Root(b)
}

// finish looks at everything once more, when the network is at rest.
func (c *crasher) finish(companion *devnet.Node) {
	t := c.t
	t.Helper()
	c.readLog()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if a, err := c.ask(ctx); err != nil {
		t.Error(err)
	} else {
		c.acknowledge(a)
		c.all.finality += a.Finalized.Slot
	}

	// All blocks that the node ever showed or sent are served, and all that anybody
	// ever heard of have good signatures.
	roots := make(map[lstar.Root]bool)
	for root := range c.blocks {
		roots[parseRoot(t, root)] = true
	}
	for _, root := range c.tap.ownBlocks() {
		roots[root] = true
	}
	list := slices.Collect(maps.Keys(roots))
	missing, err := c.tap.fetch(ctx, c.tap.peerHost, list)
	if err != nil || len(missing) > 0 {
		t.Errorf("%d of %d blocks that were shown or sent are not served: %v %v", len(missing), len(list), missing, err)
	}
	c.all.acknowledged += len(list)
	other := newPeer(t, companion).connect(t)
	if _, err := c.tap.fetch(ctx, other, list); err != nil {
		t.Errorf("blocks of %s: %v", companion.Name, err)
	}
	_ = other.Close()

	problems, checked, different := c.tap.signatures.found()
	if len(problems) > 0 {
		t.Errorf("signatures:\n%s", strings.Join(problems, "\n"))
	}
	c.all.signatures, c.all.different = c.all.signatures+checked, c.all.different+different
	c.tap.mu.Lock()
	invalid, counts := c.tap.invalid, maps.Clone(c.tap.counts)
	c.tap.mu.Unlock()
	if len(invalid) > 0 {
		t.Errorf("messages that are none: %q", invalid)
	}
	c.all.blocks += counts[wire.TopicBlock]
	c.all.votes += counts[wire.TopicAttestation]
	c.all.aggregates += counts[wire.TopicAggregation]
	c.all.longestStandstill = max(c.all.longestStandstill, c.longest)

	reorgs := int(value(t, scrape(t, port(companion.Metrics)), "lean_fork_choice_reorgs_total"))
	c.all.companionReorgs += reorgs
	children := make(map[string]int)
	for _, parent := range c.parents {
		children[parent]++
	}
	if reorgs == 0 || slices.Max(slices.Collect(maps.Values(children))) < 2 {
		t.Errorf("%d reorgs, and at most %d children of a block: there was nothing to be crashed in", reorgs, slices.Max(slices.Collect(maps.Values(children))))
	}
	if different == 0 || len(c.tap.ownBlocks()) == 0 {
		t.Errorf("%d signatures and %d blocks of the node were seen", different, len(c.tap.ownBlocks()))
	}
	if banned := (&follower{path: companion.LogPath()}).about(t, c.id, "peer banned"); len(banned) > 0 {
		t.Errorf("%s banned the node: %v", companion.Name, banned)
	}
	if count, first, err := companion.LogErrors(); count > 0 || err != nil {
		t.Errorf("%s: %d errors %v %v", companion.Name, count, first, err)
	}
}

// port is a port in words.
func port(p uint16) string { return strconv.Itoa(int(p)) }
