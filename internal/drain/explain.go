package drain

import (
	"cmp"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Fate says what would become of one pod, were its node drained.
type Fate struct {
	Pod     cluster.Key
	Service string // as in Event
	// Do is what would be done at once: Handoff, Evict or Delete; empty to wait, or to
	// leave the pod where it is.
	Do     Kind
	Reason Reason
	// Stays says that the pod is not among those that must leave.
	Stays bool
	// Latest is when waiting would end. Zero for a pod that stays.
	Latest time.Time
	// Grace is what it would get of its own grace; nil for all of it.
	Grace *time.Duration
}

// Explain says what would become of the pods of nodes if all of them were drained
// now, with one deadline. It asks the same decisions as Step and changes nothing.
// The fates come by node, then in the order of their latest starts.
func Explain(p Policy, c *cluster.Cluster, nodes []string, deadline, now time.Time) map[string][]Fate {
	st := &step{State: NewState(p), Input: Input{Now: now, Cluster: c}, surplus: make(map[cluster.UID]int)}
	for _, name := range nodes {
		st.nodes[name] = &node{name: name, record: Record{Notice: interruption.Notice{Kind: interruption.ManualDrain}, Deadline: deadline, Stored: now}, durable: true, tries: make(tries)}
	}
	out := make(map[string][]Fate, len(nodes))
	for _, name := range nodes {
		fates := []Fate{}
		for _, pod := range c.PodsOn(name) {
			d := st.decide(pod, st.nodes[name])
			f := Fate{Pod: pod.Key, Service: st.serviceOf(pod), Do: d.kind, Reason: d.reason, Stays: d.stays()}
			if d.kind == Evict || d.kind == Delete {
				f.Grace = st.grace(pod, st.nodes[name])
			}
			if !f.Stays {
				f.Latest = d.latest
			}
			fates = append(fates, f)
		}
		slices.SortFunc(fates, func(a, b Fate) int {
			return cmp.Or(a.Latest.Compare(b.Latest), a.Pod.Compare(b.Pod))
		})
		out[name] = fates
	}
	return out
}
