package lint

import (
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// A Certainty is how sure the input makes us.
type Certainty int

// The certainties.
const (
	No Certainty = iota
	Maybe
	Yes
)

// A Placement is where the pods of a workload can run, as far as the input
// tells.
type Placement struct {
	Spot  Certainty
	Why   string // what in the input says so, for messages
	Cloud manifest.Cloud
	// Pools are those of the input that can host the pods.
	Pools []*manifest.Pool
	// Zones are those that the pods can run in; nil where that is not known.
	Zones []string
}

// OnSpot reports whether the workload runs or may run on spot.
func (p *Placement) OnSpot() bool { return p.Spot != No }

// Notice returns the seconds between the notice and the end of the machine, and
// whether the cloud is known. Where it is not, the longest notice that any
// cloud gives is the answer under which a finding is certain.
func (p *Placement) Notice() (seconds int, known bool) {
	switch p.Cloud {
	case manifest.AWS:
		return 120, true
	case manifest.GCP, manifest.Azure:
		return 30, true
	}
	return 120, false
}

// place decides where a workload can run.
func (t *Target) place(w *manifest.Workload) Placement {
	p := Placement{Cloud: t.Options.Cloud}
	for _, pool := range t.Pools {
		if admits(pool, &w.Pod) {
			p.Pools = append(p.Pools, pool)
		}
	}
	cloud := cloudOf(&w.Pod)
	for _, pool := range p.Pools {
		cloud = firstCloud(cloud, pool.Cloud)
	}
	p.Cloud = firstCloud(cloud, p.Cloud)
	p.Zones = zones(&w.Pod, p.Pools)

	capacity, why := askedCapacity(&w.Pod)
	switch {
	case capacity == manifest.Spot:
		p.Spot, p.Why = Yes, why
	case capacity == manifest.OnDemand:
		p.Spot, p.Why = No, why
	default:
		p.Spot, p.Why = t.openPlacement(w, p.Pools)
	}
	return p
}

// openPlacement decides for a workload that does not itself ask for a capacity
// type.
func (t *Target) openPlacement(w *manifest.Workload, pools []*manifest.Pool) (Certainty, string) {
	spot, other := (*manifest.Pool)(nil), false
	for _, pool := range pools {
		if pool.MayBe(manifest.Spot) && spot == nil {
			spot = pool
		}
		other = other || !pool.OnlySpot()
	}
	switch {
	case spot != nil && !other:
		return Yes, "only the spot pool " + spot.Name + " takes it"
	case spot != nil:
		return Maybe, "the pool " + spot.Name + " takes it"
	case len(pools) > 0:
		return No, "pool " + pools[0].Name
	}
	for i := range w.Pod.Tolerations {
		if tol := &w.Pod.Tolerations[i]; namesSpot(tol.Key, tol.Value) {
			return Maybe, "it tolerates the taint " + tol.Key
		}
	}
	for _, term := range w.Pod.PreferredNodes {
		if capacityOfTerm(term) == manifest.Spot {
			return Maybe, "it prefers spot nodes"
		}
	}
	if t.Options.AssumeSpot {
		return Maybe, "assumed"
	}
	return No, ""
}

// askedCapacity returns the capacity type that a pod requires of its nodes, ""
// where it leaves that open.
func askedCapacity(pod *manifest.Pod) (capacity, why string) {
	for _, kv := range pod.NodeSelector {
		if c := capacityOf(kv.Key, kv.Value); c != "" {
			return c, "nodeSelector " + kv.Key + "=" + kv.Value
		}
	}
	// The terms are alternatives: only what all of them ask for is required.
	for i, term := range pod.NodeTerms {
		c := capacityOfTerm(term)
		if c == "" || i > 0 && c != capacity {
			return "", ""
		}
		capacity, why = c, "node affinity"
	}
	return capacity, why
}

// capacityOfTerm returns the one capacity type that the expressions of a term
// admit, "" where they admit both or do not say.
func capacityOfTerm(term []manifest.Requirement) string {
	for i := range term {
		r := &term[i]
		spot, onDemand := false, false
		switch r.Operator {
		case "In", "NotIn":
			for _, v := range r.Values {
				switch capacityOf(r.Key, v.Value) {
				case manifest.Spot:
					spot = true
				case manifest.OnDemand:
					onDemand = true
				}
			}
			if r.Operator == "NotIn" {
				spot, onDemand = onDemand, spot
			}
		case "Exists":
			spot = r.Key == manifest.LabelGKESpot || r.Key == manifest.LabelGKEPreempt
		case "DoesNotExist":
			onDemand = r.Key == manifest.LabelGKESpot || r.Key == manifest.LabelGKEPreempt
		}
		if spot != onDemand {
			if spot {
				return manifest.Spot
			}
			return manifest.OnDemand
		}
	}
	return ""
}

// capacityOf reads a node label that says how a node is paid for.
func capacityOf(key, value string) string {
	v := strings.ToLower(strings.ReplaceAll(value, "_", "-"))
	switch key {
	case manifest.LabelCapacity, manifest.LabelEKSCapacity, "node.kubernetes.io/lifecycle", "node-lifecycle", "lifecycle", "capacity-type":
		switch v {
		case "spot", "ec2spot":
			return manifest.Spot
		case "on-demand", "ondemand", "normal":
			return manifest.OnDemand
		}
	case manifest.LabelGKESpot, manifest.LabelGKEPreempt:
		if v == "true" {
			return manifest.Spot
		}
		return manifest.OnDemand
	case "cloud.google.com/gke-provisioning":
		switch v {
		case "spot", "preemptible":
			return manifest.Spot
		case "standard":
			return manifest.OnDemand
		}
	case manifest.LabelAKSPriority:
		switch v {
		case "spot":
			return manifest.Spot
		case "regular":
			return manifest.OnDemand
		}
	}
	return ""
}

// namesSpot reports whether a taint is one by which people keep pods off spot.
func namesSpot(key, value string) bool {
	if capacityOf(key, value) == manifest.Spot {
		return true
	}
	name := key[strings.LastIndexByte(key, '/')+1:]
	for word := range strings.FieldsFuncSeq(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		if word == "spot" || word == "preemptible" || word == "spotinstance" {
			return !strings.EqualFold(value, "false")
		}
	}
	return false
}

// cloudOf reads the cloud from the node labels and taints that a pod names.
func cloudOf(pod *manifest.Pod) manifest.Cloud {
	var keys []string
	for _, kv := range pod.NodeSelector {
		keys = append(keys, kv.Key)
	}
	for _, terms := range [][][]manifest.Requirement{pod.NodeTerms, pod.PreferredNodes} {
		for _, term := range terms {
			for i := range term {
				keys = append(keys, term[i].Key)
			}
		}
	}
	for i := range pod.Tolerations {
		keys = append(keys, pod.Tolerations[i].Key)
	}
	for _, key := range keys {
		domain, _, _ := strings.Cut(key, "/")
		switch {
		case domain == "eks.amazonaws.com" || domain == "karpenter.k8s.aws" || domain == "k8s.amazonaws.com":
			return manifest.AWS
		case domain == "cloud.google.com":
			return manifest.GCP
		case domain == "kubernetes.azure.com":
			return manifest.Azure
		}
	}
	return ""
}

func firstCloud(clouds ...manifest.Cloud) manifest.Cloud {
	for _, c := range clouds {
		if c != "" {
			return c
		}
	}
	return ""
}

// zones returns the zones that a pod can run in: those that it asks for, or
// those of its pools if all of them tell theirs.
func zones(pod *manifest.Pod, pools []*manifest.Pool) []string {
	for _, kv := range pod.NodeSelector {
		if isZone(kv.Key) {
			return []string{kv.Value}
		}
	}
	var asked []string
	for _, term := range pod.NodeTerms {
		found := false
		for j := range term {
			if isZone(term[j].Key) && term[j].Operator == "In" {
				found = true
				for _, v := range term[j].Values {
					asked = append(asked, v.Value)
				}
			}
		}
		if !found {
			asked = nil
			break
		}
	}
	if len(asked) > 0 {
		slices.Sort(asked)
		return slices.Compact(asked)
	}
	var all []string
	for _, pool := range pools {
		if len(pool.Zones) == 0 {
			return nil
		}
		all = append(all, pool.Zones...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func isZone(key string) bool { return key == manifest.LabelZone || key == manifest.LabelZoneOld }
