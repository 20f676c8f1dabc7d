package drain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Input is what one Step is told.
type Input struct {
	Now     time.Time
	Cluster *cluster.Cluster // complete: every kind has been listed once
	Notices []Received
	Results []Result
}

// Received is a notice, and the token by which its Answer will name it.
type Received struct {
	Token  uint64
	Notice interruption.Notice
}

// Output is what one Step wants.
type Output struct {
	// Effects in the order of their urgency. Each gets one Result, except Answers.
	Effects []Effect
	// Wake is when to Step again at the latest. Zero when only an input can change
	// anything.
	Wake time.Time
	// Events tell what has happened, for whoever watches. They are not repeated
	// within the life of a State; after a restart some may be.
	Events []Event
	// Problems are things that a person should know, such as a Record that cannot
	// be read. Each is reported once.
	Problems []error
}

// State is what is remembered between Steps. Use NewState to make one.
type State struct {
	policy     Policy
	nodes      map[string]*node
	strays     tries             // of released pods whose node is not being drained
	rebudgets  tries             // of budgets
	unreadable map[string]string // node -> the annotation that was reported
	closed     map[string]string // node -> the annotation that was removed; the cluster may still show it
	over       map[interruption.InstanceID]over
	short      map[cluster.UID]*shortage
	lastNotice time.Time
	lastCordon time.Time // when the latest one was known to have succeeded
	looked     bool      // a Step has been made: what it found was there before us
}

// node is a node that is being drained.
type node struct {
	name    string
	record  Record
	reason  Reason // why the record is to be stored
	unsaved bool   // the record is not stored yet
	durable bool   // some Record of this interruption is stored, and with it the cordon if it is time for that
	told    bool   // EventNoticed has been told
	stored  string // the annotation as last stored or seen
	before  string // what stored replaced: a cluster that still shows it lags behind
	seen    bool   // the cluster has shown the annotation
	cancel  Reason // why the Record is to be removed; empty if it is not
	noticed time.Time
	missed  bool     // EventMissed has been told
	waiting []uint64 // tokens of the notices to answer once it is stored
	tries   tries
	serving []served // the pods that served at the last look
	lost    float64  // ready-pod-seconds

	// When it is looked at again: not before something that it depends on changes.
	dirty  bool
	look   time.Time            // and then at the latest; zero for never
	awaits bool                 // handoffs wait for other nodes' cordons
	apps   map[cluster.UID]bool // that have pods on it
}

// tries remembers, by effect, which are under way and when to try again.
type tries map[effectKey]*try

type try struct {
	flying   bool
	failures int // in a row, with the same outcome
	next     time.Time
	last     Outcome
}

// NewState returns the State of a controller that has just started.
func NewState(p Policy) *State {
	return &State{
		policy:     p,
		nodes:      make(map[string]*node),
		strays:     make(tries),
		rebudgets:  make(tries),
		unreadable: make(map[string]string),
		closed:     make(map[string]string),
		over:       make(map[interruption.InstanceID]over),
		short:      make(map[cluster.UID]*shortage),
	}
}

// Step takes one input and returns what is to be done now. It is deterministic,
// and calling it again with the same cluster asks for nothing that is under way.
//
// It looks only at nodes that something has changed for: a pod on them or of the
// same app elsewhere, a result, a notice, the time. With hundreds of nodes that
// go at once, and a Step for each batch of watch events, that is what makes it
// cheap.
func (s *State) Step(in Input) Output {
	st := &step{State: s, Input: in, changed: in.Cluster.TakeChanged(), surplus: make(map[cluster.UID]int)}
	for _, r := range in.Results {
		st.result(r)
	}
	st.observe()
	for _, r := range in.Notices {
		st.notice(r)
	}
	st.settled = st.settledAt()
	for _, n := range st.due() {
		st.drain(n)
	}
	st.finishStrays()
	if st.changed.Budgets || !s.looked || len(s.rebudgets) > 0 {
		st.budgets()
	}
	st.reckon()
	for _, n := range s.nodes {
		if !n.look.IsZero() {
			st.wake(n.look)
		}
		if n.awaits {
			st.wake(st.settled)
		}
	}
	s.looked = true
	return st.finish()
}

// step is one Step under way.
type step struct {
	*State
	Input
	out     Output
	changed cluster.Changed
	effects []urgent
	surplus map[cluster.UID]int // by app: pods that may go in this Step
	settled time.Time           // when handoffs may begin
}

// urgent is an effect, and what its place in the order depends on.
type urgent struct {
	Effect
	class    int
	deadline time.Time
	latest   time.Time
}

// The classes of effects. A cordon is one write, and it keeps replacements away
// from every node that goes: it comes before everything that is done to pods.
const (
	classAnswer = iota
	classStore
	classHook
	classPod
)

// finish puts the effects in order: by class, then by deadline, then by how
// little time a pod has left.
func (st *step) finish() Output {
	slices.SortStableFunc(st.effects, func(a, b urgent) int {
		return cmp.Or(cmp.Compare(a.class, b.class), compareTimes(a.deadline, b.deadline), compareTimes(a.latest, b.latest))
	})
	if len(st.effects) > 0 {
		st.out.Effects = make([]Effect, len(st.effects))
		for i, u := range st.effects {
			st.out.Effects[i] = u.Effect
		}
	}
	return st.out
}

// compareTimes puts the zero time, which is no limit, last.
func compareTimes(a, b time.Time) int {
	if a.IsZero() != b.IsZero() {
		if a.IsZero() {
			return 1
		}
		return -1
	}
	return a.Compare(b)
}

// mayTry reports whether an effect is neither under way nor was tried too recently.
func (st *step) mayTry(t tries, k effectKey) bool {
	tr := t[k]
	return tr == nil || !tr.flying && !tr.next.After(st.Now)
}

// do asks for an effect unless it is under way or was tried too recently.
func (st *step) do(t tries, e Effect) bool { return st.ask(t, urgent{Effect: e, class: classPod}) }

// doFor is do for an effect about a node that is being drained.
func (st *step) doFor(n *node, e Effect) bool {
	u := urgent{Effect: e, class: classPod, deadline: n.record.Deadline}
	u.ID = n.record.ID()
	switch e.Kind {
	case Store:
		u.class = classStore
	case Heartbeat, Complete:
		u.class = classHook
	}
	asked := st.ask(n.tries, u)
	if tr := n.tries[e.key()]; !tr.flying {
		n.lookAt(tr.next)
	}
	return asked
}

func (st *step) ask(t tries, u urgent) bool {
	tr := t[u.key()]
	if tr == nil {
		tr = &try{}
		t[u.key()] = tr
	}
	if tr.flying {
		return false
	}
	if tr.next.After(st.Now) {
		st.wake(tr.next)
		return false
	}
	tr.flying = true
	u.Again = tr.failures > 0 && tr.last != Done && tr.last != Missing
	st.effects = append(st.effects, u)
	return true
}

func (st *step) wake(at time.Time) {
	if st.out.Wake.IsZero() || at.Before(st.out.Wake) {
		st.out.Wake = at
	}
}

// lookAt has the node looked at again at a time, or before.
func (n *node) lookAt(at time.Time) {
	if n.look.IsZero() || at.Before(n.look) {
		n.look = at
	}
}

func (st *step) answer(node string, token uint64, why Reason) {
	e := Effect{Kind: Answer, Node: node, Token: token, Reason: why}
	if n := st.nodes[node]; n != nil {
		e.ID = n.record.ID()
	}
	st.effects = append(st.effects, urgent{Effect: e, class: classAnswer})
}

func (st *step) answerAll(n *node, why Reason) {
	for _, token := range n.waiting {
		st.answer(n.name, token, why)
	}
	n.waiting = nil
}

// tell adds an event about a node's interruption.
func (st *step) tell(kind EventKind, n *node, why Reason, with ...func(*Event)) {
	e := Event{Kind: kind, At: st.Now, Node: n.name, Record: n.record, Reason: why}
	if cn := st.Cluster.Node(n.name); cn != nil {
		e.Pool, e.Zone, e.InstanceType = cn.Pool, cn.Zone, cn.InstanceType
	}
	switch kind {
	case EventEmptied, EventMissed, EventClosed:
		for _, short := range st.short {
			short.add(st)
		}
		e.Lost = n.lost
	}
	for _, set := range with {
		set(&e)
	}
	st.out.Events = append(st.out.Events, e)
}

// tellPod tells what was done about a pod.
func (st *step) tellPod(n *node, r Result) {
	st.tell(EventPod, n, r.Effect.Reason, func(e *Event) {
		e.Pod, e.UID, e.Service, e.Effect, e.Outcome = r.Effect.Pod, r.Effect.UID, r.Effect.Service, r.Effect.Kind, r.Outcome
		if r.Outcome == Blocked {
			e.Budget = st.blocking(r.Effect.Pod)
		}
	})
}

// tellNoticed tells once that an interruption has begun.
func (st *step) tellNoticed(n *node, why Reason) {
	if !n.told {
		n.told = true
		st.tell(EventNoticed, n, why)
	}
}

// result notes how an effect ended.
func (st *step) result(r Result) {
	n := st.nodes[r.Effect.Node]
	t := st.strays
	switch {
	case r.Effect.Kind == Rebudget:
		t = st.rebudgets
	case n != nil:
		t, n.dirty = n.tries, true
	}
	if tr := t[r.Effect.key()]; tr != nil {
		switch r.Effect.Kind {
		case Handoff, Withdraw, Evict, Delete:
			if n != nil && (tr.failures == 0 || tr.last != r.Outcome) { // the same trouble is told once
				st.tellPod(n, r)
			}
		}
		if tr.last != r.Outcome {
			tr.failures = 0 // the trouble is another one: it has its own pauses
		}
		tr.flying, tr.last = false, r.Outcome
		tr.next = st.Now.Add(pause(r.Outcome, tr.failures))
		if r.Effect.Kind == Heartbeat && r.Outcome == Done {
			tr.next = st.Now.Add(st.policy.heartbeat())
		}
		tr.failures++
	}
	if n == nil || r.Effect.Kind != Store {
		return
	}
	switch {
	case r.Outcome == Missing:
		st.close(n) // the machine has left the cluster
	case r.Outcome == Done && r.Effect.Record == nil:
		st.erased(n, r.Effect)
	case r.Outcome == Done:
		st.saved(n, r.Effect)
	}
}

// saved notes that a Record is stored.
func (st *step) saved(n *node, e Effect) {
	if value := e.Record.Encode(); value != n.stored {
		n.before, n.stored = n.stored, value
	}
	n.tries[e.key()].next = time.Time{} // the next store need not wait for the cluster to show this one
	n.durable = true
	if e.Cordon {
		st.lastCordon = st.Now
	}
	st.tellNoticed(n, NoticeReceived)
	if e.Reason == TighterDeadline {
		st.tell(EventTightened, n, TighterDeadline)
	}
	if n.stored != n.record.Encode() || n.cancel != "" {
		return // it has changed meanwhile
	}
	n.unsaved = false
	st.answerAll(n, n.reason)
}

// erased notes that a Record was removed.
func (st *step) erased(n *node, e Effect) {
	if n.unsaved && n.cancel == "" { // there is news since that was asked for
		n.before, n.stored, n.seen, n.durable = n.stored, "", false, false
		n.record.Cordoned = n.record.Cordoned || e.Uncordon
		n.tries[e.key()].next = time.Time{}
		return
	}
	st.closed[n.name] = n.stored
	kind := EventExpired
	if e.Reason == NoticeCancelled {
		kind = EventCancelled
	}
	st.tell(kind, n, e.Reason)
	st.forgetFor(n, e.Reason)
}

// pause is how long to wait after an outcome before the same effect is asked for
// again. After success that is only for a cluster that does not show it yet.
func pause(o Outcome, failures int) time.Duration {
	var first, most time.Duration
	switch o {
	case Done, Missing:
		return 5 * time.Second
	case Conflict:
		first, most = 20*time.Millisecond, time.Second
	case Unavailable:
		first, most = 100*time.Millisecond, time.Second
	case Blocked:
		first, most = 250*time.Millisecond, time.Second
	default:
		// Not for good: an API server that has just started refuses everything until
		// it has read who may do what.
		first, most = 250*time.Millisecond, 2*time.Second
	}
	return min(first<<min(failures, 10), most)
}

// observe brings the drained nodes in line with the Records in the cluster. It
// is the only way in which a restarted controller learns of them.
func (st *step) observe() {
	if !st.looked {
		for _, cn := range st.Cluster.Recorded() {
			st.changed.Nodes[cn.Name] = true
		}
	}
	names := make([]string, 0, len(st.changed.Nodes))
	for name := range st.changed.Nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n, cn := st.nodes[name], st.Cluster.Node(name)
		if value, ok := st.closed[name]; ok && (cn == nil || cn.Record != value) {
			delete(st.closed, name)
		}
		switch {
		case cn == nil:
			if n != nil {
				st.close(n)
			}
		case cn.Record != "":
			st.found(n, cn)
		case n != nil && n.seen && n.stored != "":
			// Somebody took the Record away: called off.
			st.over[n.record.Notice.Instance] = over{n.record.Notice, st.Now}
			st.tell(EventCancelled, n, RecordRemoved)
			st.forgetFor(n, NoticeCancelled)
		}
		if n != nil {
			n.dirty = true
		}
	}
}

// found takes in the Record that the cluster shows on a node.
func (st *step) found(n *node, cn *cluster.Node) {
	if n != nil && (cn.Record == n.stored || cn.Record == n.before) {
		n.seen = n.seen || cn.Record == n.stored
		return
	}
	if n == nil && st.closed[cn.Name] == cn.Record {
		return
	}
	rec, err := DecodeRecord(cn.Record)
	if err != nil {
		if st.unreadable[cn.Name] != cn.Record {
			st.unreadable[cn.Name] = cn.Record
			st.out.Problems = append(st.out.Problems, fmt.Errorf("node %s: %w", cn.Name, err))
		}
		return
	}
	if n == nil {
		n = &node{name: cn.Name, tries: make(tries), dirty: true}
		st.nodes[cn.Name] = n
	}
	n.before, n.stored, n.seen, n.durable = n.stored, cn.Record, true, true
	if n.cancel != "" {
		return // whatever it says, it goes
	}
	if n.unsaved && cn.Record == n.record.Encode() {
		// What we have asked to be stored: the watch was faster than the answer.
		n.unsaved = false
		st.tellNoticed(n, NoticeReceived)
		st.answerAll(n, n.reason)
		return
	}
	if n.unsaved && earlier(n.record.Deadline, rec.Deadline) {
		// Another one of us was first, but our notice is tighter: it goes over theirs.
		n.record.Cordoned, n.record.Stored = rec.Cordoned || rec.Start.IsZero() && n.record.Cordoned, rec.Stored
		for i := range rec.Hooks {
			n.addHook(&rec.Hooks[i])
		}
		return
	}
	tighter := n.told && earlier(rec.Deadline, n.record.Deadline)
	ours := n.record.Hooks
	wasUnsaved := n.unsaved
	n.record, n.unsaved = rec, false
	switch {
	case !n.told && st.looked:
		st.tellNoticed(n, RecordFound)
	case !n.told:
		st.tellNoticed(n, Resumed)
	case tighter:
		st.tell(EventTightened, n, RecordFound)
	}
	for i := range ours {
		if wasUnsaved && n.addHook(&ours[i]) {
			st.change(n, HookNoted) // theirs does not know who waits
		}
	}
	if !n.unsaved {
		st.answerAll(n, AlreadyRecorded)
	}
}

// close ends the drain of a node that is gone.
func (st *step) close(n *node) {
	if n.told && n.record.Closed.IsZero() {
		st.departures(n)
		st.tell(EventClosed, n, NodeGone)
	}
	st.forgetFor(n, NodeGone)
}

// forgetFor ends a node's drain. Whoever still waits for an answer may let go of
// its notice: there is nothing left to drain.
func (st *step) forgetFor(n *node, why Reason) {
	st.answerAll(n, why)
	delete(st.nodes, n.name)
	delete(st.unreadable, n.name)
}

// change notes that the record is to be stored, and why. What cordons stays the
// reason until it is done.
func (st *step) change(n *node, why Reason) {
	if !n.unsaved || !cordons(n.reason) || why == NoticeReceived {
		n.reason = why
	}
	n.unsaved = true
}

// cordons reports whether a Record is stored together with a cordon for this
// reason. Only news does: a person who has uncordoned the node since then is not
// overruled.
func cordons(why Reason) bool {
	return why == NoticeReceived || why == TighterDeadline || why == DrainBegins
}

// due returns the nodes to look at in this Step, the most urgent first. The ones
// whose Record is not stored come before all others.
func (st *step) due() []*node {
	settled := !st.settled.After(st.Now)
	var out []*node
	for _, n := range st.nodes {
		due := n.dirty || st.changed.Rules || !n.look.IsZero() && !n.look.After(st.Now) || n.awaits && settled
		for uid := range st.changed.Apps {
			if due {
				break
			}
			due = n.apps[uid]
		}
		if due {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b *node) int {
		if a.unsaved != b.unsaved {
			if a.unsaved {
				return -1
			}
			return 1
		}
		return cmp.Or(compareTimes(a.record.Deadline, b.record.Deadline), cmp.Compare(a.name, b.name))
	})
	return out
}

// settledAt is when handoffs may begin: a moment after the latest notice, and when
// every node noticed lately is cordoned: a replacement on a node that goes, too,
// is no help, and the API server would have cordons wait behind it. A cordon that
// does not succeed holds them up for a second, or, while others do succeed, for a
// twelfth of its notice at most.
func (st *step) settledAt() time.Time {
	at := st.lastNotice.Add(st.policy.settle())
	for _, n := range st.nodes {
		if n.durable {
			continue
		}
		hold := n.noticed
		if st.lastCordon.After(hold) {
			hold = st.lastCordon
		}
		hold = hold.Add(time.Second)
		if most := n.noticed.Add(max(n.record.Deadline.Sub(n.noticed)/12, time.Second)); hold.After(most) {
			hold = most
		}
		if hold.After(at) {
			at = hold
		}
	}
	return at
}

// drain brings one node closer to being empty.
func (st *step) drain(n *node) {
	n.dirty, n.look, n.awaits = false, time.Time{}, false
	cn := st.Cluster.Node(n.name)
	switch {
	case cn == nil:
		return // a notice was taken in for a node that has left since
	case n.cancel != "":
		st.erase(n, n.cancel)
		return
	case !n.record.Start.IsZero() && !st.Now.Before(n.record.Start):
		n.record.Start, n.record.Cordoned = time.Time{}, !cn.Unschedulable
		n.durable, n.noticed = false, st.Now
		st.change(n, DrainBegins)
	}
	if n.unsaved {
		st.store(n)
	}
	switch {
	case !n.durable:
		return // not cordoned yet: a replacement could land on this very node
	case !n.record.Start.IsZero():
		n.lookAt(n.record.Start)
		return
	}
	if at := st.policy.expiry(&n.record); !at.IsZero() {
		if at.After(st.Now) {
			n.lookAt(at)
		} else if cn.Ready {
			why := DeadlineExpired
			if n.record.Deadline.IsZero() {
				why = HoldOver
			}
			st.erase(n, why)
			return
		}
	}
	left := st.empty(n, cn)
	st.answerHooks(n)
	st.machine(n, cn, left)
}

// left is what has to leave a node and is still there.
type left struct {
	pods    int // that are not on their way
	all     int
	volumes int // that hold volumes, of all and of those that are given up
}

// empty does what there is to do about each pod of a node.
func (st *step) empty(n *node, cn *cluster.Node) left {
	st.departures(n)
	if n.apps == nil {
		n.apps = make(map[cluster.UID]bool)
	}
	clear(n.apps)
	pods := st.Cluster.PodsOn(n.name)
	slices.SortStableFunc(pods, func(a, b *cluster.Pod) int { return cmp.Compare(b.Grace, a.Grace) }) // the earliest latest start first
	var l left
	for _, p := range pods {
		d := st.decide(p, n)
		if app, ok := st.Cluster.AppOf(p); ok {
			n.apps[app.UID] = true
			if serves(p) {
				n.serving = append(n.serving, served{p.Key, p.UID, app})
			}
		}
		if p.Volumes && (d.reason == PastGrace || !d.stays()) {
			l.volumes++ // also of a pod that is given up: nothing else frees them
		}
		if !d.stays() {
			l.all++
			if !p.Terminating {
				l.pods++
			}
		}
		if d.until.After(st.Now) {
			n.lookAt(d.until)
		}
		st.carryOut(n, p, d)
	}
	deadline := n.record.Deadline
	switch {
	case l.all == 0:
		if n.record.Emptied.IsZero() && !n.unsaved {
			n.record.Emptied = st.Now
			st.tell(EventEmptied, n, NodeEmptied)
			st.change(n, NodeEmptied)
			st.store(n)
		}
	case deadline.IsZero():
	case st.Now.Before(deadline):
		n.lookAt(deadline)
	case !n.missed && n.record.Emptied.IsZero():
		n.missed = true
		st.tell(EventMissed, n, PastDeadline, func(e *Event) { e.Left = l.all })
	}
	return l
}

// silence is how long after its deadline a machine must be silent before it is
// taken to be gone, and a Ready node to be back.
const silence = 10 * time.Second

// machine deals with a machine that is gone while its node's object remains: the
// volumes of its pods are freed, and then the books are closed.
func (st *step) machine(n *node, cn *cluster.Node, l left) {
	if n.unsaved || n.record.Deadline.IsZero() || !final(n.record.Notice.Kind) {
		return
	}
	gone := n.record.Deadline.Add(silence)
	switch {
	case st.Now.Before(gone):
		n.lookAt(gone)
	case cn.Ready:
		if n.record.OutOfService { // it is back
			n.record.OutOfService = false
			st.change(n, MachineGone)
			st.store(n)
		}
	case l.volumes > 0:
		if !n.record.OutOfService && !st.policy.KeepVolumes {
			n.record.OutOfService = true
			st.change(n, VolumesLeft)
			st.store(n)
		}
	case l.pods == 0 && n.record.Closed.IsZero():
		n.record.Closed, n.record.OutOfService = st.Now, false
		st.tell(EventClosed, n, MachineGone)
		st.change(n, MachineGone)
		st.store(n)
	}
}

// store asks for the node's record to be written.
func (st *step) store(n *node) {
	rec := n.record
	old, _ := DecodeRecord(n.stored)
	st.doFor(n, Effect{
		Kind: Store, Node: n.name, Reason: n.reason, Old: n.stored, Record: &rec,
		Cordon: cordons(n.reason) && rec.Start.IsZero(),
		Taint:  rec.OutOfService && !old.OutOfService, Untaint: old.OutOfService && !rec.OutOfService,
	})
}

// erase asks for the node's record to be removed, and for what was done to the
// node with it.
func (st *step) erase(n *node, why Reason) {
	old, _ := DecodeRecord(n.stored)
	st.doFor(n, Effect{Kind: Store, Node: n.name, Reason: why, Old: n.stored, Uncordon: n.record.Cordoned, Untaint: old.OutOfService})
}

// finishStrays evicts released pods that no drained node accounts for: their
// interruption was called off after they had been released.
func (st *step) finishStrays() {
	for k, t := range st.strays {
		if !t.flying && t.next.Add(time.Minute).Before(st.Now) {
			delete(st.strays, k)
		}
	}
	drained := func(node string) bool { return st.nodes[node] != nil }
	for _, p := range st.Cluster.Released(drained) {
		if !p.Terminating {
			d := st.decide(p, nil)
			if d.until.After(st.Now) {
				st.wake(d.until)
			}
			st.carryOut(nil, p, d)
		}
	}
}
