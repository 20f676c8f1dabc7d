package report

import (
	"cmp"
	"fmt"
	"slices"
)

// A nodesChart shows each node as a row, grouped by zone, with the pods on it.
type nodesChart struct {
	chart
	Zones []zoneRow
	Nodes []nodeRow
	Apps  []appKey
	// Left out says how many nodes the chart has no room for; report.json has
	// them.
	LeftOut int
}

type zoneRow struct{ Y, LineY, Name, Text string }

type appKey struct {
	Name string
	Slot int
}

type nodeRow struct {
	Name, NameY, Title   string
	Y, Height            string
	Bar                  span
	Notice               *span // from the notice until the machine goes
	Cordon, Emptied, End string
	EndY                 string
	Killed               bool
	Pods                 []podRow
	Cells                []string // the same as a table
}

type span struct{ X, Width string }

type podRow struct {
	Slot     int
	Y, Title string
	Starting *span  // created until Ready
	Serving  *span  // Ready
	Released *span  // handed off, still serving
	Stopping *span  // terminating
	Killed   string // where it died with its machine; empty if it did not
	KilledY  string
}

const (
	maxNodes   = 60 // rows; more could not be read
	podHeight  = 6
	podPitch   = 8
	zoneHeight = 24
)

func (t *Timeline) nodesChart(id string) nodesChart {
	axis := t.axis()
	nodes, leftOut := t.shownNodes()
	c := nodesChart{LeftOut: leftOut}
	for _, app := range t.apps() {
		c.Apps = append(c.Apps, appKey{app, t.slot(app)})
	}
	y, zone := 0.0, ""
	for i, n := range nodes {
		if i == 0 || n.Zone != zone {
			zone = n.Zone
			c.Zones = append(c.Zones, zoneRow{Y: px(y + 16), LineY: px(y + 4), Name: zone, Text: zoneText(nodes, zone)})
			y += zoneHeight
		}
		row, height := t.nodeRow(axis, n, y)
		c.Nodes = append(c.Nodes, row)
		y += height + 5
	}
	c.chart = t.newChart(id, "Nodes of each zone over time, with their pods", 0, y+2)
	interrupted, emptied := 0, 0
	for _, n := range t.Nodes {
		if n.Noticed >= 0 {
			interrupted++
			if n.Emptied >= 0 && (n.Gone < 0 || n.Emptied <= n.Gone) {
				emptied++
			}
		}
	}
	c.Desc = fmt.Sprintf("%s, of which %s got notice; %s were empty before their machine went.", plural(len(t.Nodes), "node"), count(interrupted), count(emptied))
	return c
}

// shownNodes returns the nodes to draw by zone and age; interrupted ones go first
// where there are too many.
func (t *Timeline) shownNodes() (nodes []NodeBar, leftOut int) {
	nodes = slices.Clone(t.Nodes)
	if len(nodes) > maxNodes {
		slices.SortStableFunc(nodes, func(a, b NodeBar) int {
			return cmp.Compare(btoi(a.Noticed < 0), btoi(b.Noticed < 0))
		})
		nodes, leftOut = nodes[:maxNodes], len(nodes)-maxNodes
	}
	zone := func(n NodeBar) int {
		if i := slices.Index(t.Zones, n.Zone); i >= 0 {
			return i
		}
		return len(t.Zones)
	}
	slices.SortStableFunc(nodes, func(a, b NodeBar) int {
		return cmp.Or(cmp.Compare(zone(a), zone(b)), cmp.Compare(a.Zone, b.Zone),
			cmp.Compare(max(a.Joined, 0), max(b.Joined, 0)), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return nodes, leftOut
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func zoneText(nodes []NodeBar, zone string) string {
	all, gone := 0, 0
	for _, n := range nodes {
		if n.Zone == zone {
			all++
			gone += btoi(n.Gone >= 0)
		}
	}
	return fmt.Sprintf("%s, %s taken", plural(all, "node"), count(gone))
}

// nodeRow lays out a node at a height, and returns how high it is.
func (t *Timeline) nodeRow(axis timeAxis, n NodeBar, y float64) (nodeRow, float64) {
	end := t.Seconds
	if n.Gone >= 0 {
		end = n.Gone
	}
	pods, rows := t.podsOn(n.Name)
	height := float64(max(rows, 1)*podPitch + 6)
	r := nodeRow{
		Name: n.Name, NameY: px(y + height/2 + 4), Y: px(y), EndY: px(y + height), Height: px(height),
		Bar:   axis.span(n.Joined, end),
		Title: nodeTitle(n),
		Cells: []string{n.Name, n.Zone, n.InstanceType, n.CapacityType, moment(max(n.Joined, 0)), moment(n.Noticed), moment(n.Cordoned), moment(n.Emptied), moment(n.Gone)},
	}
	if n.Noticed >= 0 {
		s := axis.span(n.Noticed, end)
		r.Notice = &s
	}
	if n.Cordoned >= 0 {
		r.Cordon = px(axis.x(n.Cordoned))
	}
	if n.Emptied >= 0 {
		r.Emptied = px(axis.x(n.Emptied))
	}
	if n.Gone >= 0 {
		r.End = px(axis.x(n.Gone))
	}
	for _, p := range pods {
		row := t.podRow(axis, p.PodBar, y+4+float64(p.lane*podPitch), end)
		r.Killed = r.Killed || p.Killed
		r.Pods = append(r.Pods, row)
	}
	return r, height
}

func (a timeAxis) span(from, to float64) span {
	return span{px(a.x(from)), px(max(a.x(to)-a.x(from), 0.5))}
}

func nodeTitle(n NodeBar) string {
	s := fmt.Sprintf("%s, %s, %s in %s", n.Name, n.InstanceType, n.CapacityType, n.Zone)
	for _, m := range []struct {
		what string
		at   float64
	}{{"joined", max(n.Joined, 0)}, {"notice", n.Noticed}, {"cordoned", n.Cordoned}, {"emptied", n.Emptied}, {"gone", n.Gone}} {
		if m.at >= 0 {
			s += fmt.Sprintf("; %s at %.1f s", m.what, m.at)
		}
	}
	return s
}

// moment writes a moment of a table; a dash for one that never came.
func moment(at float64) string {
	if at < 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", at)
}

// A lanedPod is a pod and its row within its node.
type lanedPod struct {
	PodBar
	lane int
}

// podsOn returns the pods of a node in rows in which they do not overlap.
func (t *Timeline) podsOn(node string) (pods []lanedPod, rows int) {
	for _, p := range t.Pods {
		if p.Node == node {
			pods = append(pods, lanedPod{PodBar: p})
		}
	}
	slices.SortStableFunc(pods, func(a, b lanedPod) int {
		return cmp.Or(cmp.Compare(max(a.Created, 0), max(b.Created, 0)), cmp.Compare(t.slot(a.App), t.slot(b.App)), cmp.Compare(a.Name, b.Name))
	})
	var free []float64 // when each row is free again
	for i, p := range pods {
		end := t.Seconds
		if p.Gone >= 0 {
			end = p.Gone
		}
		lane := slices.IndexFunc(free, func(at float64) bool { return at <= p.Created })
		if lane < 0 {
			lane = len(free)
			free = append(free, 0)
		}
		free[lane] = end
		pods[i].lane = lane
	}
	return pods, len(free)
}

// podRow splits a pod's life into the phases that look different.
func (t *Timeline) podRow(axis timeAxis, p PodBar, y, nodeEnd float64) podRow {
	end := nodeEnd
	if p.Gone >= 0 {
		end = p.Gone
	}
	r := podRow{Slot: t.slot(p.App), Y: px(y), Title: podTitle(p)}
	phase := func(from, to float64) *span {
		if from < 0 || to <= from {
			return nil
		}
		s := axis.span(from, to)
		return &s
	}
	firstOf := func(moments ...float64) float64 {
		first := end
		for _, m := range moments {
			if m >= 0 {
				first = min(first, m)
			}
		}
		return first
	}
	r.Starting = phase(max(p.Created, 0), firstOf(p.Ready, p.Terminating))
	if p.Ready >= 0 {
		r.Serving = phase(p.Ready, firstOf(p.Released, p.Terminating))
	}
	r.Released = phase(p.Released, firstOf(p.Terminating))
	r.Stopping = phase(p.Terminating, end)
	if p.Killed {
		r.Killed, r.KilledY = px(axis.x(end)), px(y+podHeight/2)
	}
	return r
}

func podTitle(p PodBar) string {
	s := p.Name
	for _, m := range []struct {
		what string
		at   float64
	}{{"created", max(p.Created, 0)}, {"Ready", p.Ready}, {"handed off", p.Released}, {"told to stop", p.Terminating}, {"gone", p.Gone}} {
		if m.at >= 0 {
			s += fmt.Sprintf("; %s at %.1f s", m.what, m.at)
		}
	}
	if p.Killed {
		s += "; died with its machine, without being told"
	}
	return s
}
