// Package scenario holds what a rehearsal plays: the nodes, the load, and a Plan
// that says when which nodes get notice, go, and are replaced. A plan comes from
// a script or from a trace of spot capacity, real or generated, on one path.
//
// It decides nothing about handling an interruption, and it starts nothing: it
// knows no cluster and no clock.
//
// Two clocks run through it. What the cloud does is in scenario time, which is
// played TimeScale times as fast (Scenario.Real). What processes do (load,
// probes, endpoints, pod starts) is in real time and never scaled.
package scenario

import (
	_ "embed"
	"fmt"
	"os"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Capacity types, as the label karpenter.sh/capacity-type has them.
const (
	Spot     = "spot"
	OnDemand = "on-demand"
)

// A Scenario is valid: Default, Load and Parse return no other.
type Scenario struct {
	Name string
	Seed uint64 // makes everything random repeatable
	// TimeScale is how many seconds of scenario time pass in a second; 5 by
	// default.
	TimeScale float64
	// NoticeLead is the scenario time from a notice until the machine goes;
	// 120 s by default.
	NoticeLead time.Duration
	Region     string
	Nodes      []NodePool
	// Images maps the image of a container to a program in the bin folder.
	Images map[string]string
	Load   LoadSettings
	// Reclaims are scripted. Without any, they come from a trace.
	Reclaims []Reclaim
	// LaunchDelay is the scenario time from a notice until the replacement node
	// has joined; 40 s by default.
	LaunchDelay time.Duration
	// EndpointDelay is the real time from a change of an EndpointSlice until a
	// service proxy acts on it, give or take EndpointJitter; 1 s and 500 ms by
	// default.
	EndpointDelay, EndpointJitter time.Duration
	// PodStartDelay is the real time from a pod's assignment to a node until its
	// process starts; 1 to 3 s by default.
	PodStartDelay Range
	Trace         TraceSettings
}

// A NodePool is a group of like nodes in one zone. The spot pools of a zone are
// one failure domain: a trace takes all of their nodes at once.
type NodePool struct {
	Name string // unique; nodes are called Name-1, Name-2, ...
	// Pool is the platform's pool that the nodes belong to, which may have node
	// pools in several zones: the value of the node label evenkeel.dev/pool, by
	// which pods choose their nodes, so that only a node of the same Pool replaces
	// one. Name by default.
	Pool            string
	Zone            string
	InstanceType    string
	CapacityType    string // Spot or OnDemand
	Count           int    // nodes at the start
	CPU, Memory     resource.Quantity
	Pods            int
	OnDemandPerHour float64 // USD
	SpotPerHour     float64 // USD; 0 for an on-demand pool
	Labels          map[string]string
	Taints          []Taint
}

// A Taint is a node taint.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"` // NoSchedule, PreferNoSchedule or NoExecute
}

// LoadSettings say what is asked of the platform. Its times are real.
type LoadSettings struct {
	Rate         float64 // requests a second
	PostShare    float64 // share of requests that must not be done twice
	NewConnShare float64 // share of requests on a connection of their own
	Timeout      time.Duration
	WarmUp       time.Duration // from the start of the load to the first notice
	CoolDown     time.Duration // from the last event to the end of the load
}

// A Reclaim is one scripted reclaim: of a zone's spot nodes, of a pool, or of
// nodes by name.
type Reclaim struct {
	At   time.Duration // of the notice; scenario time since the load started
	Zone string
	Pool string
	// Nodes by name; those that are there at the time are taken.
	Nodes   []string
	Replace Replacement
	// Back is the scenario time from the notice until new nodes can come up
	// there again; 0: not in this rehearsal.
	Back time.Duration
}

// A Replacement says what comes for nodes that were reclaimed.
type Replacement struct {
	After time.Duration // scenario time after the notice
	// Count is negative for as many of each platform pool as were taken;
	// otherwise the platform pools that lost nodes get equal shares of it.
	Count int
	// Pool is the name of the node pool that they join. Empty: the spot pool with
	// the fewest nodes of those that have the Pool of the node that went and are
	// not reclaimed.
	Pool string
}

// A Range of durations, both ends included.
type Range struct{ Min, Max time.Duration }

// TraceSettings say how a trace becomes a plan.
type TraceSettings struct {
	// Zones of the trace, or names of its pools, to play; by default those with
	// the highest availability, see FromTrace.
	Zones []string
	// Events is how many reclaims of a zone are played; 3 by default.
	Events int
	// Compress bounds the scenario time between two successive reclaims; the
	// notice and 10 s of real time by default.
	Compress time.Duration
	// KeepNodes is how many spot nodes must at any time be there without notice;
	// 2 by default. Parts of a trace that leave fewer are not played.
	KeepNodes int
}

// A Node is one machine of a plan.
type Node struct{ Name, Pool string }

//go:embed default.yaml
var defaultYAML []byte

// Default returns the scenario that is built in.
func Default() *Scenario {
	s, err := Parse("default.yaml", defaultYAML)
	if err != nil {
		panic(err) // the embedded file is tested
	}
	return s
}

// DefaultYAML returns the text of the scenario that is built in, as a start for
// one's own.
func DefaultYAML() []byte { return append([]byte(nil), defaultYAML...) }

// Load reads a scenario from a file. Its errors name the file and the field.
func Load(path string) (*Scenario, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading scenario: %w", err)
	}
	return Parse(path, data)
}

// Real returns how long a scenario time takes in the rehearsal.
func (s *Scenario) Real(d time.Duration) time.Duration {
	return time.Duration(float64(d) / s.TimeScale)
}

// scaled is the inverse of Real.
func (s *Scenario) scaled(real time.Duration) time.Duration {
	return time.Duration(float64(real) * s.TimeScale)
}

// Pool returns the node pool with a name.
func (s *Scenario) Pool(name string) (*NodePool, bool) {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i], true
		}
	}
	return nil, false
}

// InitialNodes returns the nodes that are there when the load starts.
func (s *Scenario) InitialNodes() []Node {
	var nodes []Node
	for i := range s.Nodes {
		for n := range s.Nodes[i].Count {
			nodes = append(nodes, Node{nodeName(s.Nodes[i].Name, n+1), s.Nodes[i].Name})
		}
	}
	return nodes
}

func nodeName(pool string, n int) string { return fmt.Sprintf("%s-%d", pool, n) }

// spotPools returns the indices of the spot pools, in order.
func (s *Scenario) spotPools() []int {
	var out []int
	for i := range s.Nodes {
		if s.Nodes[i].CapacityType == Spot {
			out = append(out, i)
		}
	}
	return out
}

// A spotZone is a zone with its spot pools, which a trace takes together.
type spotZone struct {
	name  string
	pools []int // their indices
}

// spotZones returns the zones that have spot pools, in the order of these.
func (s *Scenario) spotZones() []spotZone {
	var out []spotZone
	for _, i := range s.spotPools() {
		at := slices.IndexFunc(out, func(z spotZone) bool { return z.name == s.Nodes[i].Zone })
		if at < 0 {
			at = len(out)
			out = append(out, spotZone{name: s.Nodes[i].Zone})
		}
		out[at].pools = append(out[at].pools, i)
	}
	return out
}
