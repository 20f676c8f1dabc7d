package sim

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
)

// Detailed is what a run came to when every machine and every pod was kept.
type Detailed struct {
	*Result       // of the groups
	Pods    Day   // what the pods served: Span, Need, Served and Enough only
	Billed  int64 // machine-seconds, counted machine by machine
	Moved   int64 // pods that drain evicted or deleted
	Late    int64 // pods that died with their machine
}

// Agree says where a run with every pod differs from the same run with groups.
func (d *Detailed) Agree() error {
	t := d.Total()
	switch {
	case d.Pods.Enough != t.Enough || d.Pods.Served != t.Served:
		return fmt.Errorf("pods served %d machine-seconds and were enough for %d s; in groups %d and %d", d.Pods.Served, d.Pods.Enough, t.Served, t.Enough)
	case d.Billed != d.Result.Billed:
		return fmt.Errorf("machine by machine %d machine-seconds are paid for; in groups %d", d.Billed, d.Result.Billed)
	}
	return nil
}

// RunDetailed plays a policy as Run does, and beside it keeps every machine with
// the pod that it has room for. Pods leave noticed machines when drain.Step, the
// code that runs in production, says so; a budget allows no fewer than are wanted.
// What it does not share with Run is everything between a notice and an empty
// machine, which is what it is there to check. It takes about a thousand times as
// long.
//
// A pod starts at once on a machine that is ready: a machine's start includes that
// of its pods, and a spare machine is one whose pods run already.
func RunDetailed(w *World, name string, p provision.Policy) *Detailed {
	r := newRun(w, name, p, Options{})
	d := &detail{
		r: r, out: &Detailed{Result: r.res}, cluster: cluster.New(),
		state: drain.NewState(drain.Policy{Margin: time.Duration(w.Settings.Timing.Margin) * time.Second}),
	}
	set := labels.Set{"app": "app", cluster.TemplateHashLabel: hash}
	d.cluster.Apply(cluster.Change{Object: &cluster.Deployment{Key: key("app"), UID: "d", Replicas: w.Settings.Nodes}})
	d.cluster.Apply(cluster.Change{Object: &cluster.ReplicaSet{
		Key: key("app-1"), UID: "rs", Owner: cluster.Owner{Kind: "Deployment", Name: "app", UID: "d"}, Hash: hash, Selector: labels.SelectorFromSet(set),
	}})
	r.detail = d
	r.play()
	return d.out
}

const hash = "1"

func key(name string) cluster.Key { return cluster.Key{Namespace: "ns", Name: name} }

// machine is one machine.
type machine struct {
	node    *cluster.Node
	pool    int32
	since   Time
	ready   bool
	noticed bool
	stops   Time // if noticed: the latest start of its pods
	dies    Time // and when it is gone
	pod     *cluster.Pod
	last    []*cluster.Pod // being terminated
}

// detail keeps machines and pods beside a run.
type detail struct {
	r        *run
	out      *Detailed
	cluster  *cluster.Cluster
	state    *drain.State
	machines []*machine // alive, the oldest first
	names    int
	replicas int // pods that the ReplicaSet has
	notices  []drain.Received
	results  []drain.Result
}

// clock turns a run's time into the one that drain knows.
func clock(t Time) time.Time { return time.Unix(int64(t), 0).UTC() }

// launched, started, noticed, lost and letGo follow what happens to groups. Of
// machines that are alike, the newest go first, as in groups.
func (d *detail) launched(pool, n int32) {
	for range n {
		d.names++
		name := fmt.Sprintf("n%d", d.names)
		m := &machine{pool: pool, since: d.r.now, node: &cluster.Node{Name: name, Instance: interruption.InstanceID("i-" + name)}}
		d.machines = append(d.machines, m)
	}
}

func (d *detail) started(pool int32, since Time) {
	for _, m := range d.machines {
		if m.pool == pool && m.since == since && !m.ready {
			m.ready, m.node.Ready = true, true
			d.cluster.Apply(cluster.Change{Object: m.node})
		}
	}
}

// newest calls do for n machines of a pool that fit, the newest first.
func (d *detail) newest(pool, n int32, fits func(*machine) bool, do func(*machine)) {
	var found []*machine
	for i := len(d.machines) - 1; i >= 0 && n > 0; i-- {
		if m := d.machines[i]; m.pool == pool && fits(m) {
			found = append(found, m)
			n--
		}
	}
	for _, m := range found {
		do(m)
	}
}

func (d *detail) noticed(pool, starting, ready int32) {
	d.newest(pool, starting, func(m *machine) bool { return !m.ready }, func(m *machine) { d.gone(m, d.r.now) })
	d.newest(pool, ready, func(m *machine) bool { return m.ready && !m.noticed }, func(m *machine) {
		m.noticed, m.stops, m.dies = true, d.r.now+d.r.timing.Slack(), d.r.now+d.r.timing.Notice
		d.notices = append(d.notices, drain.Received{Token: uint64(len(d.notices) + 1), Notice: interruption.Notice{
			ID: m.node.Name, Cloud: interruption.AWS, Instance: m.node.Instance, Kind: interruption.SpotInterruption,
			Deadline: clock(m.dies), Seen: clock(d.r.now),
		}})
	})
}

func (d *detail) lost(pool int32) {
	d.newest(pool, 1<<30, func(m *machine) bool { return m.noticed }, func(m *machine) {
		if m.pod != nil {
			d.out.Late++
		}
		d.gone(m, d.r.now)
	})
}

// letGo is the wish of the policy: the pod starts on a spare machine first.
func (d *detail) letGo(pool, starting, ready int32) {
	d.newest(pool, starting, func(m *machine) bool { return !m.ready }, func(m *machine) { d.gone(m, d.r.now) })
	d.newest(pool, ready, func(m *machine) bool { return m.ready && !m.noticed }, func(m *machine) {
		d.gone(m, min(d.r.now+d.r.timing.Grace, d.r.w.End))
	})
}

// gone takes a machine out, which is paid for until a moment.
func (d *detail) gone(m *machine, until Time) {
	d.out.Billed += int64(until - m.since)
	for i, o := range d.machines {
		if o == m {
			d.machines = append(d.machines[:i], d.machines[i+1:]...)
			break
		}
	}
	if m.pod != nil {
		d.remove(m.pod)
		m.pod = nil
	}
	for _, p := range m.last {
		d.remove(p)
	}
	if m.ready {
		d.cluster.Apply(cluster.Change{Object: m.node, Gone: true})
	}
}

// remove takes a pod's object away. A pod of the ReplicaSet is replaced.
func (d *detail) remove(p *cluster.Pod) {
	if p.ReleasedFrom() == "" && !p.Terminating {
		d.replicas--
	}
	d.cluster.Apply(cluster.Change{Object: p, Gone: true})
}

// settle lets the controllers and drain.Step act until nothing changes within this
// second.
func (d *detail) settle() {
	now := clock(d.r.now)
	end := now.Add(time.Second)
	for {
		d.schedule(now)
		out := d.state.Step(drain.Input{Now: now, Cluster: d.cluster, Notices: d.notices, Results: d.results})
		d.notices, d.results = nil, nil
		acted := false
		for _, e := range out.Effects {
			if e.Kind == drain.Answer {
				continue
			}
			d.results = append(d.results, drain.Result{Effect: e, Outcome: d.do(e), At: now})
			acted = true
		}
		switch {
		case acted:
		case !out.Wake.IsZero() && out.Wake.Before(end) && out.Wake.After(now):
			now = out.Wake
		default:
			d.release()
			return
		}
	}
}

// schedule is the ReplicaSet and the scheduler.
func (d *detail) schedule(now time.Time) {
	for _, m := range d.machines {
		if !m.ready || m.noticed || m.pod != nil || d.replicas >= int(d.r.view.Want) {
			continue
		}
		d.names++
		d.replicas++
		m.pod = &cluster.Pod{
			Key: key(fmt.Sprintf("app-1-%d", d.names)), UID: cluster.UID(fmt.Sprint(d.names)), Node: m.node.Name,
			Labels: labels.Set{"app": "app", cluster.TemplateHashLabel: hash},
			Owner:  cluster.Owner{Kind: "ReplicaSet", Name: "app-1", UID: "rs"},
			Ready:  true, ReadySince: now, Grace: time.Duration(d.r.timing.Grace) * time.Second,
		}
		d.cluster.Apply(cluster.Change{Object: m.pod})
	}
}

// do carries out one effect as the API server would.
func (d *detail) do(e drain.Effect) drain.Outcome {
	var m *machine
	for _, o := range d.machines {
		if o.node.Name == e.Node {
			m = o
		}
	}
	if m == nil {
		return drain.Missing
	}
	switch e.Kind {
	case drain.Store:
		n := *m.node
		n.Record = ""
		if e.Record != nil {
			n.Record = e.Record.Encode()
		}
		n.Unschedulable = n.Unschedulable || e.Cordon
		m.node = &n
		d.cluster.Apply(cluster.Change{Object: m.node})
		return drain.Done
	}
	if m.pod == nil || m.pod.UID != e.UID {
		return drain.Missing
	}
	p := *m.pod
	switch e.Kind {
	case drain.Handoff:
		p.Labels, p.Owner = labels.Set{"app": "app", cluster.HandoffLabel: hash}, cluster.Owner{}
		p.Deadline = drain.FormatDeadline(e.Deadline)
		d.replicas--
	case drain.Announce:
		p.Deadline = drain.FormatDeadline(e.Deadline)
	case drain.Evict, drain.Delete:
		if e.Kind == drain.Evict && d.serving()-1 < int(d.r.view.Want) {
			return drain.Blocked
		}
		if p.ReleasedFrom() == "" {
			d.replicas--
		}
		p.Terminating = true
		d.out.Moved++
		m.last, m.pod = append(m.last, &p), nil
		d.cluster.Apply(cluster.Change{Object: &p})
		return drain.Done
	}
	m.pod = &p
	d.cluster.Apply(cluster.Change{Object: m.pod})
	return drain.Done
}

// release lets go of noticed machines that have become empty: when their pods have
// had their grace.
func (d *detail) release() {
	for i := len(d.machines) - 1; i >= 0; i-- {
		m := d.machines[i]
		if m.noticed && m.pod == nil && d.r.now < m.stops {
			d.gone(m, min(d.r.now+d.r.timing.Grace, m.dies, d.r.w.End))
		}
	}
}

// serving is how many pods serve.
func (d *detail) serving() int {
	n := 0
	for _, m := range d.machines {
		if m.pod != nil {
			n++
		}
	}
	return n
}

// count adds what holds until a moment.
func (d *detail) count(to Time) {
	span, want := to-d.r.now, int64(d.r.view.Want)
	n := int64(d.serving())
	d.out.Pods.Span += span
	d.out.Pods.Need += want * int64(span)
	d.out.Pods.Served += min(n, want) * int64(span)
	if n >= want {
		d.out.Pods.Enough += span
	}
}

// close ends what is left.
func (d *detail) close() {
	for len(d.machines) > 0 {
		d.gone(d.machines[0], d.r.w.End)
	}
}
