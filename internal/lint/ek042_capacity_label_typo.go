package lint

import (
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func capacityLabelTypo() Rule {
	return Rule{
		ID:       "EK042",
		Title:    "capacity type that no node has",
		Severity: Error,
		Why: `Karpenter writes ` + "`karpenter.sh/capacity-type: spot`, EKS `eks.amazonaws.com/capacityType: SPOT`" + `. Keys and values are
compared letter by letter: with the wrong case or a dash for an underscore a node selector leaves the pods Pending, and
a preference or a NotIn quietly does nothing, so that a database ends up on spot.`,
		Remedy: "Write the value as the table of its provider has it. `--fix` corrects a value that differs only in case or separator.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: ingest}
spec:
  selector: {matchLabels: {app: ingest}}
  template:
    metadata: {labels: {app: ingest}}
    spec:
      nodeSelector:
        karpenter.sh/capacity-type: on_demand # EK042
      containers: [{name: ingest, image: ingest}]
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: ingest}
spec:
  selector: {matchLabels: {app: ingest}}
  template:
    metadata: {labels: {app: ingest}}
    spec:
      nodeSelector:
        karpenter.sh/capacity-type: on-demand
      containers: [{name: ingest, image: ingest}]
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				for _, kv := range a.Pod.NodeSelector {
					out = append(out, checkCapacityLabel(&a.Meta, kv.Key, kv.Pos, []manifest.Field[string]{{Value: kv.Value, Pos: kv.Pos}})...)
				}
				for _, terms := range [][][]manifest.Requirement{a.Pod.NodeTerms, a.Pod.PreferredNodes} {
					for _, term := range terms {
						out = append(out, checkRequirements(&a.Meta, term)...)
					}
				}
			}
			for _, p := range t.Pools {
				out = append(out, checkRequirements(&p.Meta, p.Requirements)...)
			}
			return out
		},
	}
}

// capacityValues are the values that the owner of each label writes.
func capacityValues(key string) []string {
	switch key {
	case manifest.LabelCapacity:
		return []string{"spot", "on-demand", "reserved"}
	case manifest.LabelEKSCapacity:
		return []string{"SPOT", "ON_DEMAND", "CAPACITY_BLOCK"}
	case manifest.LabelGKESpot, manifest.LabelGKEPreempt:
		return []string{"true"}
	case manifest.LabelAKSPriority:
		return []string{"spot", "regular"}
	}
	return nil
}

func checkRequirements(m *manifest.Meta, reqs []manifest.Requirement) (out []Finding) {
	for i := range reqs {
		out = append(out, checkCapacityLabel(m, reqs[i].Key, reqs[i].Pos, reqs[i].Values)...)
	}
	return out
}

func checkCapacityLabel(m *manifest.Meta, key string, pos manifest.Pos, values []manifest.Field[string]) (out []Finding) {
	known := capacityValues(key)
	if known == nil {
		for _, right := range []string{manifest.LabelCapacity, manifest.LabelEKSCapacity, manifest.LabelGKESpot, manifest.LabelAKSPriority} {
			if squash(key) == squash(right) {
				return []Finding{at(m, pos, "no node has the label %s; it is written %s", key, right)}
			}
		}
		return nil
	}
	for _, v := range values {
		if slices.Contains(known, v.Value) || strings.Contains(v.Value, "${") {
			continue
		}
		f := at(m, v.Pos, "no node has %s=%s; the values are %s", key, v.Value, strings.Join(known, ", "))
		for _, right := range known {
			if squash(v.Value) == squash(right) {
				f.Fix = replaceAt(v.Pos, v.Value, right)
			}
		}
		out = append(out, f)
	}
	return out
}

// squash drops what people get wrong in names: case and separators.
func squash(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_. ", r) {
			return -1
		}
		return r
	}, strings.ToLower(s))
}
