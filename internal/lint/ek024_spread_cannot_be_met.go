package lint

import (
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func spreadCannotBeMet() Rule {
	return Rule{
		ID:       "EK024",
		Title:    "hard placement rule that the pools cannot meet",
		Severity: Error,
		Why: `` + "`DoNotSchedule`" + ` and required anti-affinity leave a pod Pending rather than place it badly. How many pods they admit
follows from the zones and nodes of the pools: a required anti-affinity over zones admits one pod a zone; a spread with
` + "`minDomains`" + ` above the number of zones admits ` + "`maxSkew`" + ` a zone. A rule that just fits leaves pods Pending when a
zone is lost, which on spot is an ordinary day, and then the finding is a warning. So it is where the lost zone still
has nodes of a tainted pool: the scheduler goes on counting them as a domain with no pods unless
` + "`nodeTaintsPolicy: Honor`" + ` is set, and then admits no pod anywhere else.`,
		Remedy: "Use `ScheduleAnyway` or a higher `maxSkew`, drop `minDomains`, set `nodeTaintsPolicy: Honor`, or give the pools another zone.",
		Bad: `apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: general}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: general}
      requirements:
        - {key: topology.kubernetes.io/zone, operator: In, values: [us-east-1a, us-east-1b, us-east-1c]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: matcher}
spec:
  replicas: 5
  selector: {matchLabels: {app: matcher}}
  template:
    metadata: {labels: {app: matcher}}
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - topologyKey: topology.kubernetes.io/zone # EK024
              labelSelector: {matchLabels: {app: matcher}}
      containers: [{name: matcher, image: matcher}]
`,
		Good: `apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: general}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: general}
      requirements:
        - {key: topology.kubernetes.io/zone, operator: In, values: [us-east-1a, us-east-1b, us-east-1c]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: matcher}
spec:
  replicas: 5
  selector: {matchLabels: {app: matcher}}
  template:
    metadata: {labels: {app: matcher}}
    spec:
      topologySpreadConstraints:
        - topologyKey: topology.kubernetes.io/zone
          maxSkew: 1
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: matcher}}
      containers: [{name: matcher, image: matcher}]
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if !a.Replicated() {
					continue
				}
				for i := range a.Pod.Spread {
					if s := &a.Pod.Spread[i]; s.Selector.Matches(a.Pod.Labels) && s.WhenUnsatisfiable.Or("DoNotSchedule") == "DoNotSchedule" {
						out = append(out, checkSpread(t, a, s)...)
					}
				}
				for i := range a.Pod.AntiAffinity {
					if term := &a.Pod.AntiAffinity[i]; term.Required && term.Selector.Matches(a.Pod.Labels) {
						out = append(out, checkAntiAffinity(a, term)...)
					}
				}
			}
			return out
		},
	}
}

func checkSpread(t *Target, a *App, s *manifest.Spread) []Finding {
	zones := len(a.Placement.Zones)
	if !isZone(s.TopologyKey) || zones == 0 {
		return nil
	}
	domains, skew := s.MinDomains.Or(1), s.MaxSkew.Or(1)
	switch {
	case domains > zones && a.Floor() > zones*skew:
		return []Finding{at(&a.Meta, s.Pos, "minDomains %d in %d zones admits %d pods; %s has %d", domains, zones, zones*skew, a.Name, a.Floor())}
	case !a.Placement.OnSpot():
		return nil
	case zones > 1 && domains > zones-1 && s.MinDomains.Set && a.Floor() > (zones-1)*skew:
		f := at(&a.Meta, s.Pos, "when one of %d zones is lost, minDomains %d admits %d pods; %s has %d", zones, domains, (zones-1)*skew, a.Name, a.Floor())
		f.Severity = Warning
		return []Finding{f}
	case s.NodeTaintsPolicy != "Honor":
		if pool := tainted(t, a); pool != nil && zones > 1 {
			f := at(&a.Meta, s.Pos, "when a zone loses its spot nodes, the nodes of the tainted pool %s still count as an empty zone and no pod is placed elsewhere; set nodeTaintsPolicy: Honor", pool.Name)
			f.Severity = Warning
			return []Finding{f}
		}
	}
	return nil
}

// tainted returns a pool whose nodes count as domains for the app's spread
// constraints although the app cannot run on them.
func tainted(t *Target, a *App) *manifest.Pool {
	for _, pool := range t.Pools {
		if !wanted(pool, &a.Pod) || untolerated(pool, &a.Pod) == nil {
			continue
		}
		if slices.ContainsFunc(pool.Zones, func(z string) bool { return slices.Contains(a.Placement.Zones, z) }) {
			return pool
		}
	}
	return nil
}

func checkAntiAffinity(a *App, term *manifest.AntiAffinity) []Finding {
	zones := len(a.Placement.Zones)
	switch {
	case isZone(term.TopologyKey) && zones > 0 && a.Floor() > zones:
		return []Finding{at(&a.Meta, term.Pos, "one pod a zone in %d zones admits %d pods; %s has %d", zones, zones, a.Name, a.Floor())}
	case isZone(term.TopologyKey) && zones > 0 && a.Floor() == zones && a.Placement.OnSpot():
		f := at(&a.Meta, term.Pos, "one pod a zone leaves no zone for a replacement: %d replicas in %d zones", a.Floor(), zones)
		f.Severity = Warning
		return []Finding{f}
	case term.TopologyKey == manifest.LabelHostname:
		if nodes, known := maxNodes(a.Placement.Pools); known && a.Floor() > nodes {
			return []Finding{at(&a.Meta, term.Pos, "one pod a node; %s has %d replicas, its pools at most %d nodes", a.Name, a.Floor(), nodes)}
		}
	}
	return nil
}

// maxNodes returns the most nodes that pools can have together.
func maxNodes(pools []*manifest.Pool) (total int, known bool) {
	for _, p := range pools {
		if !p.MaxNodes.Set {
			return 0, false
		}
		total += p.MaxNodes.Value
	}
	return total, len(pools) > 0
}
