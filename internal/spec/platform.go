// Package spec reads platform.yaml, the file in which a user declares services,
// pools and policies once. It hides YAML, defaults, units and every rule about
// what may stand beside what: a *Platform comes only from Parse, so holding one
// means that it is valid. It knows nothing of what is made from it.
package spec

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Platform is a valid platform. It is shared and never changed after Parse.
type Platform struct {
	Cluster       Cluster
	Pools         []Pool    // in the order of the file; never empty
	Services      []Service // in the order of the file; never empty
	Policies      Policies
	Observability Observability
	Notifications Notifications

	r *reporter
}

// Position returns where the field at path stands in the file, for example
// services[1].drain.grace; for a field that was left out, where the part that
// encloses it stands.
func (p *Platform) Position(path string) Position { return p.r.position(path) }

// Provider names a cloud.
type Provider string

// The clouds that can be rendered for.
const AWS Provider = "aws"

// Notice returns how long before a machine goes the cloud says so.
func (p Provider) Notice() time.Duration { return 2 * time.Minute }

// Cluster is where the platform runs.
type Cluster struct {
	Provider   Provider
	Region     string
	Zones      []string
	Name       string
	Namespace  string
	Kubernetes string // minor version, such as 1.35
	Karpenter  bool   // Karpenter starts the spot machines, not node groups
}

// Capacity is how a pool's machines are bought.
type Capacity string

// The ways to buy machines.
const (
	Spot     Capacity = "spot"
	OnDemand Capacity = "on-demand"
)

// Pool is a group of machines.
type Pool struct {
	Name          string
	Capacity      Capacity
	InstanceTypes []string      // empty if Requirements is set
	Requirements  *Requirements // nil if InstanceTypes is set
	Zones         []string
	Min           int
	Desired       int
	Max           int
	Architecture  string
	Disk          resource.Quantity
	Taint         *Taint
	Labels        map[string]string
	Fallback      string // name of an on-demand pool, or empty
}

// Requirements describe machines instead of naming them.
type Requirements struct {
	Categories     []string
	MinCPU, MaxCPU int // cores
	MinGeneration  int
}

// Taint keeps pods away from a pool's nodes.
type Taint struct{ Key, Value, Effect string }

// Service is a workload.
type Service struct {
	Name          string
	Component     string
	Image         string
	Command, Args []string
	Env           map[string]string
	EnvFrom       []string // Secrets
	Ports         []Port
	Health        *Health // nil for a service without ports
	Replicas      int     // fixed number; the floor if Scaling is set
	Scaling       *Scaling
	Resources     Resources
	Availability  Availability
	ZoneSpread    Spread
	NodeSpread    Spread
	Pools         []string // in order of preference, fallbacks last
	Drain         Drain
	Handoff       bool
	Stateful      *Stateful
	Scratch       *Scratch
	LoadBalancer  *LoadBalancer
	Connects      []string
	Outbound      []int
	ClusterRole   string // existing role, or empty for no access to the API
	Recreate      bool   // two revisions must never run at once
	Priority      Priority
	SLO           *SLO
}

// Port is one port of a service.
type Port struct {
	Name         string
	Port, Target int
}

// Health is how the kubelet asks after a replica.
type Health struct {
	Port              int
	Ready, Live       string
	Startup, Interval time.Duration
}

// Scaling is a range of replicas and what moves it.
type Scaling struct {
	Min, Max       int
	Triggers       []Trigger
	Cooldown, Poll time.Duration
	Fallback       int // replicas while triggers cannot be read
	FallbackAfter  int // failed looks
}

// Trigger moves the number of replicas; exactly one field is set.
type Trigger struct {
	CPU        *CPUTrigger
	Prometheus *PrometheusTrigger
	Kafka      *KafkaTrigger
	NATS       *NATSTrigger
	Cron       *CronTrigger
}

// CPUTrigger scales on processor use, in percent of the request.
type CPUTrigger struct{ Utilization int }

// PrometheusTrigger scales on the result of a query.
type PrometheusTrigger struct{ Query, Threshold string }

// KafkaTrigger scales on a consumer group's lag, in records per replica.
type KafkaTrigger struct {
	Brokers, Group, Topic string
	Lag                   int
}

// NATSTrigger scales on a JetStream consumer's lag, in messages per replica.
type NATSTrigger struct {
	Monitoring, Stream, Consumer string
	Lag                          int
}

// CronTrigger wants replicas between two times of the day.
type CronTrigger struct {
	Timezone, Start, End string
	Replicas             int
}

// Resources are what one replica asks for. A zero limit is no limit.
type Resources struct{ CPU, Memory, CPULimit, MemoryLimit resource.Quantity }

// Availability says how many replicas may be missing. At least one is set.
type Availability struct{ MinAvailable, MaxUnavailable *Count }

// Spread is how evenly replicas lie over domains.
type Spread struct {
	MaxSkew int
	Strict  bool
}

// PreStop is what happens before SIGTERM.
type PreStop string

// What may happen before SIGTERM.
const (
	PreStopSleep PreStop = "sleep"
	PreStopHTTP  PreStop = "http"
	PreStopNone  PreStop = "none"
)

// Drain is how a replica ends: Grace runs from the eviction to SIGKILL and
// includes Delay.
type Drain struct {
	PreStop      PreStop
	Path         string // of PreStopHTTP
	Delay, Grace time.Duration
}

// Stateful gives each replica a name and a volume of its own.
type Stateful struct {
	Size         resource.Quantity
	Path         string
	StorageClass string // the cluster's default if empty
	Reclaim      string // Retain or Delete
}

// Scratch gives each replica a folder of its own that ends with it. Nothing is
// handed over in it: on another machine the next replica begins with an empty one.
type Scratch struct {
	Size resource.Quantity
	Path string
}

// LoadBalancer is how a service is reached from outside.
type LoadBalancer struct {
	Deregistration time.Duration
	Internal       bool
	// ReadinessGate says that a pod is ready only once the load balancer takes it for
	// healthy. It is also what tells the controller that a pod has to leave its
	// endpoints some time before it is stopped.
	ReadinessGate bool
}

// Priority says who gives way when there is too little room.
type Priority string

// The priorities, from the last to give way to the first.
const (
	Critical Priority = "critical"
	High     Priority = "high"
	Normal   Priority = "normal"
	Low      Priority = "low"
)

// SLO is what is promised to callers.
type SLO struct {
	Availability  float64 // share of requests that succeed, 0.999
	Total, Failed string  // counters; empty for lifecycle's own
}

// Policies are what is done when machines go.
type Policies struct {
	DeleteAtDeadline bool // a pod held by its budget is deleted at its latest start
	Margin           time.Duration
	ObserveRebalance bool // rebalance recommendations reach the controller
	Headroom         bool
	PodSecurity      string // restricted or baseline
	DenyByDefault    bool   // only declared connections are let through
}

// Observability says where metrics are.
type Observability struct{ Prometheus, Namespace, Runbooks string }

// Notifications say who is told, and how much may be spent.
type Notifications struct {
	Emails           []string
	MonthlyBudgetUSD int
}

// Pool returns the pool of that name.
func (p *Platform) Pool(name string) (Pool, bool) {
	for _, pool := range p.Pools {
		if pool.Name == name {
			return pool, true
		}
	}
	return Pool{}, false
}

// Service returns the service of that name.
func (p *Platform) Service(name string) (Service, bool) {
	for _, s := range p.Services {
		if s.Name == name {
			return s, true
		}
	}
	return Service{}, false
}

// Ceiling returns the most replicas that a service can have.
func (s Service) Ceiling() int {
	if s.Scaling != nil {
		return s.Scaling.Max
	}
	return s.Replicas
}

// StricterIsMax reports whether maxUnavailable is the limit that binds. With
// both limits set, the binding one lets fewer replicas go, summed over all the
// numbers of replicas that the service can have; the API server refuses a
// budget with both.
func (s Service) StricterIsMax() bool {
	a := s.Availability
	if a.MinAvailable == nil || a.MaxUnavailable == nil {
		return a.MaxUnavailable != nil
	}
	byMin, byMax := 0, 0
	for n := max(s.Replicas, 1); n <= max(s.Ceiling(), 1); n++ {
		byMin += max(n-a.MinAvailable.Of(n), 0)
		byMax += min(a.MaxUnavailable.Of(n), n)
	}
	return byMax <= byMin
}
