// Package bill says what machines cost: those that a platform file asks for, a
// month, and those that a cluster has, an hour; each beside what the same
// machines cost on demand. It knows machines only: the control plane, disks,
// load balancers and traffic cost the same either way, so they make any saving
// a smaller part of the whole bill.
package bill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// HoursPerMonth is the length of a month in AWS's own estimates.
const HoursPerMonth = 730

// A Sum is what something costs as it is bought, and on demand.
type Sum struct {
	Cost     price.Micros `json:"cost"`
	OnDemand price.Micros `json:"onDemand"`
}

// Plus returns both together.
func (s Sum) Plus(o Sum) Sum { return Sum{s.Cost + o.Cost, s.OnDemand + o.OnDemand} }

// Saving is how much less than on demand it costs, in percent.
func (s Sum) Saving() float64 {
	if s.OnDemand == 0 {
		return 0
	}
	return 100 * (1 - float64(s.Cost)/float64(s.OnDemand))
}

// A Bill is a month of a platform.
type Bill struct {
	Pools    []Pool
	Services []Service // by pool in the file's order; headroom is one of them
	Total    Sum
	Notes    []string // what was left out, and why
}

// A Pool is a month of a pool's machines.
type Pool struct {
	Name     string
	Capacity price.Capacity
	Nodes    int
	Types    []Type // those with a price
	Sum
	// Used is the share of what pods can have that is asked for, of the scarcer of
	// CPU and memory, on machines of the smallest type; 0 if no type's size is known.
	Used float64
}

// A Type is an instance type that a pool may get.
type Type struct {
	Name     string
	OnDemand price.Quote
	Spot     price.Quote // zero in an on-demand pool
}

// Saving is how much less than on demand a spot machine costs, in percent.
func (t Type) Saving() float64 { return Sum{t.Spot.PerHour, t.OnDemand.PerHour}.Saving() }

// A Service is the part of a pool's month that one service takes: by what it asks
// for, the scarcer of CPU and memory, beside the others there. What nobody asks
// for is shared alike.
type Service struct {
	Name, Pool string
	Replicas   int
	Sum
}

// HeadroomService is the name under which room kept free is billed.
const HeadroomService = "(headroom)"

// Of returns the bill of a platform at its desired size. A spot machine costs the
// mean of its pool's types, since which of them come is the cloud's choice; an
// on-demand one costs the first type, which is tried first.
func Of(p *spec.Platform, t *price.Table) (*Bill, error) {
	b := new(Bill)
	for _, pool := range p.Pools {
		line, err := b.pool(p, pool, t)
		if err != nil {
			return nil, err
		}
		b.Total = b.Total.Plus(line.Sum)
		line.Used = b.share(p, line, t)
		b.Pools = append(b.Pools, line)
	}
	return b, nil
}

func (b *Bill) pool(p *spec.Platform, pool spec.Pool, t *price.Table) (Pool, error) {
	line := Pool{Name: pool.Name, Capacity: price.Capacity(pool.Capacity), Nodes: pool.Desired}
	var missing []string
	for _, name := range typesOf(pool, p.Cluster.Region, t) {
		line.addType(name, p.Cluster.Region, pool.Zones, t, &missing)
	}
	if len(missing) > 0 {
		b.Notes = append(b.Notes, fmt.Sprintf("pool %s: no price in %s for %s", pool.Name, p.Cluster.Region, strings.Join(missing, ", ")))
	}
	if len(line.Types) == 0 {
		return line, fmt.Errorf("pool %s: the price table has none of its instance types in %s", pool.Name, p.Cluster.Region)
	}
	hours := price.Micros(line.Nodes) * HoursPerMonth
	if line.Capacity == price.OnDemand {
		line.Cost = line.Types[0].OnDemand.PerHour * hours
		line.Sum.OnDemand = line.Cost
		return line, nil
	}
	var cost, onDemand price.Micros
	for _, t := range line.Types {
		cost += t.Spot.PerHour
		onDemand += t.OnDemand.PerHour
	}
	n := price.Micros(len(line.Types))
	line.Sum = Sum{Cost: cost * hours / n, OnDemand: onDemand * hours / n}
	return line, nil
}

func (line *Pool) addType(name, region string, zones []string, t *price.Table, missing *[]string) {
	entry, ok := TypeOf(name, line.Capacity, region, zones, t)
	if !ok {
		*missing = append(*missing, name)
		return
	}
	line.Types = append(line.Types, entry)
}

// TypeOf returns what a type costs in some zones, or in the region if there are none
// named, and whether all of that is known.
func TypeOf(name string, c price.Capacity, region string, zones []string, t *price.Table) (Type, bool) {
	onDemand, ok := t.OnDemand(name, region)
	entry := Type{Name: name, OnDemand: onDemand}
	if ok && c == price.Spot {
		entry.Spot, ok = spotOf(name, region, zones, t)
	}
	return entry, ok
}

// spotOf is the mean over the pool's zones.
func spotOf(name, region string, zones []string, t *price.Table) (price.Quote, bool) {
	if len(zones) == 0 {
		return t.Spot(name, region, "")
	}
	var out price.Quote
	var sum price.Micros
	for i, zone := range zones {
		q, ok := t.Spot(name, region, zone)
		if !ok {
			return q, false
		}
		sum += q.PerHour
		if i == 0 || q.Date.Before(out.Date) {
			out = q
		}
	}
	n := price.Micros(len(zones))
	out.PerHour = (sum + n/2) / n
	return out, true
}

// typesOf returns the types that a pool names, or those in the table that meet
// its requirements.
func typesOf(pool spec.Pool, region string, t *price.Table) []string {
	r := pool.Requirements
	if r == nil {
		return pool.InstanceTypes
	}
	var out []string
	for _, i := range t.Instances() {
		category, generation, ok := family(i.Type)
		switch {
		case !ok, i.GPUs > 0, i.Arch != pool.Architecture,
			!slices.Contains(r.Categories, category),
			i.VCPU < r.MinCPU, r.MaxCPU > 0 && i.VCPU > r.MaxCPU,
			generation < r.MinGeneration:
			continue
		}
		if _, ok := t.OnDemand(i.Type, region); ok {
			out = append(out, i.Type)
		}
	}
	return out
}

// family takes the category and the generation out of an EC2 name: c and 5 of
// c5ad.xlarge.
func family(instanceType string) (category string, generation int, ok bool) {
	letters := 0
	for letters < len(instanceType) && instanceType[letters] >= 'a' && instanceType[letters] <= 'z' {
		letters++
	}
	if letters == 0 || letters == len(instanceType) {
		return "", 0, false
	}
	d := instanceType[letters]
	return instanceType[:letters], int(d - '0'), d >= '0' && d <= '9'
}

// A claimant wants a part of a pool.
type claimant struct {
	name        string
	replicas    int
	cpu, memory int64 // millicores, bytes
}

// share bills a pool to the services on it and returns how much of it they use.
func (b *Bill) share(p *spec.Platform, pool Pool, t *price.Table) float64 {
	var claimants []claimant
	for _, s := range p.Services {
		if s.Pools[0] == pool.Name {
			n := int64(s.Replicas)
			claimants = append(claimants, claimant{s.Name, s.Replicas, n * s.Resources.CPU.MilliValue(), n * s.Resources.Memory.Value()})
		}
	}
	for _, h := range p.Headroom() {
		if h.Pool == pool.Name {
			claimants = append(claimants, claimant{HeadroomService, h.Pods, int64(h.Pods) * h.CPUMilli, int64(h.Pods) * h.Memory})
		}
	}
	node, ok := smallest(pool, t)
	if !ok {
		// Any ratio of CPU to memory will do to compare services with: the common one.
		node = price.Allocatable{CPUMilli: 1000, MemoryMiB: 4096}
	}
	cpu, memory := float64(node.CPUMilli)*float64(pool.Nodes), float64(node.MemoryMiB<<20)*float64(pool.Nodes)
	var weights []float64
	var sum, usedCPU, usedMemory float64
	for _, c := range claimants {
		w := 0.0
		if pool.Nodes > 0 {
			w = max(float64(c.cpu)/cpu, float64(c.memory)/memory)
			usedCPU += float64(c.cpu) / cpu
			usedMemory += float64(c.memory) / memory
		}
		weights = append(weights, w)
		sum += w
	}
	left := pool.Sum
	lastPaying := -1
	for i, w := range weights {
		if w > 0 {
			lastPaying = i
		}
	}
	for i, c := range claimants {
		s := Service{Name: c.name, Pool: pool.Name, Replicas: c.replicas}
		switch {
		case i == lastPaying || lastPaying < 0 && i == len(claimants)-1:
			s.Sum = left // the last one takes what rounding left: the parts add up
		case sum > 0:
			s.Sum = Sum{price.Micros(float64(pool.Cost) * weights[i] / sum), price.Micros(float64(pool.Sum.OnDemand) * weights[i] / sum)}
		}
		left = Sum{left.Cost - s.Cost, left.OnDemand - s.OnDemand}
		b.Services = append(b.Services, s)
	}
	if !ok {
		return 0
	}
	return max(usedCPU, usedMemory)
}

// smallest returns what a pool's least roomy machine gives to pods, CPU and
// memory each at its least.
func smallest(pool Pool, t *price.Table) (price.Allocatable, bool) {
	var out price.Allocatable
	for _, entry := range pool.Types {
		i, ok := t.Instance(entry.Name)
		if !ok {
			return out, false
		}
		if out == (price.Allocatable{}) {
			out = i.Allocatable
			continue
		}
		out.CPUMilli = min(out.CPUMilli, i.Allocatable.CPUMilli)
		out.MemoryMiB = min(out.MemoryMiB, i.Allocatable.MemoryMiB)
	}
	return out, out != price.Allocatable{}
}

// A Claim holds a claimed saving against a bill.
type Claim struct {
	Percent float64
	Lines   []ClaimLine // the types of spot pools, in the bill's order
	Spot    Sum         // of all spot pools
	Fixed   Sum         // of all on-demand pools
	Total   Sum
}

// A ClaimLine is one price that makes the claim true or false.
type ClaimLine struct {
	Pool string
	Type
	Holds bool
}

// Claim checks that spot saves so many percent, price by price.
func (b *Bill) Claim(percent float64) Claim {
	c := Claim{Percent: percent, Total: b.Total}
	for _, p := range b.Pools {
		if p.Capacity == price.OnDemand {
			c.Fixed = c.Fixed.Plus(p.Sum)
			continue
		}
		c.Spot = c.Spot.Plus(p.Sum)
		for _, t := range p.Types {
			c.Lines = append(c.Lines, ClaimLine{Pool: p.Name, Type: t, Holds: t.Saving() >= percent})
		}
	}
	return c
}

// SpotHolds and Holds say whether the claim is true of the spot pools alone, and
// of all machines.
func (c Claim) SpotHolds() bool { return c.Spot.Saving() >= c.Percent }

// Holds reports whether the claim is true of all machines.
func (c Claim) Holds() bool { return c.Total.Saving() >= c.Percent }

// SpotNeeded is how much spot machines would have to save for the claim to be
// true of all machines: above 100 it cannot be.
func (c Claim) SpotNeeded() float64 {
	if c.Spot.OnDemand == 0 {
		return 0
	}
	return c.Percent * float64(c.Total.OnDemand) / float64(c.Spot.OnDemand)
}

// Oldest returns the oldest quote of the bill.
func (b *Bill) Oldest() price.Quote {
	var quotes []price.Quote
	for _, p := range b.Pools {
		for _, t := range p.Types {
			quotes = append(quotes, t.OnDemand)
			if p.Capacity == price.Spot {
				quotes = append(quotes, t.Spot)
			}
		}
	}
	return slices.MinFunc(quotes, func(a, b price.Quote) int {
		return cmp.Or(a.Date.Compare(b.Date), strings.Compare(a.Source, b.Source))
	})
}
