package cloud

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// State is the state of an instance, as EC2 names it.
type State string

// The states that an instance passes through here.
const (
	Pending      State = "pending"
	Running      State = "running"
	ShuttingDown State = "shutting-down"
	Terminated   State = "terminated"
)

// code is EC2's number for the state.
func (s State) code() int {
	switch s {
	case Running:
		return 16
	case ShuttingDown:
		return 32
	case Terminated:
		return 48
	}
	return 0
}

// Instance is one machine.
type Instance struct {
	ID        string
	Type      string // for example "m6i.large"
	Zone      string // for example "us-east-1a"
	Spot      bool   // else on demand
	State     State  // defaults to running
	Launched  time.Time
	PrivateIP string
	Tags      map[string]string
	// Group is the Auto Scaling group, empty for none.
	Group string
}

// LifecycleCall is a call about a lifecycle action, as a client made it.
type LifecycleCall struct {
	// Action is CompleteLifecycleAction or RecordLifecycleActionHeartbeat.
	Action   string
	Hook     string
	Group    string
	Instance string
	Token    string
	Result   string // CONTINUE or ABANDON; empty for a heartbeat
	At       time.Time
}

// fleet holds the instances and what was said about them.
type fleet struct {
	mu        sync.Mutex
	instances map[string]Instance
	groups    map[string]ScalingGroup
	calls     []LifecycleCall
}

// get returns a copy that shares nothing with the fleet.
func (f *fleet) get(id string) (Instance, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.instances[id]
	i.Tags = maps.Clone(i.Tags)
	return i, ok
}

// all returns copies of all instances, ordered by ID.
func (f *fleet) all() []Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Instance
	for _, i := range f.instances {
		i.Tags = maps.Clone(i.Tags)
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// move changes the state of an instance, never backwards, and returns the state
// it was in.
func (f *fleet) move(id string, to State) (from State, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.instances[id]
	if !ok {
		return "", false
	}
	from = i.State
	if to.code() > from.code() {
		i.State = to
		f.instances[id] = i
	}
	return from, true
}

// RunInstance adds an instance, or replaces the one with the same ID.
func (c *Cloud) RunInstance(i Instance) {
	if i.State == "" {
		i.State = Running
	}
	if i.Launched.IsZero() {
		i.Launched = time.Now()
	}
	i.Tags = maps.Clone(i.Tags)
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	c.fleet.instances[i.ID] = i
}

// SetState moves an instance on to a state; a state never goes back. It reports
// whether there is such an instance.
func (c *Cloud) SetState(id string, s State) bool {
	_, ok := c.fleet.move(id, s)
	return ok
}

// Terminate says that an instance is gone. It stays known, as terminated.
func (c *Cloud) Terminate(id string) bool { return c.SetState(id, Terminated) }

// Instance returns an instance, and whether it is known.
func (c *Cloud) Instance(id string) (Instance, bool) { return c.fleet.get(id) }

// Instances returns every instance that is known, ordered by ID.
func (c *Cloud) Instances() []Instance { return c.fleet.all() }

// LifecycleCalls returns the calls about lifecycle actions, in their order.
func (c *Cloud) LifecycleCalls() []LifecycleCall {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	return slices.Clone(c.fleet.calls)
}
