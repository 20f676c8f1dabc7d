package plan

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/bill"
	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// TypeAdvice says of one instance type whether a pool should have it.
type TypeAdvice struct {
	Type string
	// Named says that the platform file names it, or that it meets the file's
	// requirements.
	Named bool
	// Use is the share of the spot machines' time that it had.
	Use float64
	// Why it is not advised. Empty if it is.
	Why string
}

// wideMost is how many types are considered beside those that a pool names, the
// cheapest first: what is dearer is hardly ever asked for.
const wideMost = 10

// least is what a machine of a pool must give to pods: room for the largest pod of
// the services that prefer the pool, and, of types that the file does not name, what
// the least of the named gives. Pools without known sizes ask for nothing.
type least struct {
	cpu, memory int64 // milli, MiB
	service     string
}

func largestPod(p *spec.Platform, pool string) least {
	var out least
	for _, s := range p.Services {
		if s.Pools[0] != pool {
			continue
		}
		cpu, memory := s.Resources.CPU.MilliValue(), (s.Resources.Memory.Value()+1<<20-1)>>20
		if cpu > out.cpu || memory > out.memory {
			out.service = s.Name
		}
		out.cpu, out.memory = max(out.cpu, cpu), max(out.memory, memory)
	}
	return out
}

// fit sorts a pool's types into those to play and those that cannot be meant: too
// small for a pod, or dearer on spot than the cheapest is on demand.
func fit(types []bill.Type, need least, t *price.Table) (kept []bill.Type, rejected []TypeAdvice) {
	cheapest := types[0]
	for _, b := range types {
		if b.OnDemand.PerHour < cheapest.OnDemand.PerHour {
			cheapest = b
		}
	}
	for _, b := range types {
		i, known := t.Instance(b.Name)
		switch a := i.Allocatable; {
		case known && (a.CPUMilli < need.cpu || a.MemoryMiB < need.memory):
			rejected = append(rejected, TypeAdvice{Type: b.Name, Named: true, Why: fmt.Sprintf("gives pods %d m CPU and %d MiB; %s asks for up to %d m and %d MiB",
				a.CPUMilli, a.MemoryMiB, need.service, need.cpu, need.memory)})
		case b.Spot.PerHour >= cheapest.OnDemand.PerHour:
			rejected = append(rejected, TypeAdvice{Type: b.Name, Named: true, Why: fmt.Sprintf("costs %s an hour on spot; %s costs %s on demand", b.Spot.PerHour, cheapest.Name, cheapest.OnDemand.PerHour)})
		default:
			kept = append(kept, b)
		}
	}
	return kept, rejected
}

// wider are types that a pool does not name and that would do: of its architecture,
// with at least the CPU, memory and pods of the least of its own, without GPUs, and
// with a whole processor: AWS's t types give a share of one. The cheapest on spot come
// first.
func wider(p *spec.Platform, pool spec.Pool, own []bill.Type, t *price.Table) []bill.Type {
	var low price.Allocatable
	for n, b := range own {
		i, ok := t.Instance(b.Name)
		if !ok {
			return nil // what would do is not known
		}
		a := i.Allocatable
		if n == 0 {
			low = a
			continue
		}
		low = price.Allocatable{CPUMilli: min(low.CPUMilli, a.CPUMilli), MemoryMiB: min(low.MemoryMiB, a.MemoryMiB), Pods: min(low.Pods, a.Pods)}
	}
	dearest := own[0].OnDemand.PerHour
	for _, b := range own {
		dearest = min(dearest, b.OnDemand.PerHour)
	}
	var out []bill.Type
	for _, i := range t.Instances() {
		a := i.Allocatable
		if shared.MatchString(i.Type) || i.Arch != pool.Architecture || i.GPUs > 0 || a.CPUMilli < low.CPUMilli || a.MemoryMiB < low.MemoryMiB || a.Pods < low.Pods ||
			slices.ContainsFunc(own, func(b bill.Type) bool { return b.Name == i.Type }) {
			continue
		}
		b, ok := bill.TypeOf(i.Type, price.Spot, p.Cluster.Region, pool.Zones, t)
		if ok && b.Spot.PerHour < dearest {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b bill.Type) int {
		return cmp.Or(cmp.Compare(a.Spot.PerHour, b.Spot.PerHour), cmp.Compare(a.Name, b.Name))
	})
	return out[:min(len(out), wideMost)]
}

var shared = regexp.MustCompile(`^t[0-9]`)

// used is the least share of the spot machines' time for which a type is worth
// adding to a file.
const used = 0.01

// advised says what became of each type: use is by type, as played.
func advised(types []bill.Type, named int, rejected []TypeAdvice, use map[string]float64) []TypeAdvice {
	var out []TypeAdvice
	for n, b := range types {
		a := TypeAdvice{Type: b.Name, Named: n < named, Use: use[b.Name]}
		if !a.Named && a.Use < used {
			a.Why = "another was cheaper for all but 1 % of the time"
		}
		out = append(out, a)
	}
	return append(out, rejected...)
}

// ServiceAdvice is how many replicas a service should have.
type ServiceAdvice struct {
	Service            string
	Declared, Replicas int
	Scaled             bool // the number is the least of a range
}

// services are those that prefer a pool. With machines to spare, replicas must run
// on them: a spare machine without pods is no use when another goes.
func services(p *spec.Platform, pool string, replicas func(declared int) int) []ServiceAdvice {
	var out []ServiceAdvice
	for _, s := range p.Services {
		if s.Pools[0] == pool && s.Replicas > 0 {
			out = append(out, ServiceAdvice{Service: s.Name, Declared: s.Replicas, Replicas: replicas(s.Replicas), Scaled: s.Scaling != nil})
		}
	}
	return out
}
