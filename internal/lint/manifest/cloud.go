package manifest

import "slices"

// A Cloud is a provider. The zero value means that the input does not tell.
type Cloud string

// The clouds whose names for spot capacity are known.
const (
	AWS   Cloud = "aws"
	GCP   Cloud = "gcp"
	Azure Cloud = "azure"
)

// The capacity types of a pool, in Karpenter's spelling.
const (
	Spot     = "spot"
	OnDemand = "on-demand"
)

// A Pool is a source of nodes: a Karpenter NodePool, a managed node group, an
// auto scaling group with a mixed-instances policy, an eksctl node group, or
// the nodes of a live cluster that share a pool.
type Pool struct {
	Meta
	Cloud Cloud
	// Capacity lists what the pool may buy; empty where the input does not tell.
	Capacity    []string
	CapacityPos Pos
	// InstanceTypes and Zones are nil where the input does not tell.
	InstanceTypes []string
	InstancePos   Pos
	Zones         []string
	ZonesPos      Pos
	// OneSubnet is set for a node group with exactly one subnet, hence one zone,
	// whose name the input does not tell.
	OneSubnet string
	Labels    Pairs
	// LabelsKnown says that Labels is the whole truth for keys outside the
	// well-known domains.
	LabelsKnown bool
	Taints      []Taint
	// TaintsUnknown says that there may be taints beside those listed.
	TaintsUnknown bool
	Requirements  []Requirement
	MaxNodes      Field[int]
}

// MayBe reports whether the pool may buy this capacity type.
func (p *Pool) MayBe(capacity string) bool { return slices.Contains(p.Capacity, capacity) }

// OnlySpot reports whether the pool buys spot and nothing else.
func (p *Pool) OnlySpot() bool { return len(p.Capacity) == 1 && p.Capacity[0] == Spot }

// A LaunchTemplate says how instances reach their metadata.
type LaunchTemplate struct {
	Meta
	// Declared says that the template has metadata options at all.
	Declared   bool
	HTTPTokens Field[string]
	// TokensUnknown is set where the value is computed.
	TokensUnknown bool
}

// A Queue is an SQS queue that receives interruption events.
type Queue struct {
	Meta
	HasDeadLetter bool
	// HasPolicy says that some policy is attached, PolicyKnown that all of it
	// could be read, DeniesPlain that it refuses requests without TLS.
	HasPolicy, PolicyKnown, DeniesPlain bool
}

// A Statement is one Allow statement of an identity policy.
type Statement struct {
	Meta
	Actions, Resources []Field[string]
	Conditional        bool
}
