package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// terraformFiles returns a Terraform module for EKS: node groups, the way of the
// interruption notices to the cluster, identities, alarms and a budget. The
// cluster and its network exist already. Policies name every resource; nothing
// is granted on "*".
func terraformFiles(p *spec.Platform) ([]File, error) {
	var out []File
	for _, f := range []struct {
		name    string
		comment string
		write   func(*spec.Platform, hclBody)
	}{
		{"versions.tf", "", writeVersions},
		{"variables.tf", "", writeVariables},
		{"locals.tf", "What the platform declares, as data.", writeLocals},
		{"nodes.tf", "One managed node group per pool.", writeNodes},
		{"queue.tf", "Interruption notices wait here for the controller.", writeQueue},
		{"events.tf", "Which events become notices.", writeEvents},
		{"handler.tf", "The second ear: a function that answers a notice when no controller does.", writeHandler},
		{"identity.tf", "What the controller may do in AWS: read its queue.", writeIdentity},
		{"alarms.tf", "Who is told, and when.", writeAlarms},
		{"outputs.tf", "", writeOutputs},
		{"tests/platform.tftest.hcl", "Runs without AWS: the provider is a mock.", writeTests},
	} {
		h, body := newHCL(f.comment)
		f.write(p, body)
		data, err := h.bytes()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		out = append(out, File{Path: "terraform/" + f.name, Data: data})
	}
	dashboard, err := dashboardFile(p)
	if err != nil {
		return nil, err
	}
	return append(out, dashboard, File{Path: "terraform/README.md", Data: terraformReadme(p)}), nil
}

// nodeGroups returns the pools that are managed node groups: all of them, or
// only on-demand ones where Karpenter starts the rest.
func nodeGroups(p *spec.Platform) []spec.Pool {
	return slices.DeleteFunc(slices.Clone(p.Pools), func(pool spec.Pool) bool {
		return p.Cluster.Karpenter && pool.Capacity == spec.Spot
	})
}

func writeVersions(_ *spec.Platform, b hclBody) {
	t := b.block("terraform")
	t.set("required_version", ">= 1.7.0")
	t.block("required_providers").set("aws", object{{"source", "hashicorp/aws"}, {"version", ">= 6.28, < 7.0"}})
}

type tfVariable struct {
	name, description string
	typ               expr
	value             any // nil: required; expr("null"): optional
	condition         expr
	message           string
}

func writeVariables(p *spec.Platform, b hclBody) {
	zones := p.Cluster.Zones
	for _, v := range []tfVariable{
		{"cluster_name", "Name of the existing EKS cluster.", "string", p.Cluster.Name, "can(regex(\"^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$\", var.cluster_name))", "An EKS cluster name has at most 100 letters, digits, dashes and underscores."},
		{"kubernetes_version", "Minor version of Kubernetes that the nodes run; not later than the cluster's.", "string", p.Cluster.Kubernetes, "can(regex(\"^1\\\\.[0-9]{2}$\", var.kubernetes_version))", "Write a minor version such as 1.35."},
		{"subnet_ids", "Private subnet of each zone, by zone: " + strings.Join(zones, ", ") + ".", "map(string)", nil, "alltrue([for z in local.zones : can(regex(\"^subnet-\", var.subnet_ids[z]))])", "Give one subnet-... for every zone of the platform."},
		{"oidc_provider_arn", "OIDC provider of the cluster, for clusters without the Pod Identity agent. Unless given, no IRSA role is made.", "string", expr("null"), "var.oidc_provider_arn == null || can(regex(\":oidc-provider/\", var.oidc_provider_arn))", "Write the ARN of an IAM OIDC provider."},
		{"handler_package", "Path of the evenkeel-lambda zip. Unless given, there is no second ear.", "string", expr("null"), "", ""},
		{"interruptions_per_hour", "Interruptions within an hour that raise the alarm.", "number", max(spotMachines(p)/2, 1), "var.interruptions_per_hour >= 1", "Write 1 or more."},
		{"monthly_budget_usd", "Spending of a month, in US dollars, that raises the budget alarm.", "number", p.Notifications.MonthlyBudgetUSD, "var.monthly_budget_usd > 0", "Write a positive amount."},
		{"emails", "Addresses that alarms are sent to; each has to confirm once.", "set(string)", stringsOrEmpty(p.Notifications.Emails), "alltrue([for e in var.emails : can(regex(\"@\", e))])", "Every entry must be an e-mail address."},
		{"topic_kms_key_id", "Customer KMS key for the alarm topic; its policy must admit CloudWatch and Budgets, which the AWS managed key does not.", "string", expr("null"), "", ""},
		{"log_retention_days", "Days that the handler's log is kept.", "number", 30, "contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)", "CloudWatch Logs does not know this retention."},
		{"tags", "Further tags of every resource.", "map(string)", expr("{}"), "", ""},
	} {
		x := b.block("variable", v.name)
		x.set("description", v.description).set("type", v.typ)
		if v.value != nil {
			x.set("default", v.value)
		}
		if v.condition != "" {
			x.block("validation").set("condition", v.condition).set("error_message", v.message)
		}
	}
}

func stringsOrEmpty(s []string) any {
	if len(s) == 0 {
		return expr("[]")
	}
	return s
}

func spotMachines(p *spec.Platform) int {
	n := 0
	for _, pool := range p.Pools {
		if pool.Capacity == spec.Spot {
			n += pool.Desired
		}
	}
	return n
}

func writeLocals(p *spec.Platform, b hclBody) {
	groups := object{}
	for _, pool := range nodeGroups(p) {
		capacity := "SPOT"
		if pool.Capacity == spec.OnDemand {
			capacity = "ON_DEMAND"
		}
		labels := map[string]string{poolLabel: pool.Name}
		for k, v := range pool.Labels {
			labels[k] = v
		}
		taints := []any{}
		if t := pool.Taint; t != nil {
			taints = append(taints, object{{"key", t.Key}, {"value", t.Value}, {"effect", eksEffect(t.Effect)}})
		}
		groups = append(groups, pair{pool.Name, object{
			{"capacity_type", capacity},
			{"architecture", pool.Architecture},
			{"instance_types", pool.InstanceTypes},
			{"zones", pool.Zones},
			{"min_size", pool.Min},
			{"desired_size", pool.Desired},
			{"max_size", pool.Max},
			{"disk_gib", int(gibibytes(pool))},
			{"shutdown_seconds", int(shutdownSeconds(p, pool))},
			{"labels", labels},
			{"taints", taints},
		}})
	}
	rules := object{}
	for _, r := range eventRules(p) {
		pattern := object{{"source", []string{r.source}}, {"detail-type", []string{r.detailType}}}
		if r.detail != nil {
			pattern = append(pattern, pair{"detail", r.detail})
		}
		rules = append(rules, pair{r.key, object{{"description", r.about}, {"pattern", pattern}}})
	}
	b.block("locals").
		set("name", p.Cluster.Name).
		set("zones", p.Cluster.Zones).
		set("tags", expr("merge(var.tags, { \"evenkeel.dev/platform\" = local.name })")).
		set("node_groups", groups).
		set("event_rules", rules)
	b.block("data", "aws_caller_identity", "current")
	b.block("data", "aws_partition", "current")
	b.block("data", "aws_eks_cluster", "this").set("name", expr("var.cluster_name"))
}

// eksEffect writes a taint's effect as the EKS API does.
func eksEffect(effect string) string {
	return map[string]string{"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}[effect]
}

// shutdownSeconds is what the kubelet gives pods when the machine itself is shut
// down without a notice having been answered: the longest grace of the pool's
// services and the reserve for critical pods, within the notice.
func shutdownSeconds(p *spec.Platform, pool spec.Pool) int64 {
	longest := int64(30)
	for _, s := range p.Services {
		if slices.Contains(s.Pools, pool.Name) {
			longest = max(longest, seconds(s.Drain.Grace))
		}
	}
	return min(longest+criticalSeconds, seconds(p.Cluster.Provider.Notice()-p.Policies.Margin))
}

const criticalSeconds = 10 // of which the last are for the network and DNS pods

func writeOutputs(p *spec.Platform, b hclBody) {
	for _, o := range []struct {
		name, description string
		value             expr
	}{
		{"queue_url", "Queue that the controller reads.", "aws_sqs_queue.interruptions.url"},
		{"queue_arn", "ARN of that queue.", "aws_sqs_queue.interruptions.arn"},
		{"dead_letter_queue_url", "Messages that could not be read.", "aws_sqs_queue.dead_letters.url"},
		{"controller_role_arn", "Role of the controller by Pod Identity.", "aws_iam_role.controller.arn"},
		{"controller_irsa_role_arn", "Role of the controller by IRSA, or null.", "one(aws_iam_role.controller_irsa[*].arn)"},
		{"node_role_arn", "Role of the nodes.", "aws_iam_role.node.arn"},
		{"node_group_names", "Names of the node groups, by pool.", "{ for k, g in aws_eks_node_group.this : k => g.node_group_name }"},
		{"topic_arn", "Topic that alarms are sent to.", "aws_sns_topic.alarms.arn"},
		{"event_rule_names", "Names of the event rules, by kind.", "{ for k, r in aws_cloudwatch_event_rule.interruption : k => r.name }"},
	} {
		b.block("output", o.name).set("description", o.description).set("value", o.value)
	}
}

func writeTests(p *spec.Platform, b hclBody) {
	groups := nodeGroups(p)
	spot := 0
	for _, g := range groups {
		if g.Capacity == spec.Spot {
			spot++
		}
	}
	subnets := object{}
	for i, z := range p.Cluster.Zones {
		subnets = append(subnets, pair{z, fmt.Sprintf("subnet-%08d", i)})
	}
	b.block("mock_provider", "aws")
	b.block("variables").set("subnet_ids", subnets).set("handler_package", "evenkeel-lambda.zip").
		set("oidc_provider_arn", "arn:aws:iam::111122223333:oidc-provider/oidc.eks."+p.Cluster.Region+".amazonaws.com/id/EXAMPLE")
	run := b.block("run", "counts")
	run.set("command", expr("apply"))
	for _, a := range []struct {
		condition expr
		message   string
	}{
		{expr(fmt.Sprintf("length([for g in aws_eks_node_group.this : g if g.capacity_type == \"SPOT\"]) == %d", spot)), fmt.Sprintf("There are to be %d spot node groups.", spot)},
		{expr(fmt.Sprintf("length(aws_eks_node_group.this) == %d", len(groups))), fmt.Sprintf("There are to be %d node groups.", len(groups))},
		{expr(fmt.Sprintf("length(aws_cloudwatch_event_rule.interruption) == %d", len(eventRules(p)))), fmt.Sprintf("There are to be %d event rules.", len(eventRules(p)))},
		{"alltrue([for t in aws_launch_template.node : t.metadata_options[0].http_tokens == \"required\"])", "Every launch template must require IMDSv2."},
		{"alltrue([for k, g in aws_eks_node_group.this : length(g.subnet_ids) == length(local.node_groups[k].zones)])", "Every node group must have a subnet in each of its zones."},
		{"jsondecode(aws_sqs_queue.interruptions.redrive_policy).maxReceiveCount == 25", "A message that cannot be read must reach the dead letter queue."},
		{"anytrue([for s in jsondecode(aws_sqs_queue_policy.interruptions.policy).Statement : s.Effect == \"Deny\" && try(s.Condition.Bool[\"aws:SecureTransport\"], \"\") == \"false\"])", "The queue must refuse plain text."},
		{"alltrue(flatten([for p in [aws_iam_role_policy.controller.policy, aws_iam_role_policy.handler[0].policy] : [for s in jsondecode(p).Statement : !contains(flatten([s.Resource]), \"*\") && !contains(flatten([s.Action]), \"*\")]]))", "No policy may be granted on everything."},
		{"alltrue([for k, t in aws_cloudwatch_event_target.queue : t.arn == aws_sqs_queue.interruptions.arn])", "Every event rule must lead to the queue."},
	} {
		run.block("assert").set("condition", a.condition).set("error_message", a.message)
	}
	bad := b.block("run", "refuses_a_zone_without_subnet")
	bad.set("command", expr("plan"))
	bad.block("variables").set("subnet_ids", object{{p.Cluster.Zones[0], "subnet-00000000"}, {"elsewhere", "subnet-00000001"}})
	bad.set("expect_failures", expr("[var.subnet_ids]"))
}

func terraformReadme(p *spec.Platform) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# Terraform for %s

Rendered by `+"`evenkeel render`"+` from platform.yaml. Change that file, not this one.

Adds to an existing EKS cluster: %d managed node groups, a queue with a dead letter queue for interruption notices,
%d EventBridge rules that fill it, an optional Lambda function as a second ear, roles for the controller (Pod Identity,
and IRSA if an OIDC provider is given), CloudWatch alarms and a dashboard, an SNS topic and a budget.
It does not make the cluster, its network, or the Pod Identity agent.

`+"```hcl"+`
module "platform" {
  source     = "./terraform"
  subnet_ids = {
`, p.Cluster.Name, len(nodeGroups(p)), len(eventRules(p)))
	for _, z := range p.Cluster.Zones {
		fmt.Fprintf(&b, "    %s = \"subnet-...\"\n", z)
	}
	b.WriteString("  }\n}\n```\n\n" + `Checks: ` + "`terraform fmt -check -recursive`, `terraform validate`, `terraform test`" + ` (no AWS account needed).

- Node groups ignore later changes of their desired size: it belongs to the autoscaler.
- EKS drains spot nodes of managed groups itself. Evenkeel works beside that: both evict through the same budgets.
- The state and health rules let the controller close the record of a machine that went without a notice.
- Resources are named; the one pattern is the log streams of the handler's own log group.
`)
	return []byte(b.String())
}
