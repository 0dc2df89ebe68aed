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
	// defaultCrashes is the number of kills in TestCrash unless LEANSPEC_CRASHES is set.
	defaultCrashes = 20
	// lastCrashSlot is the last slot at which a network's node is killed. The keys end with slot 249, and finality must
	// follow the last kill.
	lastCrashSlot = 215
	// standstill limits how long the head of the node may stay the same while the node is killed repeatedly.
	standstill = 8 * lstar.SecondsPerSlot * time.Second
	// startPatience limits the time from the start of a node to its first answer.
	startPatience = 30 * time.Second
)

// moment is the kind of moment at which a node is killed.
type moment int

const (
	atSomeTime moment = iota
	onDuty
	afterHead
	afterMessage
	duringStart
	moments
)

// crashes counts what happened in all networks of TestCrash.
type crashes struct {
	kills, networks         int
	moments                 [moments]int
	restarts                []time.Duration // from the start of the process to its first answer
	answers                 int
	acknowledged            int // blocks that the API of the node showed or that the node sent
	blocks, votes           int
	aggregates              int
	signatures, different   int // of the node's validators
	equivocations, late     int64
	reorgs, companionReorgs int
	refused                 int // signatures that the guard refused
	lostBoth, lostOne       int // starts without both copies of the signing records, or without one
	closed                  int // duties skipped because the record was lost
	unseenHeads, otherForks int
	longestStandstill       time.Duration
	finality                uint64
}

// TestCrash repeatedly kills a node at random moments, while an equivocator causes reorgs, and restarts it at once. The
// node must keep every block that it has shown or sent, follow the chain, and never sign twice for a slot, even if its
// signing records are removed before it restarts.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a network for minutes")
	}
	left := defaultCrashes
	if s := os.Getenv("LEANSPEC_CRASHES"); s != "" {
		var err error
		if left, err = strconv.Atoi(s); err != nil || left < 1 {
			t.Fatalf("LEANSPEC_CRASHES: %q: want a whole number, 1 or more", s)
		}
	}
	t.Parallel()
	var all crashes
	began := time.Now()
	for left > 0 && !t.Failed() {
		before := all.kills
		crashInNetwork(t, &all, left)
		left -= all.kills - before
	}
	t.Logf("after %s:\n%s", time.Since(began).Round(time.Second), &all)
	if all.lostBoth == 0 || all.closed == 0 {
		t.Errorf("starts without signing records = %d, duties skipped because of that = %d, want more than 0 of both", all.lostBoth, all.closed)
	}
}

// String formats the counts as a table.
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
		{"kills during a start", c.moments[duringStart]},
		{"kills at a random time", c.moments[atSomeTime]},
		{"kills when a duty is due or data is saved", c.moments[onDuty]},
		{"kills after a new head was shown", c.moments[afterHead]},
		{"kills after a block or a vote was sent", c.moments[afterMessage]},
		{"restart to first answer", fmt.Sprintf("median %s, p95 %s, max %s of %d", quantile(0.5), quantile(0.95), quantile(1), len(c.restarts))},
		{"answers of the API", c.answers},
		{"blocks shown or sent, all present after restarts", c.acknowledged},
		{"restarts with a head that had not been shown", c.unseenHeads},
		{"restarts on another fork", c.otherForks},
		{"longest time without a new head", c.longestStandstill.Round(100 * time.Millisecond)},
		{"finalized slots, all networks", c.finality},
		{"on the wire", fmt.Sprintf("%d blocks, %d votes, %d aggregates", c.blocks, c.votes, c.aggregates)},
		{"pairs of blocks for a slot, late blocks", fmt.Sprintf("%d, %d", c.equivocations, c.late)},
		{"reorgs", fmt.Sprintf("%d of the node, %d of its companion", c.reorgs, c.companionReorgs)},
		{"signatures checked", fmt.Sprintf("%d, of which %d different", c.signatures, c.different)},
		{"signatures refused by the guard", c.refused},
		{"starts without signing records", c.lostBoth},
		{"starts without one copy of the signing records", c.lostOne},
		{"duties skipped because records were lost", c.closed},
	} {
		fmt.Fprintf(w, "  %s\t%v\n", row[0], row[1])
	}
	_ = w.Flush()
	return b.String()
}

// forkChoice is the answer of /lean/v0/fork_choice.
type forkChoice struct {
	Nodes []struct {
		Root   string `json:"root"`
		Slot   uint64 `json:"slot"`
		Parent string `json:"parent_root"`
	} `json:"nodes"`
	Head      string            `json:"head"`
	Justified devnet.Checkpoint `json:"justified"`
	Finalized devnet.Checkpoint `json:"finalized"`
}

// crasher kills a node and keeps all that the node has acknowledged.
type crasher struct {
	t      *testing.T
	net    *devnet.Network
	node   *devnet.Node
	tap    *wiretap
	id     peer.ID
	client *http.Client
	log    *follower
	// seenLines is the number of lines of the log that readLog has processed.
	seenLines int
	// records are the parts of the names of the signing records that identify the keys. firstSigned is the first slot that
	// the node may sign since the records were removed.
	records     []string
	firstSigned uint64
	all         *crashes
	headChanged chan struct{} // receives a value when a new head is shown

	mu        sync.Mutex
	blocks    map[string]uint64 // slots of the blocks that were shown, by root
	parents   map[string]string // roots of their parents
	heads     map[string]bool   // roots that were shown or logged as head or checkpoint
	justified map[string]bool
	finalized map[string]bool
	last      forkChoice // the latest answer
	hasLast   bool
	headSlot  uint64
	headSince time.Time // when headSlot last changed
	longest   time.Duration
}

// crashInNetwork makes a network and kills one of its nodes up to kills times, until lastCrashSlot.
func crashInNetwork(t *testing.T, all *crashes, kills int) {
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
		log:    &follower{path: node.LogPath()}, headChanged: make(chan struct{}, 1),
		blocks: make(map[string]uint64), parents: make(map[string]string),
		heads: make(map[string]bool), justified: make(map[string]bool), finalized: make(map[string]bool),
	}
	defer c.client.CloseIdleConnections()
	byzantine, stopEquivocator := startEquivocator(t, n, n.Nodes[2])

	// A node that exits without being killed fails the test.
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

	// The wiretap also receives messages of the node that the companion forwards.
	info, err := peer.AddrInfoFromString(companion.Multiaddr())
	if err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return c.tap.Connect(ctx, *info) == nil }) {
		t.Fatalf("the wiretap cannot connect to %s", companion.Name)
	}
	c.start(ctx)
	c.awaitAnswer(ctx, "the second block", 60*time.Second, func(a *forkChoice) bool { return slotOf(a, a.Head) >= 2 })
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

	// The chain must finalize a slot after the last restart.
	byzantine.honest.Store(true)
	slot := uint64(n.Clock.Slot())
	cancel(nil)
	<-followed
	stop := c.poll(t.Context())
	defer stop()
	status := awaitFinalized(t, n, slot, 90*time.Second)
	stop()
	if len(status.Disagreements) > 0 {
		t.Errorf("disagreements = %v, want none", status.Disagreements)
	}
	c.finish(companion)
	stopEquivocator()
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	all.equivocations += byzantine.proposals[twoBlocks].Load() + byzantine.proposals[twoBlocksLate].Load()
	all.late += byzantine.proposals[lateBlock].Load()
}

// start starts the node, and returns its first answer and the time until then.
func (c *crasher) start(ctx context.Context) (first *forkChoice, took time.Duration) {
	c.t.Helper()
	began := time.Now()
	if err := c.node.Start("--bootnode", c.tap.address()); err != nil {
		c.t.Fatal(err)
	}
	return c.awaitAnswer(ctx, "the first answer", startPatience, func(*forkChoice) bool { return true }), time.Since(began)
}

// awaitAnswer polls the API until ok accepts an answer.
func (c *crasher) awaitAnswer(ctx context.Context, what string, timeout time.Duration, ok func(*forkChoice) bool) *forkChoice {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if a, err := c.getForkChoice(ctx); err == nil && ok(a) {
			return a
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("waiting for %s: %v", what, context.Cause(ctx))
		}
	}
}

// getForkChoice requests /lean/v0/fork_choice.
func (c *crasher) getForkChoice(ctx context.Context) (*forkChoice, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.node.APIURL()+"/lean/v0/fork_choice", nil)
	if err != nil {
		return nil, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	a := new(forkChoice)
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return a, json.NewDecoder(response.Body).Decode(a)
}

// slotOf returns the slot of a block of an answer, or 0 if the block is not in it.
func slotOf(a *forkChoice, root string) uint64 {
	for _, b := range a.Nodes {
		if b.Root == root {
			return b.Slot
		}
	}
	return 0
}

// record adds an answer to what the node has acknowledged.
func (c *crasher) record(a *forkChoice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range a.Nodes {
		c.blocks[b.Root], c.parents[b.Root] = b.Slot, b.Parent
	}
	c.heads[a.Head], c.justified[a.Justified.Root], c.finalized[a.Finalized.Root] = true, true, true
	if a.Head != c.last.Head {
		signal(c.headChanged)
	}
	c.last, c.hasLast = *a, true
	c.all.answers++
	if slot := slotOf(a, a.Head); slot > c.headSlot {
		c.longest = max(c.longest, time.Since(c.headSince))
		c.headSlot, c.headSince = slot, time.Now()
	}
}

// poll records the answers of the API until stop is called or ctx is canceled. stop may be called repeatedly.
func (c *crasher) poll(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			// An answer that arrives after the kill also counts as an acknowledgment.
			if a, err := c.getForkChoice(context.WithoutCancel(ctx)); err == nil {
				c.record(a)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// crash lets the node run for a while, kills it, restarts it, and compares its state with what it had acknowledged.
func (c *crasher) crash(ctx context.Context) {
	t := c.t
	stop := c.poll(ctx)
	when := c.waitForMoment(ctx)
	c.node.Kill()
	stop()
	_ = c.tap.Network().ClosePeer(c.id)
	c.all.kills++
	before := c.readLog()

	// Everything acknowledged until now must be present after the restart.
	c.mu.Lock()
	acknowledged := maps.Clone(c.blocks)
	last, hasLast := c.last, c.hasLast
	c.mu.Unlock()
	for _, root := range c.tap.ownBlocks() {
		c.tap.mu.Lock()
		acknowledged[root.String()] = uint64(c.tap.blocks[root].slot)
		c.tap.mu.Unlock()
	}

	// Kill some processes before their first answer.
	for rand.IntN(5) == 0 && ctx.Err() == nil {
		c.removeRecords()
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
	lost := c.removeRecords()
	c.firstSigned = max(c.firstSigned, lost.firstSigned)
	first, took := c.start(ctx)
	c.all.restarts = append(c.all.restarts, took)
	restored := c.readLog()
	if restored.missing != lost.missing {
		t.Errorf("keys whose signing records are missing, by the log = %d, want %d", restored.missing, lost.missing)
	}
	if !restored.restored {
		t.Fatal("no line \"storage ready\" in the log of a node that answers")
	}
	c.compare(before, restored, &last, hasLast, first, acknowledged)
	c.record(first)

	waitCtx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.tap.await(waitCtx); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	c.mu.Lock()
	still := time.Since(c.headSince)
	c.mu.Unlock()
	if still > standstill {
		t.Errorf("head at slot %d for %s, want a new one within %s", c.headSlot, still.Round(time.Second), standstill)
	}
	if problems, _, _ := c.tap.signatures.found(); len(problems) > 0 {
		t.Errorf("invalid signatures, want none:\n%s", strings.Join(problems, "\n"))
	}
	t.Logf("kill %3d at slot %d %s: head %d, justified %d, finalized %d, %d blocks; first answer after %s: head %d, justified %d, finalized %d",
		c.all.kills, c.net.Clock.Slot(), when, slotOf(&last, last.Head), last.Justified.Slot, last.Finalized.Slot, len(acknowledged),
		took.Round(time.Millisecond), restored.head.Slot, restored.justified.Slot, restored.finalized.Slot)
}

// losses describes the signing records that removeRecords has removed.
type losses struct {
	missing     int    // keys without any record
	firstSigned uint64 // the first slot that the node may sign if no key has a record, otherwise 0
}

// removeRecords removes signing records at random: none, those in the data folder, those beside the keys, or both. The
// first call removes both.
func (c *crasher) removeRecords() (lost losses) {
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
	if first { // all records still exist
		for _, file := range list(folders[0], "*.guard") {
			c.records = append(c.records, filepath.Base(file)[:8]) // of the public key
		}
		if want := 2 * len(c.node.Validators); len(c.records) != want {
			t.Fatalf("%d signing records in %s, want %d", len(c.records), folders[0], want)
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
			// The name is the public key in the data folder, and the key file and the public key beside the key.
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
		lost.firstSigned = uint64(c.net.Clock.Slot()) + 2
	}
	return lost
}

// waitForMoment waits for a random moment to kill the node, and returns its description.
func (c *crasher) waitForMoment(ctx context.Context) (when string) {
	now := c.net.Clock.Now()
	at := now.Add(300*time.Millisecond + rand.N(3700*time.Millisecond))
	var news chan struct{}
	moment := moment(rand.IntN(int(duringStart)))
	switch moment {
	case atSomeTime:
		when = "at a random time"
	case onDuty:
		// The node signs blocks in interval 0 and votes in interval 1, and counts votes from interval 4 on. It writes most of
		// its data then.
		in := [...]lstar.Interval{0, 1, 4}[rand.IntN(3)]
		offset := rand.N(280*time.Millisecond) - 30*time.Millisecond
		slot := c.net.Clock.Slot()
		for at = c.net.Clock.StartOf(slot.Interval() + in).Add(offset); at.Before(now); slot++ {
			at = c.net.Clock.StartOf((slot + 1).Interval() + in).Add(offset)
		}
		when = fmt.Sprintf("in interval %d, %+d ms", in, offset.Milliseconds())
	case afterHead: // without delay: what is shown must already be saved
		at, news, when = now.Add(2*lstar.SecondsPerSlot*time.Second), c.headChanged, "after a new head"
	case afterMessage:
		at, news, when = now.Add(2*lstar.SecondsPerSlot*time.Second), c.tap.sent, "after a message"
	}
	c.all.moments[moment]++
	select {
	case <-news: // discard an earlier event
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

// logged is the state of a process according to its log.
type logged struct {
	restored                   bool // the database was opened
	head, justified, finalized devnet.Checkpoint
	firstHead                  devnet.Checkpoint // the head at the start
	missing                    int               // keys without a record at the start
}

// readLog reads the lines that the log has gained since the last call. It fails the test for lines that must not be there.
func (c *crasher) readLog() (l logged) {
	lines := c.log.read(c.t)
	for _, line := range lines[c.seenLines:] {
		checkpoint := func() devnet.Checkpoint {
			return devnet.Checkpoint{Slot: line.number(c.t, "slot"), Root: line.text(c.t, "root")}
		}
		switch line["msg"] {
		case "storage ready":
			l.restored, l.head = true, checkpoint()
			l.firstHead = l.head
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
			if slot := line.number(c.t, "slot"); slot < c.firstSigned {
				c.t.Errorf("signed slot %d after the signing records were removed, want no slot before %d: %v", slot, c.firstSigned, line)
			}
		case "duty skipped":
			switch line["reason"] {
			case "already_signed":
				c.all.refused++
			case "slot_closed":
				c.all.closed += int(line.number(c.t, "count"))
			}
		}
		if problem := complaint(line); problem != "" {
			b, _ := json.Marshal(line)
			c.t.Errorf("%s: %s", problem, b)
		}
	}
	c.seenLines = len(lines)
	return l
}

// complaint returns why a line must not be in the log of the node that is killed, or "". A node that restarts in a slot for
// which it has signed may try to sign another message, which the guard refuses without an error.
func complaint(l line) string {
	switch component := l["component"]; {
	case l["level"] == "error" && l["msg"] != "signing records are missing": // crash checks this message
		return "line at level error"
	case l["level"] == "warn" && component == "guard":
		return "warning of the guard"
	case l["level"] == "warn" && component == "storage" && l["msg"] != "disk is slow":
		return "warning of the storage"
	}
	return ""
}

// compare checks the first answer after a restart against what the node had shown and logged before. The node logs a change
// right after it has shown it.
func (c *crasher) compare(before, after logged, last *forkChoice, hasLast bool, first *forkChoice, acknowledged map[string]uint64) {
	t := c.t
	t.Helper()
	present := make(map[string]bool)
	parents := maps.Clone(c.parents)
	for _, b := range first.Nodes {
		present[b.Root], parents[b.Root] = true, b.Parent
	}
	// descends reports whether a block equals another one or descends from it.
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

	// known checks that a block was shown, or sent by gossip, or has valid signatures. The last case occurs if the node was
	// killed between saving and showing the block.
	known := func(what, root string, shown map[string]bool) {
		if shown[root] || c.heads[root] {
			return
		}
		c.tap.mu.Lock()
		_, received := c.tap.blocks[parseRoot(t, root)]
		c.tap.mu.Unlock()
		if what == "head" {
			c.all.unseenHeads++
		}
		if received {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := c.tap.await(ctx); err != nil {
			t.Error(err)
			return
		}
		if missing, err := c.tap.fetch(ctx, c.tap.peerHost, []lstar.Root{parseRoot(t, root)}); err != nil || len(missing) > 0 {
			t.Errorf("%s after the restart = %s, which was not seen before, want a block that the node serves: %v", what, root, err)
		}
	}
	known("head", after.firstHead.Root, c.heads)
	known("justified block", first.Justified.Root, c.justified)
	known("finalized block", first.Finalized.Root, c.finalized)

	// Head and checkpoints must not be older than in the last answer or in the last lines of the log.
	fork := false
	for _, b := range []struct {
		from                       string
		exists                     bool
		head                       string
		headSlot, justified, final uint64
	}{
		{"shown", hasLast, last.Head, slotOf(last, last.Head), last.Justified.Slot, last.Finalized.Slot},
		{"logged", before.restored && before.head.Root != "", before.head.Root, before.head.Slot, before.justified.Slot, before.finalized.Slot},
	} {
		if !b.exists {
			continue
		}
		if head := after.firstHead.Root; head != b.head && descends(b.head, head) {
			t.Errorf("head after the restart at slot %d, an ancestor of the head %s before at slot %d, want no older head", after.firstHead.Slot, b.from, b.headSlot)
		}
		if after.justified.Slot < b.justified {
			t.Errorf("justified slot after the restart = %d, want at least %d, as %s before", after.justified.Slot, b.justified, b.from)
		}
		// Finality belongs to the chain of the head: on another fork it may be lower.
		extends := descends(after.firstHead.Root, b.head)
		fork = fork || !extends
		if after.finalized.Slot < b.final && extends {
			t.Errorf("finalized slot after the restart = %d, want at least %d, as %s before on the same chain", after.finalized.Slot, b.final, b.from)
		}
	}
	if fork {
		c.all.otherForks++
	}
	if first.Justified.Slot < after.justified.Slot {
		t.Errorf("justified slot in the first answer = %d, want at least %d, as restored", first.Justified.Slot, after.justified.Slot)
	}

	// No acknowledged block may be missing.
	for root, slot := range acknowledged {
		if slot >= first.Finalized.Slot && !present[root] {
			t.Errorf("block %s at slot %d was shown or sent but is missing, although it is not before the finalized slot %d", root, slot, first.Finalized.Slot)
		}
	}
}

// parseRoot parses a root in hex.
func parseRoot(t *testing.T, s string) (root lstar.Root) {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil || len(b) != len(root) {
		t.Fatalf("root = %q, want 32 bytes in hex", s)
	}
	return lstar.Root(b)
}

// finish checks the node and its companion once more at the end of the network, and adds up the counts.
func (c *crasher) finish(companion *devnet.Node) {
	t := c.t
	t.Helper()
	c.readLog()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if a, err := c.getForkChoice(ctx); err != nil {
		t.Error(err)
	} else {
		c.record(a)
		c.all.finality += a.Finalized.Slot
	}

	// The node must serve all blocks that it ever showed or sent. fetch also checks their signatures.
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
		t.Errorf("%d of %d blocks that were shown or sent are not served (error %v), want 0: %v", len(missing), len(list), err, missing)
	}
	c.all.acknowledged += len(list)
	other := newPeer(t, companion).connect(t)
	if _, err := c.tap.fetch(ctx, other, list); err != nil {
		t.Errorf("blocks of %s: %v", companion.Name, err)
	}
	_ = other.Close()

	problems, checked, different := c.tap.signatures.found()
	if len(problems) > 0 {
		t.Errorf("invalid signatures, want none:\n%s", strings.Join(problems, "\n"))
	}
	c.all.signatures, c.all.different = c.all.signatures+checked, c.all.different+different
	c.tap.mu.Lock()
	invalid, counts := c.tap.invalid, maps.Clone(c.tap.counts)
	c.tap.mu.Unlock()
	if len(invalid) > 0 {
		t.Errorf("messages that cannot be decoded = %q, want none", invalid)
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
		t.Errorf("%d reorgs and at most %d children of a block, want at least 1 and 2", reorgs, slices.Max(slices.Collect(maps.Values(children))))
	}
	if different == 0 || len(c.tap.ownBlocks()) == 0 {
		t.Errorf("%d signatures and %d blocks of the node received, want more than 0", different, len(c.tap.ownBlocks()))
	}
	if banned := (&follower{path: companion.LogPath()}).about(t, c.id, "peer banned"); len(banned) > 0 {
		t.Errorf("%s banned the node, want no ban: %v", companion.Name, banned)
	}
	if count, first, err := companion.LogErrors(); count > 0 || err != nil {
		t.Errorf("%s logged %d errors (%v), want 0: %v", companion.Name, count, err, first)
	}
}

// port formats a port.
func port(p uint16) string { return strconv.Itoa(int(p)) }
