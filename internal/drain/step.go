package drain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Policy holds what a platform's owner decides about drains.
type Policy struct {
	// Margin is kept free between the end of a pod's grace and the deadline, since
	// kubelets and clocks are not exact. If zero, defaults to 2 s.
	Margin time.Duration
	// Settle is how long after the latest notice handoffs wait, so that
	// replacements do not start on a node whose notice is about to be read: a pool
	// goes as a whole. If zero, defaults to 300 ms.
	Settle time.Duration
	// Leave says that a pod whose eviction a budget still blocks at its latest start
	// is left to die with its machine. If false it is deleted with the grace that
	// is left. A pod's own annotation decides before this.
	Leave bool
	// Expire is how long after its deadline a node that is still there is taken to
	// have been spared, and given back. If zero, defaults to 5 min.
	Expire time.Duration
}

func (p Policy) margin() time.Duration { return cmp.Or(p.Margin, 2*time.Second) }
func (p Policy) settle() time.Duration { return cmp.Or(p.Settle, 300*time.Millisecond) }
func (p Policy) expire() time.Duration { return cmp.Or(p.Expire, 5*time.Minute) }

// sameDeadline is how far apart the deadlines of two notices of one instance may
// be and still mean the same interruption: sources round differently.
const sameDeadline = time.Second

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
	// Effects in the order of their urgency. Each gets one Result.
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
	unreadable map[string]string // node -> the annotation that was reported
	closed     map[string]string // node -> the annotation that was removed; the cluster may still show it
	lastNotice time.Time
	looked     bool // a Step has been made: what it found was there before us
}

// node is a node that is being drained.
type node struct {
	name    string
	record  Record
	reason  Reason // why the record is to be stored
	unsaved bool   // the record is not stored yet
	durable bool   // some Record of this interruption is stored, and with it the cordon
	stored  string // the annotation as last stored or seen
	before  string // what stored replaced: a cluster that still shows it lags behind
	seen    bool   // the cluster has shown the annotation
	noticed time.Time
	missed  bool     // EventMissed has been told
	waiting []uint64 // tokens of the notices to answer once it is stored
	tries   tries
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
		unreadable: make(map[string]string),
		closed:     make(map[string]string),
	}
}

// Step takes one input and returns what is to be done now. It is deterministic,
// and calling it again with the same cluster asks for nothing that is under way.
func (s *State) Step(in Input) Output {
	st := &step{State: s, Input: in, surplus: make(map[cluster.UID]int)}
	for _, r := range in.Results {
		st.result(r)
	}
	st.observe()
	for _, r := range in.Notices {
		st.notice(r)
	}
	for _, n := range st.byDeadline() {
		st.drain(n)
	}
	st.finishStrays()
	s.looked = true
	return st.out
}

// step is one Step under way.
type step struct {
	*State
	Input
	out     Output
	surplus map[cluster.UID]int // by Deployment: pods that may go in this Step
}

// do asks for an effect unless it is under way or was tried too recently.
func (st *step) do(t tries, e Effect) bool {
	tr := t[e.key()]
	if tr == nil {
		tr = &try{}
		t[e.key()] = tr
	}
	if tr.flying {
		return false
	}
	if tr.next.After(st.Now) {
		st.wake(tr.next)
		return false
	}
	tr.flying = true
	e.Again = tr.failures > 0 && tr.last != Done && tr.last != Missing
	st.out.Effects = append(st.out.Effects, e)
	return true
}

func (st *step) wake(at time.Time) {
	if st.out.Wake.IsZero() || at.Before(st.out.Wake) {
		st.out.Wake = at
	}
}

// wakeAfter is wake for a moment that may have passed.
func (st *step) wakeAfter(at time.Time) {
	if at.After(st.Now) {
		st.wake(at)
	}
}

func (st *step) answer(node string, token uint64, why Reason) {
	st.out.Effects = append(st.out.Effects, Effect{Kind: Answer, Node: node, Token: token, Reason: why})
}

// tell adds an event about a node's interruption.
func (st *step) tell(kind EventKind, n *node, why Reason, with ...func(*Event)) {
	e := Event{Kind: kind, At: st.Now, Node: n.name, Record: n.record, Reason: why}
	if cn := st.Cluster.Node(n.name); cn != nil {
		e.Pool, e.Zone = cn.Pool, cn.Zone
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
	})
}

// result notes how an effect ended.
func (st *step) result(r Result) {
	n := st.nodes[r.Effect.Node]
	t := st.strays
	if n != nil {
		t = n.tries
	}
	if tr := t[r.Effect.key()]; tr != nil {
		switch r.Effect.Kind {
		case Handoff, Evict, Delete:
			if n != nil && (tr.failures == 0 || tr.last != r.Outcome) { // the same trouble is told once
				st.tellPod(n, r)
			}
		}
		if tr.last != r.Outcome {
			tr.failures = 0 // the trouble is another one: it has its own pauses
		}
		tr.flying, tr.last = false, r.Outcome
		tr.next = st.Now.Add(pause(r.Outcome, tr.failures))
		tr.failures++
	}
	if n == nil || r.Effect.Kind != Store {
		return
	}
	switch r.Outcome {
	case Missing:
		st.close(n) // the machine has left the cluster
	case Done:
		if r.Effect.Record == nil {
			st.closed[n.name] = n.stored
			st.tell(EventExpired, n, r.Effect.Reason)
			st.forget(n)
			return
		}
		switch r.Effect.Reason {
		case NoticeReceived:
			st.tell(EventNoticed, n, NoticeReceived)
		case TighterDeadline:
			st.tell(EventTightened, n, TighterDeadline)
		}
		n.before, n.stored, n.durable = n.stored, r.Effect.Record.Encode(), true
		n.tries[r.Effect.key()].next = time.Time{} // the next store need not wait for the cluster to show this one
		if n.stored != n.record.Encode() {
			return // a tighter notice came meanwhile
		}
		n.unsaved = false
		st.answerAll(n, n.reason)
	}
}

func (st *step) answerAll(n *node, why Reason) {
	for _, token := range n.waiting {
		st.answer(n.name, token, why)
	}
	n.waiting = nil
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
	for _, cn := range st.Cluster.Recorded() {
		n := st.nodes[cn.Name]
		if n != nil && (cn.Record == n.stored || cn.Record == n.before) {
			n.seen = n.seen || cn.Record == n.stored
			continue
		}
		if n == nil && st.closed[cn.Name] == cn.Record {
			continue
		}
		rec, err := DecodeRecord(cn.Record)
		if err != nil {
			if st.unreadable[cn.Name] != cn.Record {
				st.unreadable[cn.Name] = cn.Record
				st.out.Problems = append(st.out.Problems, fmt.Errorf("node %s: %w", cn.Name, err))
			}
			continue
		}
		if n == nil {
			n = &node{name: cn.Name, tries: make(tries)}
			st.nodes[cn.Name] = n
		}
		n.before, n.stored, n.seen = n.stored, cn.Record, true
		news := !n.durable
		n.durable = true
		if n.unsaved && cn.Record == n.record.Encode() {
			// What we have asked to be stored: the watch was faster than the answer.
			n.unsaved = false
			if news {
				st.tell(EventNoticed, n, NoticeReceived)
			}
			st.answerAll(n, n.reason)
			continue
		}
		if n.unsaved && n.record.Deadline.Before(rec.Deadline.Add(-sameDeadline)) {
			// Another one of us was first, but our notice is tighter: it goes over theirs.
			n.record.Cordoned, n.record.Stored = rec.Cordoned, rec.Stored
			continue
		}
		tighter := !news && rec.Deadline.Before(n.record.Deadline.Add(-sameDeadline))
		n.record, n.unsaved = rec, false
		switch {
		case news && st.looked:
			st.tell(EventNoticed, n, RecordFound)
		case news:
			st.tell(EventNoticed, n, Resumed)
		case tighter:
			st.tell(EventTightened, n, RecordFound)
		}
		st.answerAll(n, AlreadyRecorded)
	}
	for name, value := range st.closed {
		if cn := st.Cluster.Node(name); cn == nil || cn.Record != value {
			delete(st.closed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(st.nodes)) {
		n := st.nodes[name]
		switch cn := st.Cluster.Node(name); {
		case cn == nil:
			st.close(n)
		case cn.Record == "" && n.seen:
			st.tell(EventCancelled, n, RecordRemoved)
			st.forget(n) // somebody took the Record away: called off
		}
	}
}

// close ends the drain of a node that is gone.
func (st *step) close(n *node) {
	if n.durable {
		st.tell(EventClosed, n, NodeGone)
	}
	st.forget(n)
}

// forget ends a node's drain. Whoever still waits for an answer may let go of
// its notice: there is nothing left to drain.
func (st *step) forget(n *node) {
	st.answerAll(n, NodeGone)
	delete(st.nodes, n.name)
	delete(st.unreadable, n.name)
}

// notice takes in what a source has read.
func (st *step) notice(r Received) {
	cn := st.Cluster.NodeOf(r.Notice.Instance)
	switch {
	case r.Notice.Kind != interruption.SpotInterruption || r.Notice.Deadline.IsZero():
		st.answer("", r.Token, NoDeadline)
		return
	case cn == nil:
		st.answer("", r.Token, NotOurs)
		return
	case st.Now.After(r.Notice.Deadline.Add(st.policy.expire())):
		st.answer(cn.Name, r.Token, DeadlineExpired) // read long after its time, and the machine is still there
		return
	}
	n := st.nodes[cn.Name]
	if n != nil && !r.Notice.Deadline.Before(n.record.Deadline.Add(-sameDeadline)) {
		if n.unsaved {
			n.waiting = append(n.waiting, r.Token)
		} else {
			st.answer(cn.Name, r.Token, AlreadyRecorded)
		}
		return
	}
	st.lastNotice = st.Now
	if n == nil {
		n = &node{name: cn.Name, stored: cn.Record, tries: make(tries), reason: NoticeReceived}
		n.record = Record{Cordoned: !cn.Unschedulable, Stored: st.Now}
		st.nodes[cn.Name] = n
	} else {
		n.reason = TighterDeadline
	}
	n.record.Notice, n.record.Deadline = r.Notice, r.Notice.Deadline
	n.unsaved, n.noticed = true, st.Now
	n.waiting = append(n.waiting, r.Token)
}

// byDeadline returns the drained nodes, the most urgent first. The ones whose
// Record is not stored come before all others: a cordon is one write, and it
// keeps replacements away from every node that goes.
func (st *step) byDeadline() []*node {
	out := make([]*node, 0, len(st.nodes))
	for _, n := range st.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *node) int {
		if a.unsaved != b.unsaved {
			if a.unsaved {
				return -1
			}
			return 1
		}
		return cmp.Or(a.record.Deadline.Compare(b.record.Deadline), cmp.Compare(a.name, b.name))
	})
	return out
}

// drain brings one node closer to being empty.
func (st *step) drain(n *node) {
	if n.unsaved {
		st.store(n)
		if !n.durable {
			return // not cordoned yet: a replacement could land on this very node
		}
	}
	if expiry := n.record.Deadline.Add(st.policy.expire()); !st.Now.Before(expiry) {
		if cn := st.Cluster.Node(n.name); cn != nil && cn.Ready {
			st.do(n.tries, Effect{Kind: Store, Node: n.name, Reason: DeadlineExpired, Old: n.stored, Uncordon: n.record.Cordoned})
		}
		return
	} else {
		st.wake(expiry)
	}

	pods := st.Cluster.PodsOn(n.name)
	slices.SortStableFunc(pods, func(a, b *cluster.Pod) int { return cmp.Compare(b.Grace, a.Grace) }) // the earliest latest start first
	left := 0
	for _, p := range pods {
		d := st.decide(p, n)
		if !d.stays() {
			left++
		}
		if d.latest.After(st.Now) {
			st.wake(d.latest)
		}
		st.carryOut(n, p, d)
	}
	if left > 0 && !n.missed && !st.Now.Before(n.record.Deadline) {
		n.missed = true
		st.tell(EventMissed, n, PastDeadline, func(e *Event) { e.Left = left })
	}
	if left > 0 {
		st.wakeAfter(n.record.Deadline)
	}
	if left == 0 && n.record.Emptied.IsZero() && !n.unsaved {
		n.record.Emptied = st.Now
		st.tell(EventEmptied, n, NodeEmptied)
		n.unsaved, n.reason = true, NodeEmptied
		st.store(n)
	}
}

// store asks for the node's record to be written. Only a notice cordons: a
// person who has uncordoned the node since then is not overruled.
func (st *step) store(n *node) {
	rec := n.record
	st.do(n.tries, Effect{Kind: Store, Node: n.name, Reason: n.reason, Old: n.stored, Record: &rec, Cordon: n.reason != NodeEmptied})
}

// finishStrays evicts released pods that no drained node accounts for: their
// interruption was called off after they had been released.
func (st *step) finishStrays() {
	for k := range st.strays {
		if !st.strays[k].flying && st.strays[k].next.Add(time.Minute).Before(st.Now) {
			delete(st.strays, k)
		}
	}
	for _, p := range st.Cluster.Released() {
		if st.nodes[p.Node] == nil && !p.Terminating {
			st.carryOut(&node{name: p.Node, tries: st.strays}, p, st.decide(p, nil))
		}
	}
}
