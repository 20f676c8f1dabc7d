// Package capacity drives this project's provisioning policy, the one that package
// sim plays against histories, with a live cluster: it says of each pool what the
// policy would do now and why, and turns that into settings of what buys the pool's
// machines, a Karpenter NodePool or an Auto Scaling group.
//
// It is pure: State.Step takes what is seen and the time, and returns advice,
// effects and events. What is to be changed is recorded before it is changed and
// marked afterwards, so that whoever starts anew knows what is ours and what it was
// before. What a person has changed since is left alone.
package capacity

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// Place is one instance type in one zone: what a cloud reclaims as a whole.
type Place struct {
	InstanceType string `json:"instanceType"`
	Region       string `json:"region,omitempty"`
	Zone         string `json:"zone"`
}

// String returns "m5.large in us-east-1a".
func (p Place) String() string { return p.InstanceType + " in " + p.Zone }

// Compare orders places by zone, then by type.
func (p Place) Compare(o Place) int {
	return cmp.Or(strings.Compare(p.Zone, o.Zone), strings.Compare(p.InstanceType, o.InstanceType))
}

// Kind says what buys a pool's machines.
type Kind string

// The kinds. Of a pool with none nobody can be told what to buy; there is advice.
const (
	NodePool     Kind = "NodePool"         // Karpenter's
	ScalingGroup Kind = "AutoScalingGroup" // with a mixed instances policy
)

// Group is a pool of the cluster together with what buys its machines.
type Group struct {
	Pool string // as the nodes' label evenkeel.dev/pool has it
	Kind Kind
	Name string // of the NodePool or the Auto Scaling group
	UID  string // of the NodePool
	// Types and Zones are what it may buy. If empty, that is as far as is known what
	// its nodes are.
	Types, Zones []string
	// Spot and OnDemand are how it may buy.
	Spot, OnDemand bool
	// Desired is how many machines it is to have; 0 if that is not declared: then it
	// is what was there when nothing was being reclaimed.
	Desired int
	Set     Settings // as it is set now
	// Fixed says why its settings cannot be changed by us; empty if they can.
	Fixed string
}

// Key names the group's Record.
func (g Group) Key() string {
	if g.Kind == "" {
		return g.Pool
	}
	return string(g.Kind) + "." + keyOf(g.Name)
}

// keyOf keeps to what the key of a ConfigMap may have: the name of an Auto Scaling
// group may have more.
func keyOf(name string) string {
	key := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
	if key == name && len(name) <= 200 {
		return key
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	return fmt.Sprintf("%s-%016x", key[:min(len(key), 200)], h.Sum64())
}

// Settings are what can be changed of a group. The zero value of each is its
// absence.
type Settings struct {
	// Weight of a NodePool, 1 to 100: the highest is tried first.
	Weight int `json:"weight,omitempty"`
	// NoTypes and NoZones are instance types and zones that a NodePool excludes by
	// requirements with NotIn, a person's own among them. Sorted.
	NoTypes []string `json:"noTypes,omitempty"`
	NoZones []string `json:"noZones,omitempty"`
	// Base is the number of on-demand machines that an Auto Scaling group keeps before
	// it buys spot: OnDemandBaseCapacity.
	Base int `json:"base,omitempty"`
	// Offers are the instance types of its overrides, in order, with "=" and the
	// weighted capacity where there is one.
	Offers []string `json:"offers,omitempty"`
}

// Equal reports whether two settings are the same.
func (s Settings) Equal(o Settings) bool {
	return s.Weight == o.Weight && s.Base == o.Base && slices.Equal(s.NoTypes, o.NoTypes) && slices.Equal(s.NoZones, o.NoZones) && slices.Equal(s.Offers, o.Offers)
}

// typeOf returns the instance type of an offer.
func typeOf(offer string) string {
	name, _, _ := strings.Cut(offer, "=")
	return name
}

// union returns the sorted values that are in either.
func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// Mode says what Step may do.
type Mode int

// The modes.
const (
	// Advise changes nothing.
	Advise Mode = iota
	// Act changes the settings of groups.
	Act
	// Restore sets groups to what they were before they were changed, and then
	// changes nothing.
	Restore
)

// Config holds what does not change. The zero value of a duration or a number
// stands for its default.
type Config struct {
	Mode   Mode
	Prices *price.Table // if nil, the built-in one
	// Objective is the share of time with enough machines. Defaults to 0.9995.
	Objective float64
	// Notice is how long before it goes a machine is told so, and Lead how long one
	// takes from being asked for until its pods are ready. Default to 2 and 1 minutes.
	Notice, Lead time.Duration
	// Grace is how long pods take to stop, and Margin what is kept free. Default to
	// 30 and 2 s.
	Grace, Margin time.Duration
	// Hold is how long a place is avoided after it was reclaimed; each further reclaim
	// within a day doubles that, up to MaxHold. Default to 10 minutes and 6 hours.
	Hold, MaxHold time.Duration
	// Calm is how long a setting must have been unneeded before it is taken back, and
	// Pause the least time between two changes of a group. Default to 10 minutes and
	// 1 minute.
	Calm, Pause time.Duration
	// Hourly is the most changes of a group in an hour. Defaults to 10.
	Hourly int
}

func (c Config) withDefaults() Config {
	if c.Prices == nil {
		c.Prices = price.Builtin()
	}
	c.Objective = cmp.Or(c.Objective, 0.9995)
	c.Notice, c.Lead = cmp.Or(c.Notice, 2*time.Minute), cmp.Or(c.Lead, time.Minute)
	c.Grace, c.Margin = cmp.Or(c.Grace, 30*time.Second), cmp.Or(c.Margin, 2*time.Second)
	c.Hold, c.MaxHold = cmp.Or(c.Hold, 10*time.Minute), cmp.Or(c.MaxHold, 6*time.Hour)
	c.Calm, c.Pause = cmp.Or(c.Calm, 10*time.Minute), cmp.Or(c.Pause, time.Minute)
	c.Hourly = cmp.Or(c.Hourly, 10)
	return c
}

// Reclaim is an interruption of the past, from a proof record.
type Reclaim struct {
	At   time.Time
	Pool string
	// InstanceType may be empty: it is then every type of the pool in the zone that
	// is known by then.
	InstanceType, Zone string
}

// Input is what is seen at a moment.
type Input struct {
	Now time.Time
	// Nodes are all nodes of the cluster.
	Nodes []*cluster.Node
	// Groups are what buys machines. A pool that only nodes tell of needs none.
	Groups []Group
	// Records are what was stored, by Group.Key.
	Records map[string]Record
	// Past are interruptions before the State began.
	Past []Reclaim
}

// Output is what follows.
type Output struct {
	Advice  []Advice // by pool
	Effects []Effect // to be carried out in this order; the rest of them is void if one fails
	Events  []Event
	// Wake is when to call Step again if nothing changes before; zero for no need.
	Wake time.Time
}

// EffectKind says what an Effect asks for.
type EffectKind string

// The kinds of effects.
const (
	// Store puts a Record where it is kept, or takes it away if it is nil.
	Store EffectKind = "store"
	// Change sets a group to To if it is still set to From.
	Change EffectKind = "change"
)

// Effect is one thing to do.
type Effect struct {
	Kind     EffectKind
	Key      string // of the Record
	Record   *Record
	Group    Group
	From, To Settings
	Reason   Reason
}

// ErrChanged is the error of a Change that starts from what is not so any more: the
// next Step sees what is.
var ErrChanged = errors.New("it is set to something else by now")

// Reason names why something is advised or done. The same value stands in metrics,
// Kubernetes Events and reports.
type Reason string

// The reasons.
const (
	PoolReclaimed  Reason = "pool-reclaimed"   // its machines were given notice
	SpotMissing    Reason = "spot-missing"     // fewer machines than wanted, and there is time for spot
	Bridge         Reason = "on-demand-bridge" // no spot machine would be ready in time
	SpotReady      Reason = "spot-ready"       // what stood in for spot is not needed any more
	CheaperPool    Reason = "cheaper-pool"     // another place has become much cheaper
	Surplus        Reason = "surplus"          // more machines than wanted
	Calmed         Reason = "calm"             // what was changed is not needed any more
	MachinesThere  Reason = "machines-there"   // excluding it would have Karpenter replace machines that stay
	LastPlace      Reason = "last-place"       // nothing else could be bought
	NoBridgePool   Reason = "no-bridge-pool"   // no NodePool with less weight sells on-demand machines
	PersonsChange  Reason = "persons-change"   // somebody else has set it: left alone
	TooManyChanges Reason = "too-many-changes" // the bound on changes an hour is reached
	Restored       Reason = "restored"         // set back on request
	GroupGone      Reason = "group-gone"       // there is nothing left to set
)

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	Reclaimed EventKind = "reclaimed" // a place is avoided from now on
	Returned  EventKind = "returned"  // it may be bought again
	Advised   EventKind = "advised"   // machines are advised that were not before
	Recorded  EventKind = "recorded"  // a change is about to be made
	Marked    EventKind = "changed"   // a change was made
	Left      EventKind = "left"      // a person's change was found, and is left alone
	Hindered  EventKind = "hindered"  // what should be done cannot be
)

// Event tells people what happens to a group.
type Event struct {
	Kind   EventKind
	At     time.Time
	Group  Group
	Reason Reason
	Text   string // one sentence
}
