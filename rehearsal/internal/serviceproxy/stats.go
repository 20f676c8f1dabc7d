package serviceproxy

import "maps"

// Outcome is how a connection ended.
type Outcome string

// Every accepted connection ends in exactly one of these.
const (
	Closed   Outcome = "closed"   // both sides said that they were done
	Reset    Outcome = "reset"    // one side reset it, and the reset was passed on
	Refused  Outcome = "refused"  // the endpoint in the table did not listen: reset
	Rejected Outcome = "rejected" // the last endpoint left the table while it was accepted: reset
	Silenced Outcome = "silenced" // its endpoint's address went silent: it hung until the client gave up
	Shutdown Outcome = "shutdown" // Run ended first
)

// Stats counts connections since the Proxy was made.
type Stats struct {
	Services map[string]ServiceStats // by namespace/name; only Services that had a connection
}

// ServiceStats counts the connections of one Service. A Service without
// endpoints does not accept any: the kernel refuses them, and nobody counts.
type ServiceStats struct {
	Accepted int
	Open     int
	Ended    map[Outcome]int
}

// Stats returns a copy of the counters. It may be called at any time.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := Stats{Services: make(map[string]ServiceStats, len(p.stats))}
	for name, s := range p.stats {
		out.Services[name] = ServiceStats{Accepted: s.Accepted, Open: s.Open, Ended: maps.Clone(s.Ended)}
	}
	return out
}

// opened and ended count one connection of a Service.
func (p *Proxy) opened(key portKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats[key.serviceName()]
	if s == nil {
		s = &ServiceStats{Ended: make(map[Outcome]int)}
		p.stats[key.serviceName()] = s
	}
	s.Accepted++
	s.Open++
}

func (p *Proxy) ended(key portKey, o Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats[key.serviceName()]
	s.Open--
	s.Ended[o]++
}

func (k portKey) serviceName() string { return k.namespace + "/" + k.service }
