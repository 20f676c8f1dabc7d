package lint

import "github.com/evenkeel-dev/evenkeel/internal/lint/manifest"

// fewTypes is the number of instance types below which a spot pool depends on
// the fate of one or two: with three, the loss of one leaves a choice.
const fewTypes = 3

func fewInstanceTypes() Rule {
	return Rule{
		ID:       "EK040",
		Title:    "spot pool of too few instance types",
		Severity: Warning,
		Why: `Each instance type in each zone is a market of its own. A pool with one or two types has nothing else to buy when
they are short, which is when they are also being reclaimed. The price-capacity-optimized strategy chooses between
types; with one there is no choice.

For a Karpenter pool that may also buy on-demand the finding is an info: it pays, but does not stop.`,
		Remedy:    "List at least three types, better ten, of the same size: generations (m5, m6i, m7i), makers (m5a, m7g) and families (c, r) count.",
		Terraform: true,
		Bad: `resource "aws_eks_node_group" "engine" {
  cluster_name   = "mib"
  node_role_arn  = "arn:aws:iam::123456789012:role/node"
  subnet_ids     = ["subnet-a", "subnet-b", "subnet-c"]
  capacity_type  = "SPOT"
  instance_types = ["c5.xlarge"] # EK040
}
`,
		Good: `resource "aws_eks_node_group" "engine" {
  cluster_name   = "mib"
  node_role_arn  = "arn:aws:iam::123456789012:role/node"
  subnet_ids     = ["subnet-a", "subnet-b", "subnet-c"]
  capacity_type  = "SPOT"
  instance_types = ["c5.xlarge", "c5a.xlarge", "c6i.xlarge", "c6a.xlarge", "c7i.xlarge"]
}
`,
		Check: func(t *Target) (out []Finding) {
			for _, p := range t.Pools {
				n := len(p.InstanceTypes)
				if !p.MayBe(manifest.Spot) || n == 0 || n >= fewTypes {
					continue
				}
				f := at(&p.Meta, p.InstancePos, "spot pool %s buys only %s", p.Name, listed(p.InstanceTypes))
				if !p.OnlySpot() {
					f.Severity = Info
				}
				out = append(out, f)
			}
			return out
		},
	}
}

func listed(s []string) string {
	if len(s) == 2 {
		return s[0] + " and " + s[1]
	}
	return s[0]
}
