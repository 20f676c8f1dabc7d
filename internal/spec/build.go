package spec

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// Parse reads a platform file. The name is used in positions only. On mistakes
// it returns Problems, all of them, in the order of the file.
func Parse(r io.Reader, name string) (*Platform, error) {
	var raw rawPlatform
	rep := decode(r, name, &raw)
	if len(rep.problems) > 0 {
		// What does not decode cannot be compared: contradictions found beside a
		// typing mistake would mostly be echoes of it.
		return nil, rep.problems.sorted()
	}
	p := build(&raw, rep)
	p.check(rep)
	if len(rep.problems) > 0 {
		return nil, rep.problems.sorted()
	}
	return p, nil
}

// build turns decoded text into the exported types and fills in what depends on
// other fields. It reports only what cannot be turned; check does the rest.
func build(raw *rawPlatform, rep *reporter) *Platform {
	c := raw.Cluster
	p := &Platform{
		Cluster: Cluster{
			Provider: Provider(c.Provider), Region: c.Region, Zones: c.Zones, Name: c.Name,
			Namespace: c.Namespace, Kubernetes: c.Kubernetes, Karpenter: c.Provisioner == "karpenter",
		},
		Policies: Policies{
			DeleteAtDeadline: raw.Policies.Deadline == "delete",
			Margin:           time.Duration(raw.Policies.Margin),
			ObserveRebalance: raw.Policies.Rebalance == "observe",
			Headroom:         raw.Policies.Headroom == "largest-pool",
			PodSecurity:      raw.Policies.PodSecurity,
			DenyByDefault:    raw.Policies.NetworkPolicy == "deny",
		},
		Observability: Observability(raw.Observability),
		Notifications: Notifications(raw.Notifications),
		r:             rep,
	}
	for _, r := range raw.Pools {
		p.Pools = append(p.Pools, buildPool(r, c))
	}
	for i, r := range raw.Services {
		p.Services = append(p.Services, buildService(r, p, rep, fmt.Sprintf("services[%d]", i)))
	}
	return p
}

func buildPool(r rawPool, c rawCluster) Pool {
	pool := Pool{
		Name: r.Name, Capacity: Capacity(r.Capacity), InstanceTypes: r.InstanceTypes, Zones: r.Zones,
		Min: r.Size.Min, Desired: r.Size.Desired, Max: r.Size.Max,
		Architecture: r.Architecture, Disk: r.Disk.Quantity, Labels: r.Labels, Fallback: r.Fallback,
	}
	if len(pool.Zones) == 0 {
		pool.Zones = c.Zones
	}
	if r.Requirements != nil {
		q := Requirements(*r.Requirements)
		pool.Requirements = &q
	}
	if r.Taint != nil {
		t := Taint(*r.Taint)
		if t.Value == "" {
			t.Value = r.Name
		}
		pool.Taint = &t
	}
	return pool
}

func buildService(r rawService, p *Platform, rep *reporter, path string) Service {
	s := Service{
		Name: r.Name, Component: r.Component, Image: r.Image, Command: r.Command, Args: r.Args,
		Env: r.Env, EnvFrom: r.EnvFrom,
		Resources: Resources{
			CPU: r.Resources.CPU.Quantity, Memory: r.Resources.Memory.Quantity, MemoryLimit: r.Resources.Memory.Quantity,
		},
		Availability: Availability(r.Availability),
		ZoneSpread:   Spread(r.Spread.Zones),
		NodeSpread:   Spread(r.Spread.Nodes),
		Pools:        slices.Clone(r.Pools),
		Drain: Drain{
			PreStop: PreStop(r.Drain.PreStop), Path: r.Drain.Path,
			Delay: time.Duration(r.Drain.Delay), Grace: time.Duration(r.Drain.Grace),
		},
		Handoff:  r.Stateful == nil && r.Strategy == "surge" && (r.Handoff == nil || *r.Handoff),
		Connects: r.Connects, Outbound: r.Outbound, ClusterRole: r.ClusterRole, Recreate: r.Strategy == "recreate", Priority: Priority(r.Priority),
	}
	for _, port := range r.Ports {
		if port.Target == 0 {
			port.Target = port.Port
		}
		s.Ports = append(s.Ports, Port(port))
	}
	if h := r.Health; h != nil {
		s.Health = &Health{Port: h.Port, Ready: h.Ready, Live: h.Live, Startup: time.Duration(h.Startup), Interval: time.Duration(h.Interval)}
	}
	if r.Resources.CPULimit != nil {
		s.Resources.CPULimit = r.Resources.CPULimit.Quantity
	}
	if r.Resources.MemoryLimit != nil {
		s.Resources.MemoryLimit = r.Resources.MemoryLimit.Quantity
	}
	if st := r.Stateful; st != nil {
		s.Stateful = &Stateful{Size: st.Size.Quantity, Path: st.Path, StorageClass: st.StorageClass, Reclaim: st.Reclaim}
	}
	if sc := r.Scratch; sc != nil {
		s.Scratch = &Scratch{Size: sc.Size.Quantity, Path: sc.Path}
	}
	if lb := r.LoadBalancer; lb != nil {
		s.LoadBalancer = &LoadBalancer{Deregistration: time.Duration(lb.Deregistration), Internal: lb.Internal, ReadinessGate: lb.ReadinessGate}
	}
	buildReplicas(&s, r, rep, path)
	if r.SLO != nil {
		s.SLO = buildSLO(*r.SLO, rep, path+".slo.availability")
	}
	if r.Spot == "avoid" {
		for i, name := range r.Pools {
			if pool, ok := p.Pool(name); ok && pool.Capacity == Spot {
				rep.report(fmt.Sprintf("%s.pools[%d]", path, i), "name on-demand pools only, or set spot: tolerate", "the service avoids spot, but pool %s is a spot pool", name)
			}
		}
	}
	for _, name := range r.Pools { // fallbacks come after everything that was asked for
		if pool, ok := p.Pool(name); ok && pool.Fallback != "" && !slices.Contains(s.Pools, pool.Fallback) {
			s.Pools = append(s.Pools, pool.Fallback)
		}
	}
	return s
}

func buildReplicas(s *Service, r rawService, rep *reporter, path string) {
	switch {
	case r.Replicas != nil && r.Scaling != nil:
		rep.report(path+".replicas", "keep scaling for a range or replicas for a fixed number", "replicas and scaling cannot both be set")
	case r.Replicas != nil:
		s.Replicas = *r.Replicas
	case r.Scaling == nil:
		rep.report(path, "add replicas: 3, or scaling with min, max and triggers", "neither replicas nor scaling is set")
	default:
		sc := r.Scaling
		s.Replicas = sc.Min
		s.Scaling = &Scaling{
			Min: sc.Min, Max: sc.Max, Cooldown: time.Duration(sc.Cooldown), Poll: time.Duration(sc.Poll),
			Fallback: max(sc.Min, 1), FallbackAfter: sc.FallbackAfter,
		}
		if sc.Fallback != nil {
			s.Scaling.Fallback = *sc.Fallback
		}
		for i, t := range sc.Triggers {
			s.Scaling.Triggers = append(s.Scaling.Triggers, buildTrigger(t, rep, fmt.Sprintf("%s.scaling.triggers[%d]", path, i)))
		}
	}
}

func buildTrigger(r rawTrigger, rep *reporter, path string) Trigger {
	var t Trigger
	kinds := 0
	if r.CPU != nil {
		kinds++
		v := CPUTrigger(*r.CPU)
		t.CPU = &v
	}
	if r.Prometheus != nil {
		kinds++
		v := PrometheusTrigger(*r.Prometheus)
		t.Prometheus = &v
		if f, err := strconv.ParseFloat(v.Threshold, 64); err != nil || !(f > 0) || f > 1e15 {
			rep.report(path+".prometheus.threshold", `write a positive number in quotes, such as "100"`, "%q is not a threshold", clip(v.Threshold))
		}
	}
	if r.Kafka != nil {
		kinds++
		v := KafkaTrigger(*r.Kafka)
		t.Kafka = &v
	}
	if r.NATS != nil {
		kinds++
		v := NATSTrigger(*r.NATS)
		t.NATS = &v
	}
	if r.Cron != nil {
		kinds++
		v := CronTrigger(*r.Cron)
		t.Cron = &v
	}
	if kinds != 1 {
		rep.report(path, "name one of cpu, prometheus, kafka, nats, cron per item of the list", "a trigger has exactly one kind, this has %d", kinds)
	}
	return t
}

func buildSLO(r rawSLO, rep *reporter, path string) *SLO {
	percent, err := strconv.ParseFloat(r.Availability, 64)
	if err != nil || !(percent >= 50 && percent < 100) {
		rep.report(path, `write a percentage in quotes, such as "99.9"`, "%q is not an availability from 50 up to, but without, 100", clip(r.Availability))
	}
	if (r.Total == "") != (r.Failed == "") {
		rep.report(path, "give both total and failed, or neither", "one of the two counters is missing")
	}
	return &SLO{Availability: percent / 100, Total: r.Total, Failed: r.Failed}
}
