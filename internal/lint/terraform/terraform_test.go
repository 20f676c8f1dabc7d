package terraform

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func decode(t *testing.T, text string) *manifest.Set {
	t.Helper()
	set, errs := Decode([]File{{Name: "main.tf", Text: []byte(text)}})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	return set
}

// describe puts what rules read of a pool in a line.
func describe(p *manifest.Pool) string {
	var taints []string
	for _, t := range p.Taints {
		taints = append(taints, t.Key+"="+t.Value+":"+t.Effect)
	}
	return fmt.Sprintf("%s %s %v %v zones=%v subnet=%q taints=%v pool=%q known=%v max=%d at %d", p.Cloud, p.Name, p.Capacity, p.InstanceTypes, p.Zones, p.OneSubnet, taints, p.Labels.Get("pool"), p.LabelsKnown, p.MaxNodes.Value, p.Pos.Line)
}

func TestPools(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"node group by variables and locals", `
variable "types" { default = ["m5.large", "m5a.large"] }
locals {
  all  = concat(var.types, local.more)
  more = ["m6i.large"]
}
resource "aws_eks_node_group" "g" {
  node_group_name = "gateway"
  capacity_type   = "SPOT"
  instance_types  = local.all
  subnet_ids      = [aws_subnet.a.id]
  labels          = { pool = "gateway", zone = aws_subnet.a.zone }
  taint {
    key    = "spot"
    value  = "true"
    effect = "NO_SCHEDULE"
  }
  scaling_config {
    min_size     = 2
    desired_size = 3
    max_size     = 10
  }
}`, `aws gateway [spot] [m5.large m5a.large m6i.large] zones=[] subnet="one subnet" taints=[spot=true:NoSchedule] pool="gateway" known=false max=10 at 7`},
		{"capacity that is not known", `resource "aws_eks_node_group" "g" { capacity_type = var.capacity }`,
			`aws g [] [] zones=[] subnet="" taints=[] pool="" known=true max=0 at 1`},
		{"default capacity", `resource "aws_eks_node_group" "g" { subnet_ids = var.subnets[*].id }`,
			`aws g [on-demand] [] zones=[] subnet="" taints=[] pool="" known=true max=0 at 1`},
		{"one for each zone", `resource "aws_eks_node_group" "g" {
  for_each      = var.zones
  capacity_type = "SPOT"
  subnet_ids    = [each.value]
}`, `aws g [spot] [] zones=[] subnet="" taints=[] pool="" known=true max=0 at 1`},
		{"for_each over a local, dynamic taints", `
locals {
  groups = {
    engine = { capacity = "SPOT", types = ["c5.large"], taints = [{ key = "pool", value = "engine", effect = "NO_SCHEDULE" }] }
  }
}
resource "aws_eks_node_group" "g" {
  for_each               = local.groups
  node_group_name_prefix = "${each.key}-"
  capacity_type          = each.value.capacity
  instance_types         = each.value.types
  subnet_ids             = [for z in each.value.zones : var.subnets[z]]
  dynamic "taint" {
    for_each = each.value.taints
    content {
      key    = taint.value.key
      value  = taint.value.value
      effect = taint.value.effect
    }
  }
}`, `aws engine [spot] [c5.large] zones=[] subnet="" taints=[pool=engine:NoSchedule] pool="" known=true max=0 at 7`},
		{"mixed instances", `resource "aws_autoscaling_group" "g" {
  max_size           = 6
  availability_zones = ["us-east-1a"]
  mixed_instances_policy {
    instances_distribution { on_demand_percentage_above_base_capacity = 0 }
    launch_template {
      override { instance_type = "c5.large" }
      override { instance_type = "c5a.large" }
    }
  }
}`, `aws g [spot] [c5.large c5a.large] zones=[us-east-1a] subnet="" taints=[] pool="" known=false max=6 at 1`},
		{"EKS module", `module "eks" {
  eks_managed_node_groups = {
    spot = {
      capacity_type  = "SPOT"
      instance_types = ["m5.large"]
      labels         = { pool = "x" }
      taints         = { one = { key = "spot", value = "true", effect = "NO_SCHEDULE" } }
    }
  }
}`, `aws spot [spot] [m5.large] zones=[] subnet="" taints=[spot=true:NoSchedule] pool="x" known=true max=0 at 3`},
		{"GKE", `resource "google_container_node_pool" "p" {
  node_locations = ["europe-west1-b"]
  node_config {
    spot   = true
    labels = { pool = "x" }
  }
}`, `gcp p [spot] [] zones=[europe-west1-b] subnet="" taints=[] pool="x" known=true max=0 at 1`},
		{"AKS", `resource "azurerm_kubernetes_cluster_node_pool" "p" {
  priority = "Spot"
  zones    = ["1", "2"]
}`, `azure p [spot] [] zones=[1 2] subnet="" taints=[kubernetes.azure.com/scalesetpriority=spot:NoSchedule] pool="" known=true max=0 at 1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := decode(t, c.text)
			if len(set.Pools) != 1 {
				t.Fatalf("%d pools", len(set.Pools))
			}
			if got := describe(set.Pools[0]); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPolicies(t *testing.T) {
	set := decode(t, `
resource "aws_iam_role_policy" "json" {
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "sqs:*", Resource = aws_sqs_queue.q.arn },
      { Effect = "Deny", Action = "*", Resource = "*" },
      { Effect = "Allow", Action = ["iam:PassRole"], Resource = ["*"], Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } } },
    ]
  })
}
resource "aws_iam_policy" "text" {
  policy = <<-EOT
    {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
  EOT
}
data "aws_iam_policy_document" "key" {
  statement {
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::123456789012:root"]
    }
  }
}
resource "aws_iam_policy" "elsewhere" {
  policy = file("policy.json")
}`)
	var got []string
	for _, s := range set.Statements {
		got = append(got, fmt.Sprintf("%s %s %v %v %v", s.Kind, s.Name, values(s.Actions), values(s.Resources), s.Conditional))
	}
	want := []string{
		"aws_iam_role_policy json [sqs:*] [] false",
		"aws_iam_role_policy json [iam:PassRole] [*] true",
		"aws_iam_policy text [*] [*] false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func values(fields []manifest.Field[string]) []string {
	out := []string{}
	for _, f := range fields {
		out = append(out, f.Value)
	}
	return out
}

func TestQueues(t *testing.T) {
	const target = `
resource "aws_cloudwatch_event_target" "t" {
  for_each = local.rules
  arn      = aws_sqs_queue.q.arn
}
`
	for _, c := range []struct{ name, text, want string }{
		{"bare", `resource "aws_sqs_queue" "q" {}`, "dlq=false policy=false known=true denies=false"},
		{"separate redrive policy", `resource "aws_sqs_queue" "q" {}
resource "aws_sqs_queue_redrive_policy" "r" { queue_url = aws_sqs_queue.q.id }`, "dlq=true policy=false known=true denies=false"},
		{"inline policy that denies", `resource "aws_sqs_queue" "q" {
  policy = jsonencode({ Statement = [{ Effect = "Deny", Action = "sqs:*", Resource = "*", Condition = { Bool = { "aws:SecureTransport" = "false" } } }] })
}`, "dlq=false policy=true known=true denies=true"},
		{"document of another module", `resource "aws_sqs_queue" "q" {}
resource "aws_sqs_queue_policy" "p" {
  queue_url = aws_sqs_queue.q.id
  policy    = data.aws_iam_policy_document.absent.json
}`, "dlq=false policy=true known=false denies=false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := decode(t, c.text+target)
			if len(set.Queues) != 1 {
				t.Fatalf("%d queues", len(set.Queues))
			}
			q := set.Queues[0]
			if got := fmt.Sprintf("dlq=%v policy=%v known=%v denies=%v", q.HasDeadLetter, q.HasPolicy, q.PolicyKnown, q.DeniesPlain); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if set := decode(t, `resource "aws_sqs_queue" "jobs" {}`); len(set.Queues) != 0 {
		t.Error("a queue that no rule sends to was taken for an interruption queue")
	}
}

func TestIgnoreComments(t *testing.T) {
	set := decode(t, `
# evenkeel.dev/lint-ignore: EK040: the licence is bound to the type
resource "aws_eks_node_group" "a" {
  capacity_type = "SPOT"
}

resource "aws_eks_node_group" "b" {
  capacity_type = "SPOT" // evenkeel.dev/lint-ignore: EK041: one zone only
}
`)
	got := [][]manifest.Ignore{set.Pools[0].Ignores, set.Pools[1].Ignores}
	for i, want := range []manifest.Ignore{{Rule: "EK040", Reason: "the licence is bound to the type"}, {Rule: "EK041", Reason: "one zone only"}} {
		if len(got[i]) != 1 || got[i][0].Rule != want.Rule || got[i][0].Reason != want.Reason {
			t.Errorf("block %d: %+v, want %+v", i, got[i], want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "resource \"a\" {\n  b =\n}\n", "bad.tf:2:6: malformed HCL: Invalid expression"},
		{"deep brackets", "a = " + strings.Repeat("[", 100_000), "bad.tf:1:1: brackets nest too deeply"},
		{"deep operators", "a = " + strings.Repeat("!", 100_000) + "true", "bad.tf:1:1: operators nest too deeply"},
		{"conditionals", "a = " + strings.Repeat("true ? 1 : ", 20_000) + "1", "bad.tf:1:1: too many conditionals"},
		{"directives", "a = \"" + strings.Repeat("%{ if a }", 5_000), "bad.tf:1:1: too many template directives"},
		{"too large", strings.Repeat("#", MaxFile+1), "bad.tf: the file is larger than 1 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := File{Name: "good.tf", Text: []byte(`resource "aws_launch_template" "t" {}`)}
			set, errs := Decode([]File{{Name: "bad.tf", Text: []byte(c.text)}, good})
			if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), c.want) {
				t.Errorf("got %v, want %s...", errs, c.want)
			}
			if len(set.LaunchTemplates) != 1 {
				t.Error("the other file was not read")
			}
		})
	}
	// Long expressions are not evaluated: evaluation would recurse on each term.
	decode(t, `resource "aws_sqs_queue" "q" { policy = `+strings.Repeat("1+", 200_000)+"1 }")
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`resource "aws_eks_node_group" "g" { capacity_type = "SPOT" }`))
	f.Add([]byte(`locals { a = local.b, b = merge(local.a, { c = [for x in y : x] }) }`))
	f.Add([]byte(`resource "aws_iam_policy" "p" { policy = jsonencode({ Statement = [{ Effect = "Allow" }] }) }`))
	f.Add([]byte(`module "eks" { eks_managed_node_groups = { (var.x) = { taints = [1] } } }`))
	f.Add([]byte("data \"aws_iam_policy_document\" \"d\" {\n dynamic \"statement\" {}\n statement { actions = [null] }\n}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, errs := Decode([]File{{Name: "f.tf", Text: text}})
		for _, e := range errs {
			if e.Msg == "" {
				t.Errorf("an error that says nothing: %+v", e)
			}
		}
	})
}
