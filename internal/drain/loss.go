package drain

import (
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

// shortage is an app that has fewer available pods than it wants, since pods left
// nodes that are being drained.
type shortage struct {
	app     cluster.App
	missing int
	since   time.Time      // when the loss was last reckoned up
	by      map[string]int // node -> pods of the app that left it since the shortage began
}

// served is a pod that served on a drained node when it was last looked at.
type served struct {
	key cluster.Key
	uid cluster.UID
	app cluster.App
}

func serves(p *cluster.Pod) bool { return p.Ready && !p.Terminating && p.Withdrawn.IsZero() }

// departures notes which of a node's pods serve no more.
func (st *step) departures(n *node) {
	for _, s := range n.serving {
		if p := st.Cluster.Pod(s.key); p != nil && p.UID == s.uid && serves(p) {
			continue
		}
		short := st.short[s.app.UID]
		if short == nil {
			short = &shortage{app: s.app, since: st.Now, by: make(map[string]int)}
			st.short[s.app.UID] = short
		}
		short.by[n.name]++
		st.changed.Apps[s.app.UID] = true
	}
	n.serving = n.serving[:0]
}

// reckon brings the losses up to date for each app that something has changed
// about.
func (st *step) reckon() {
	for uid, short := range st.short {
		if !st.changed.Apps[uid] {
			continue
		}
		short.add(st)
		app, ok := st.Cluster.App(short.app)
		ready, _ := st.Cluster.ReadyOf(app, st.Now, func(*cluster.Pod) bool { return false })
		if short.missing = app.Replicas - ready; !ok || short.missing <= 0 {
			delete(st.short, uid)
		}
	}
}

// add charges the nodes with the time since the last reckoning: each with the
// share of the pods that it lost.
func (s *shortage) add(st *step) {
	took := st.Now.Sub(s.since).Seconds()
	s.since = st.Now
	if s.missing == 0 || took <= 0 {
		return
	}
	left := 0
	for _, pods := range s.by {
		left += pods
	}
	// What is missing beyond the pods that left is not the drains' doing.
	lost := took * float64(min(s.missing, left))
	for name, pods := range s.by {
		if n := st.nodes[name]; n != nil {
			n.lost += lost * float64(pods) / float64(left)
		}
	}
}
