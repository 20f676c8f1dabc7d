package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check reports every contradiction between fields that are each well formed.
func (p *Platform) check(rep *reporter) {
	p.checkCluster(rep)
	unique(rep, "pools", len(p.Pools), func(i int) string { return p.Pools[i].Name })
	unique(rep, "services", len(p.Services), func(i int) string { return p.Services[i].Name })
	for i, pool := range p.Pools {
		p.checkPool(rep, fmt.Sprintf("pools[%d]", i), pool)
	}
	for i, s := range p.Services {
		path := fmt.Sprintf("services[%d]", i)
		p.checkPorts(rep, path, s)
		p.checkReplicas(rep, path, s)
		p.checkSpread(rep, path, s)
		p.checkDrain(rep, path, s)
		p.checkReferences(rep, path, s)
	}
}

func (p *Platform) checkCluster(rep *reporter) {
	c := p.Cluster
	unique(rep, "cluster.zones", len(c.Zones), func(i int) string { return c.Zones[i] })
	for i, z := range c.Zones {
		if c.Provider == AWS && (!strings.HasPrefix(z, c.Region) || len(z) != len(c.Region)+1) {
			rep.report(fmt.Sprintf("cluster.zones[%d]", i), fmt.Sprintf("write a zone such as %sa, or change the region", c.Region), "%s is not a zone of %s", z, c.Region)
		}
	}
	if minor, _ := strconv.Atoi(strings.TrimPrefix(c.Kubernetes, "1.")); minor < 30 {
		rep.report("cluster.kubernetes", `write "1.30" or later`, "%s has no native preStop sleep and does not honour taints in spread constraints", c.Kubernetes)
	}
	// The longest name made from it is a Lambda role, <name>-interruption-handler-<suffix>, of at most 64 characters.
	if len(c.Name) > 32 {
		rep.report("cluster.name", "shorten it to 32 characters", "%q has %d characters and is a prefix of names that are limited", c.Name, len(c.Name))
	}
}

func (p *Platform) checkPool(rep *reporter, path string, pool Pool) {
	if len(pool.Name) > 35 { // it is a prefix of the node group's name
		rep.report(path+".name", "shorten it to 35 characters", "%q has %d characters", pool.Name, len(pool.Name))
	}
	switch {
	case len(pool.InstanceTypes) > 0 && pool.Requirements != nil:
		rep.report(path+".requirements", "keep one of the two", "instanceTypes and requirements cannot both be set")
	case len(pool.InstanceTypes) == 0 && pool.Requirements == nil:
		rep.report(path, "add instanceTypes: [m5.large, m5a.large]", "neither instanceTypes nor requirements is set")
	case pool.Requirements != nil && (!p.Cluster.Karpenter || pool.Capacity == OnDemand):
		rep.report(path+".requirements", "name instanceTypes, or set cluster.provisioner: karpenter and capacity: spot", "a managed node group needs its instance types by name")
	case pool.Requirements != nil && pool.Requirements.MinCPU > pool.Requirements.MaxCPU:
		rep.report(path+".requirements.minCPU", "swap them", "minCPU %d is more than maxCPU %d", pool.Requirements.MinCPU, pool.Requirements.MaxCPU)
	}
	unique(rep, path+".instanceTypes", len(pool.InstanceTypes), func(i int) string { return pool.InstanceTypes[i] })
	for i, t := range pool.InstanceTypes {
		if arch := architectureOf(p.Cluster.Provider, t); arch != pool.Architecture {
			rep.report(fmt.Sprintf("%s.instanceTypes[%d]", path, i), "name types of one architecture, or set architecture: "+arch, "%s is %s and the pool is %s", t, arch, pool.Architecture)
		}
	}
	unique(rep, path+".zones", len(pool.Zones), func(i int) string { return pool.Zones[i] })
	if len(pool.InstanceTypes) > 40 {
		rep.report(path+".instanceTypes", "keep 40, spread over families and sizes", "%d instance types are more than a launch template override list can hold", len(pool.InstanceTypes))
	}
	for i, z := range pool.Zones {
		if !slices.Contains(p.Cluster.Zones, z) {
			rep.report(fmt.Sprintf("%s.zones[%d]", path, i), "add it to cluster.zones, or name one of: "+strings.Join(p.Cluster.Zones, ", "), "%s is not a zone of the cluster", z)
		}
	}
	if pool.Min > pool.Desired || pool.Desired > pool.Max {
		rep.report(path+".size", "write them so that min <= desired <= max", "min %d, desired %d and max %d are not in order", pool.Min, pool.Desired, pool.Max)
	}
	for _, key := range sortedKeys(pool.Labels) {
		if key == "evenkeel.dev/pool" || strings.HasPrefix(key, "karpenter.sh/") || strings.HasPrefix(key, "eks.amazonaws.com/") || key == "topology.kubernetes.io/zone" {
			rep.report(path+".labels."+key, "remove the line", "the label %s is set by Evenkeel or the cloud", key)
		}
	}
	if pool.Fallback == "" {
		return
	}
	f, ok := p.Pool(pool.Fallback)
	switch {
	case pool.Capacity == OnDemand:
		rep.report(path+".fallback", "remove the line", "an on-demand pool needs no fallback")
	case !ok:
		rep.report(path+".fallback", p.suggestPool(pool.Fallback), "there is no pool %s", pool.Fallback)
	case f.Capacity == Spot:
		rep.report(path+".fallback", "name an on-demand pool", "pool %s is a spot pool, and goes with the same shortage", f.Name)
	case f.Architecture != pool.Architecture:
		rep.report(path+".fallback", "use one architecture for both", "pool %s is %s and its fallback %s is %s", pool.Name, pool.Architecture, f.Name, f.Architecture)
	}
}

var graviton = regexp.MustCompile(`^([a-z]+[0-9]+g|a1\.)`) // m7g.large, c6gn.xlarge, im4gn.large

// architectureOf returns an instance type's processor architecture, which AWS
// writes into the family: a g straight after the generation.
func architectureOf(_ Provider, instanceType string) string {
	if graviton.MatchString(instanceType) {
		return "arm64"
	}
	return "amd64"
}

func (p *Platform) checkPorts(rep *reporter, path string, s Service) {
	unique(rep, path+".ports", len(s.Ports), func(i int) string { return s.Ports[i].Name })
	unique(rep, path+".ports", len(s.Ports), func(i int) string { return strconv.Itoa(s.Ports[i].Port) })
	for i, port := range s.Ports {
		if len(port.Name) > 15 {
			rep.report(fmt.Sprintf("%s.ports[%d].name", path, i), "shorten it to 15 characters", "%q is too long for the name of a port", port.Name)
		}
	}
	if len(s.Ports) > 0 && s.Health == nil {
		rep.report(path, "add health: with port and ready", "it has ports but no health check, so traffic would reach it before it is ready and after it stops")
	}
	if s.LoadBalancer != nil && len(s.Ports) == 0 {
		rep.report(path+".loadBalancer", "add ports:", "there is no port to balance")
	}
	if _, ok := s.Env["EVENKEEL_GRACE_SECONDS"]; ok {
		rep.report(path+".env.EVENKEEL_GRACE_SECONDS", "remove the line; set drain.grace", "it is made from drain.grace")
	}
}

func (p *Platform) checkReplicas(rep *reporter, path string, s Service) {
	a := s.Availability
	if a.MinAvailable == nil && a.MaxUnavailable == nil {
		rep.report(path+".availability", "add minAvailable: 1 or maxUnavailable: 25%", "neither limit is set")
		return
	}
	if s.Scaling == nil && s.Replicas == 0 {
		rep.report(path+".replicas", "write 1 or more, or use scaling with min: 0", "a fixed number of 0 replicas never runs")
		return
	}
	if a.MinAvailable != nil {
		if need := a.MinAvailable.Of(max(s.Replicas, 1)); need > s.Replicas {
			fix := fmt.Sprintf("lower minAvailable to %d, or raise the replicas to %d", s.Replicas, need)
			if s.Scaling != nil && s.Scaling.Min == 0 {
				fix = "set minAvailable: 0, or scaling.min: " + strconv.Itoa(need)
			}
			rep.report(path+".availability.minAvailable", fix, "%s can never be satisfied by %d replicas", a.MinAvailable, s.Replicas)
		}
	}
	if s.Recreate && s.Stateful != nil {
		rep.report(path+".strategy", "remove the line", "a stateful service always ends a replica before it starts the new one")
	}
	if s.Scratch != nil && s.Stateful != nil && s.Scratch.Path == s.Stateful.Path {
		rep.report(path+".scratch.path", "choose another folder", "%s is where its volume is mounted", s.Stateful.Path)
	}
	if !s.Handoff && p.blocksEveryDrain(s) {
		rep.report(path+".availability", "let one replica go: maxUnavailable: 1 with more replicas than minAvailable, or allow handoff", "no replica may ever leave, and without handoff none can be replaced first")
	}
	sc := s.Scaling
	if sc == nil {
		return
	}
	if sc.Min > sc.Max {
		rep.report(path+".scaling.min", "write min <= max", "min %d is more than max %d", sc.Min, sc.Max)
	}
	if sc.Fallback > sc.Max {
		rep.report(path+".scaling.fallback", fmt.Sprintf("write at most %d", sc.Max), "the fallback of %d is more than max %d", sc.Fallback, sc.Max)
	}
	cpuOnly := true
	for i, t := range sc.Triggers {
		cpuOnly = cpuOnly && t.CPU != nil
		if t.Cron != nil && t.Cron.Replicas > sc.Max {
			rep.report(fmt.Sprintf("%s.scaling.triggers[%d].cron.replicas", path, i), fmt.Sprintf("write at most %d", sc.Max), "%d is more than max %d", t.Cron.Replicas, sc.Max)
		}
	}
	if sc.Min == 0 && cpuOnly {
		rep.report(path+".scaling.min", "write min: 1, or add a trigger that sees waiting work", "a sleeping service uses no processor, so cpu alone never wakes it")
	}
	if sc.Min == 0 && s.Stateful != nil {
		rep.report(path+".scaling.min", "write min: 1 or more", "a stateful service cannot sleep: its replicas hold the state")
	}
}

// blocksEveryDrain reports whether the limits let no replica go at the floor.
func (p *Platform) blocksEveryDrain(s Service) bool {
	n := s.Replicas
	a := s.Availability
	return n > 0 && (a.MinAvailable != nil && a.MinAvailable.Of(n) >= n || a.MaxUnavailable != nil && a.MaxUnavailable.Of(n) == 0)
}

func (p *Platform) checkSpread(rep *reporter, path string, s Service) {
	zones := make(map[string]bool)
	for _, name := range s.Pools {
		pool, _ := p.Pool(name)
		for _, z := range pool.Zones {
			zones[z] = true
		}
	}
	if s.ZoneSpread.Strict && len(zones) == 1 && s.Ceiling() > s.ZoneSpread.MaxSkew {
		rep.report(path+".spread.zones.strict", "give the pools more zones, or remove strict", "all pools of the service lie in one zone")
	}
}

// checkDrain compares the times with each other and with the cloud's notice.
func (p *Platform) checkDrain(rep *reporter, path string, s Service) {
	d := s.Drain
	switch {
	case d.PreStop == PreStopHTTP && (d.Path == "" || s.Health == nil):
		rep.report(path+".drain.preStop", "add drain.path and health.port", "preStop http needs a path and a port to call")
	case d.PreStop != PreStopHTTP && d.Path != "":
		rep.report(path+".drain.path", "set preStop: http, or remove the path", "the path is not used by preStop %s", d.PreStop)
	}
	if d.PreStop != PreStopNone && d.Delay >= d.Grace {
		rep.report(path+".drain.grace", fmt.Sprintf("write more than %s, or shorten the delay", short(d.Delay)), "the delay of %s leaves nothing of the grace of %s: SIGKILL comes before SIGTERM has been served", short(d.Delay), short(d.Grace))
	}
	if !p.onSpot(s) {
		return
	}
	notice := p.Cluster.Provider.Notice()
	if d.Grace+p.Policies.Margin > notice {
		rep.report(path+".drain.grace", fmt.Sprintf("write at most %s, or keep the service on on-demand pools", short(notice-p.Policies.Margin)), "a grace of %s and the margin of %s do not fit into the %s that %s gives before a spot machine goes", short(d.Grace), short(p.Policies.Margin), short(notice), p.Cluster.Provider)
	}
	if lb := s.LoadBalancer; lb != nil && lb.Deregistration > d.Grace {
		rep.report(path+".loadBalancer.deregistration", fmt.Sprintf("write at most %s", short(d.Grace)), "the load balancer still sends requests %s after the pod was asked to end, but the pod is killed after %s", short(lb.Deregistration), short(d.Grace))
	}
}

func (p *Platform) onSpot(s Service) bool {
	return slices.ContainsFunc(s.Pools, func(name string) bool {
		pool, ok := p.Pool(name)
		return ok && pool.Capacity == Spot
	})
}

func (p *Platform) checkReferences(rep *reporter, path string, s Service) {
	arch := ""
	for i, name := range s.Pools {
		pool, ok := p.Pool(name)
		at := fmt.Sprintf("%s.pools[%d]", path, i)
		switch {
		case !ok && slices.IndexFunc(p.Pools, func(q Pool) bool { return q.Fallback == name }) < 0:
			rep.report(at, p.suggestPool(name), "there is no pool %s", name)
		case ok && arch != "" && pool.Architecture != arch:
			rep.report(at, "use pools of one architecture, or two services", "pool %s is %s, the pools before it are %s", name, pool.Architecture, arch)
		case ok:
			arch = pool.Architecture
		}
	}
	for i, name := range s.Connects {
		other, ok := p.Service(name)
		at := fmt.Sprintf("%s.connects[%d]", path, i)
		switch {
		case !ok:
			names := make([]string, len(p.Services))
			for j := range p.Services {
				names[j] = p.Services[j].Name
			}
			fix := "name one of: " + strings.Join(names, ", ")
			if near := nearest(name, names); near != "" {
				fix = "did you mean " + near + "?"
			}
			rep.report(at, fix, "there is no service %s", name)
		case len(other.Ports) == 0:
			rep.report(at, "add ports to "+name, "service %s has no port to connect to", name)
		}
	}
}

func (p *Platform) suggestPool(name string) string {
	names := make([]string, len(p.Pools))
	for i := range p.Pools {
		names[i] = p.Pools[i].Name
	}
	if near := nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "name one of: " + strings.Join(names, ", ")
}

func unique(rep *reporter, path string, n int, key func(int) string) {
	seen := make(map[string]int, n)
	for i := range n {
		k := key(i)
		if j, ok := seen[k]; ok {
			rep.report(fmt.Sprintf("%s[%d]", path, i), "keep one of the two", "%s is already %s[%d]", k, path, j)
			continue
		}
		seen[k] = i
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// short writes a duration as a user would: 2m and not 2m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
