package manifest

// A Set is everything that was read. The slices are in input order.
type Set struct {
	Workloads       []*Workload
	Services        []*Service
	Budgets         []*Budget
	Scalers         []*Scaler
	Ingresses       []*Ingress
	TargetGroups    []*TargetGroup
	StorageClasses  []*StorageClass
	Pools           []*Pool
	LaunchTemplates []*LaunchTemplate
	Queues          []*Queue
	Statements      []*Statement
	// Foreign are objects of API groups that we do not know. Their controllers
	// may own pods that no document of the input shows.
	Foreign []*Meta

	// Platforms are the platform specs among the documents.
	Platforms []*Meta

	// Documents counts what was looked at, Skipped what was not for us: YAML
	// that is no Kubernetes object, and kinds that no rule reads.
	Documents, Skipped int
	// Fragments are workloads without what the API server requires: patches of
	// kustomize, most often. They are not linted.
	Fragments []*Meta
}

// Add appends everything in o.
func (s *Set) Add(o *Set) {
	s.Workloads = append(s.Workloads, o.Workloads...)
	s.Services = append(s.Services, o.Services...)
	s.Budgets = append(s.Budgets, o.Budgets...)
	s.Scalers = append(s.Scalers, o.Scalers...)
	s.Ingresses = append(s.Ingresses, o.Ingresses...)
	s.TargetGroups = append(s.TargetGroups, o.TargetGroups...)
	s.StorageClasses = append(s.StorageClasses, o.StorageClasses...)
	s.Pools = append(s.Pools, o.Pools...)
	s.LaunchTemplates = append(s.LaunchTemplates, o.LaunchTemplates...)
	s.Queues = append(s.Queues, o.Queues...)
	s.Statements = append(s.Statements, o.Statements...)
	s.Foreign = append(s.Foreign, o.Foreign...)
	s.Fragments = append(s.Fragments, o.Fragments...)
	s.Platforms = append(s.Platforms, o.Platforms...)
	s.Documents += o.Documents
	s.Skipped += o.Skipped
}

// A Workload is anything with a pod template, and a bare pod.
type Workload struct {
	Meta
	Replicas     Field[int]
	Strategy     Field[string] // Deployment: strategy.type
	Selector     Selector
	VolumeClaims []VolumeClaim // StatefulSet: volumeClaimTemplates
	Job          *Job          // Job and CronJob
	Pod          Pod
}

// LongRunning reports whether the workload serves rather than finishes.
func (w *Workload) LongRunning() bool {
	switch w.Kind {
	case "Deployment", "StatefulSet", "ReplicaSet", "ReplicationController", "DaemonSet":
		return true
	}
	return false
}

// Replicated reports whether replicas of the workload are placed by count.
func (w *Workload) Replicated() bool { return w.LongRunning() && w.Kind != "DaemonSet" }

// A Job is what decides whether a job survives the loss of its node.
type Job struct {
	BackoffLimit      Field[int]
	IgnoresDisruption bool // podFailurePolicy ignores DisruptionTarget
}

// A VolumeClaim is one volumeClaimTemplate.
type VolumeClaim struct {
	Name         string
	StorageClass Field[string]
	Pos          Pos
}

// A Pod is a pod template, or the pod itself.
type Pod struct {
	Pos                 Pos // of the spec
	Labels, Annotations Pairs
	NodeSelector        Pairs
	// NodeTerms are the required node affinity: any one term must hold.
	NodeTerms [][]Requirement
	// PreferredNodes are the preferred node affinity.
	PreferredNodes [][]Requirement
	AntiAffinity   []AntiAffinity
	Tolerations    []Toleration
	Spread         []Spread
	Grace          Field[int] // terminationGracePeriodSeconds
	HostNetwork    bool
	Restart        string
	ReadinessGates []string    // condition types
	Containers     []Container // sidecars (restartable init containers) included
	Volumes        []Volume
}

// DefaultGrace is what the API server fills in for
// terminationGracePeriodSeconds.
const DefaultGrace = 30

// A Container is what runs until the pod ends.
type Container struct {
	Name          string
	Pos           Pos
	Command, Args []Field[string]
	Ports         []Port
	Readiness     bool
	Sidecar       bool
	PreStop       *PreStop
	Requests      Pairs
	Limits        Pairs
	Mounts        []Mount
}

// A Port is a container port.
type Port struct {
	Name     string
	Number   int
	Protocol string
	HostPort Field[int]
	HostIP   string
}

// A PreStop is a preStop hook. Sleep is set where the hook is a sleep of known
// length, natively or as a command.
type PreStop struct {
	Pos   Pos
	Sleep Field[int]
}

// A Mount is a volumeMount.
type Mount struct {
	Volume   string
	Path     string
	ReadOnly bool
}

// A Volume is a pod volume of a kind that some rule reads.
type Volume struct {
	Name     string
	Pos      Pos
	HostPath Field[string]
	EmptyDir bool
	Memory   bool // emptyDir on tmpfs
	Claim    string
}

// A Toleration is a pod's toleration.
type Toleration struct {
	Key, Operator, Value, Effect string
	Pos                          Pos
}

// A Taint is a node's taint.
type Taint struct{ Key, Value, Effect string }

// Tolerates reports whether the toleration covers the taint, by the scheduler's
// rules: an empty key with Exists covers every taint, an empty effect every effect.
func (t *Toleration) Tolerates(taint Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect {
		return false
	}
	if t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case "", "Equal":
		return t.Key != "" && t.Value == taint.Value
	case "Exists":
		return true
	}
	return false
}

// A Spread is a topologySpreadConstraint.
type Spread struct {
	Pos               Pos
	MaxSkew           Field[int]
	MinDomains        Field[int]
	TopologyKey       string
	WhenUnsatisfiable Field[string]
	NodeTaintsPolicy  string
	Selector          Selector
}

// An AntiAffinity is one term of a pod's anti-affinity.
type AntiAffinity struct {
	Pos         Pos
	Required    bool
	TopologyKey string
	Selector    Selector
}

// A Service is a Service with a selector.
type Service struct {
	Meta
	Type            string
	Selector        Pairs
	Ports           []ServicePort
	PublishNotReady bool
}

// A ServicePort says which container port a service sends to: a name or a
// number.
type ServicePort struct {
	Name       string
	Port       int
	TargetName string
	TargetPort int
}

// An Ingress names the services behind it.
type Ingress struct {
	Meta
	Services []string
}

// A TargetGroup is a TargetGroupBinding of the AWS Load Balancer Controller: it
// keeps the pods of a Service in a target group that exists.
type TargetGroup struct {
	Meta
	Service string
}

// A Budget is a PodDisruptionBudget.
type Budget struct {
	Meta
	Selector                     Selector
	MinAvailable, MaxUnavailable Field[Amount]
	UnhealthyPolicy              Field[string]
	SpecFirst                    Pos // of the first key under spec; zero in flow style
}

// A Scaler is an HPA or a KEDA ScaledObject.
type Scaler struct {
	Meta
	TargetKind, TargetName string
	Min, Max               Field[int]
}

// Floor returns the fewest replicas that the scaler keeps, with the default of
// its kind: 1 for an HPA, 0 for a ScaledObject.
func (s *Scaler) Floor() int {
	if s.Kind == "ScaledObject" {
		return s.Min.Or(0)
	}
	return s.Min.Or(1)
}

// A StorageClass decides when and where a volume comes into being.
type StorageClass struct {
	Meta
	Provisioner   string
	BindingMode   Field[string]
	HasTopologies bool
	Default       bool
}
