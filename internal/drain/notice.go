package drain

import (
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// backAgain is how long after a machine went down a Ready node means that it is
// up again. A kubelet that has died is noticed after 40 s.
const backAgain = time.Minute

// notice takes in what a source has read.
func (st *step) notice(r Received) {
	in := r.Notice
	cn := st.Cluster.NodeOf(in.Instance)
	if cn == nil {
		st.answer("", r.Token, NotOurs)
		return
	}
	if in.Kind == interruption.Cancelled {
		st.cancelled(cn, r)
		return
	}
	deadline := st.deadlineOf(in)
	if why := st.whyNot(cn, in, deadline); why != "" {
		st.answer(cn.Name, r.Token, why)
		return
	}

	n := st.nodes[cn.Name]
	switch {
	case n == nil:
		n = &node{name: cn.Name, stored: cn.Record, tries: make(tries)}
		st.nodes[cn.Name] = n
		st.renew(n, cn, in, deadline)
	case n.cancel != "", in.Sent.After(n.record.Deadline) && !n.record.Deadline.IsZero():
		// What stands there is over, or about to be.
		n.cancel = ""
		st.renew(n, cn, in, deadline)
	case earlier(deadline, n.record.Deadline), n.record.Notice.Kind == interruption.Rebalance && in.Kind != interruption.Rebalance:
		if !n.record.Start.IsZero() {
			n.record.Cordoned = !cn.Unschedulable // it was not cordoned yet
		}
		st.plan(n, in, deadline)
		n.addHook(in.Hook)
		st.change(n, TighterDeadline)
	case n.addHook(in.Hook):
		st.change(n, HookNoted)
	case !n.unsaved:
		st.answer(cn.Name, r.Token, AlreadyRecorded)
		return
	}
	n.waiting = append(n.waiting, r.Token)
	n.dirty = true
}

// whyNot says why nothing is to be done about a notice. Empty if something is.
func (st *step) whyNot(cn *cluster.Node, in interruption.Notice, deadline time.Time) Reason {
	switch {
	case in.Kind == interruption.Rebalance && st.policy.rebalance(cn) == RebalanceIgnore:
		return Ignored
	case deadline.IsZero() && in.Kind != interruption.Rebalance && in.Kind != interruption.ManualDrain:
		return NoDeadline
	case !deadline.IsZero() && st.Now.After(deadline.Add(st.policy.expire())):
		return DeadlineExpired // read long after its time, and the machine is still there
	case in.Kind == interruption.StateChange && cn.Ready && st.Now.After(deadline.Add(backAgain)):
		return DeadlineExpired
	case st.isOver(in):
		return AlreadyOver
	}
	return ""
}

// deadlineOf is when the machine goes, by our clock. An event that was sent after
// it was read shows that our clock is behind the sender's; by the time that ours
// shows the deadline, the machine would be gone.
func (st *step) deadlineOf(in interruption.Notice) time.Time {
	d := in.Deadline
	if in.Kind == interruption.LifecycleHook && d.IsZero() {
		d = in.Sent
		if d.IsZero() {
			d = st.Now
		}
		d = d.Add(st.policy.hookTime())
	}
	if behind := in.Sent.Sub(in.Seen); behind > 0 && !in.Seen.IsZero() && !d.IsZero() {
		d = d.Add(-behind)
	}
	return d
}

// renew begins an interruption.
func (st *step) renew(n *node, cn *cluster.Node, in interruption.Notice, deadline time.Time) {
	n.record = Record{Cordoned: n.record.Cordoned || !cn.Unschedulable, Stored: st.Now}
	n.told, n.missed, n.lost = false, false, 0
	st.plan(n, in, deadline)
	n.addHook(in.Hook)
	st.change(n, NoticeReceived)
}

// plan sets what a notice says about time.
func (st *step) plan(n *node, in interruption.Notice, deadline time.Time) {
	n.record.Notice, n.record.Deadline, n.record.Start = in, deadline, time.Time{}
	n.noticed = st.Now
	if start := deadline.Add(-st.policy.scheduledLead()); in.Kind == interruption.ScheduledChange && start.After(st.Now) {
		n.record.Start, n.record.Cordoned = start, false
		return
	}
	st.lastNotice = st.Now
}

// addHook notes a lifecycle action that waits, and reports whether it is new.
func (n *node) addHook(h *interruption.Hook) bool {
	if h == nil {
		return false
	}
	for _, known := range n.record.Hooks {
		if known == *h {
			return false
		}
	}
	// A copy: Records that were handed out with effects share the old one.
	n.record.Hooks = append(n.record.Hooks[:len(n.record.Hooks):len(n.record.Hooks)], *h)
	n.record.Completed = time.Time{}
	return true
}

// over is an interruption that was called off, or the notice that did so. It is
// remembered for as long as a queue may deliver an old notice again.
type over struct {
	notice interruption.Notice
	at     time.Time
}

const rememberOver = time.Hour

// isOver reports whether a notice is a late copy of one that was called off.
func (st *step) isOver(in interruption.Notice) bool {
	o, ok := st.over[in.Instance]
	switch {
	case !ok:
		return false
	case st.Now.After(o.at.Add(rememberOver)):
		delete(st.over, in.Instance)
		return false
	case o.notice.Kind == interruption.Cancelled:
		return takesBack(o.notice, in) && !in.Sent.After(o.notice.Sent)
	}
	return in.Kind == o.notice.Kind && in.Deadline.Sub(o.notice.Deadline).Abs() <= sameDeadline
}

// takesBack reports whether a Cancelled may take a notice back. A person may take
// back anything. A cloud takes back maintenance, and Azure also preemptions; that
// the maintenance of a machine is called off says nothing about its interruption.
func takesBack(c, in interruption.Notice) bool {
	if c.Cloud == interruption.Manual {
		return true
	}
	return c.Cloud == in.Cloud && (in.Kind == interruption.ScheduledChange || in.Cloud == interruption.Azure)
}

// cancelled takes in a Cancelled.
func (st *step) cancelled(cn *cluster.Node, r Received) {
	if r.Notice.Cloud != interruption.Manual { // what a person has not seen yet, they do not mean
		st.over[r.Notice.Instance] = over{r.Notice, st.Now}
	}
	n := st.nodes[cn.Name]
	if n == nil || !takesBack(r.Notice, n.record.Notice) {
		st.answer(cn.Name, r.Token, NothingToCancel)
		return
	}
	if r.Notice.Cloud == interruption.Manual {
		st.over[r.Notice.Instance] = over{n.record.Notice, st.Now}
	}
	n.dirty = true
	if n.tries[Effect{Kind: Store, Node: n.name}.key()] == nil && !n.durable {
		// Nothing was asked for yet: it is as if it had never come.
		st.answer(cn.Name, r.Token, NoticeCancelled)
		st.answerAll(n, NoticeCancelled)
		delete(st.nodes, n.name)
		return
	}
	n.cancel = NoticeCancelled
	n.waiting = append(n.waiting, r.Token)
}
