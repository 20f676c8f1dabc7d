package spec

// Headroom is room that is kept free in a pool: that many pods, each the size of
// the largest replica that could need it, so that the room does not come in
// pieces that no replica fits into.
type Headroom struct {
	Pool     string // where the room is
	For      string // the pool whose pods it waits for
	Pods     int
	CPUMilli int64 // of one pod
	Memory   int64 // of one pod, in bytes
}

// Headroom returns, for each pool that others fall back to, the room for the
// largest of those others. One pool is one failure domain, so it is the unit
// that goes. There is none if the policy says so.
func (p *Platform) Headroom() []Headroom {
	if !p.Policies.Headroom {
		return nil
	}
	var out []Headroom
	for _, fallback := range p.Pools {
		var largest demand
		for _, pool := range p.Pools {
			if pool.Fallback != fallback.Name {
				continue
			}
			if d := p.demandOf(pool); d.chunks() > 0 && (d.cpu > largest.cpu || d.cpu == largest.cpu && d.memory > largest.memory) {
				largest = d
			}
		}
		if n := largest.chunks(); n > 0 {
			out = append(out, Headroom{Pool: fallback.Name, For: largest.pool, Pods: n, CPUMilli: largest.podCPU, Memory: largest.podMemory})
		}
	}
	return out
}

// A demand is what the pods of one pool need elsewhere if all of it goes.
type demand struct {
	pool        string
	cpu, memory int64 // millicores, bytes: of all replicas at their floor
	podCPU      int64 // of the largest replica
	podMemory   int64
}

// chunks returns how many pods, each the size of the largest replica, hold the
// demand.
func (d demand) chunks() int {
	if d.podCPU == 0 {
		return 0
	}
	return int(max((d.cpu+d.podCPU-1)/d.podCPU, (d.memory+d.podMemory-1)/d.podMemory))
}

func (p *Platform) demandOf(pool Pool) demand {
	d := demand{pool: pool.Name}
	for _, s := range p.Services {
		if s.Pools[0] != pool.Name {
			continue
		}
		cpu, memory, n := s.Resources.CPU.MilliValue(), s.Resources.Memory.Value(), int64(s.Replicas)
		if n == 0 {
			continue // asleep at its floor: nothing would be missed at once
		}
		d.cpu += n * cpu
		d.memory += n * memory
		d.podCPU = max(d.podCPU, cpu)
		d.podMemory = max(d.podMemory, memory)
	}
	return d
}
