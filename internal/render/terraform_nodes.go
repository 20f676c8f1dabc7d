package render

import (
	"fmt"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// trust returns a role's trust policy for one AWS service.
func trust(service string, actions ...string) call {
	return call{"jsonencode", object{
		{"Version", "2012-10-17"},
		{"Statement", []any{object{
			{"Effect", "Allow"},
			{"Principal", object{{"Service", service}}},
			{"Action", actions},
		}}},
	}}
}

func writeNodes(p *spec.Platform, b hclBody) {
	b.resource("What a node may do: join, pull images, manage its network interfaces.", "aws_iam_role", "node").
		set("name", expr("\"${local.name}-node\"")).
		setCall("assume_role_policy", trust("ec2.amazonaws.com", "sts:AssumeRole")).
		set("tags", expr("local.tags"))
	b.resource("", "aws_iam_role_policy_attachment", "node").
		set("for_each", expr(`toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])`)).
		set("role", expr("aws_iam_role.node.name")).
		set("policy_arn", expr(`"arn:${data.aws_partition.current.partition}:iam::aws:policy/${each.value}"`))

	r := b.block("data", "aws_ssm_parameter", "release")
	r.set("for_each", expr(`toset([for g in local.node_groups : g.architecture])`)).
		set("name", expr(`"/aws/service/eks/optimized-ami/${var.kubernetes_version}/amazon-linux-2023/${each.value == "arm64" ? "arm64" : "x86_64"}/standard/recommended/release_version"`))

	t := b.resource("Instance types, labels and taints belong to the node group; EKS refuses them here.", "aws_launch_template", "node").
		set("for_each", expr("local.node_groups")).
		set("name_prefix", expr(`"${local.name}-${each.key}-"`)).
		set("description", expr(`"Nodes of pool ${each.key}"`)).
		set("update_default_version", true)
	t.set("user_data", expr(fmt.Sprintf(`base64encode(join("\n", [
  "MIME-Version: 1.0",
  "Content-Type: multipart/mixed; boundary=\"//\"",
  "",
  "--//",
  "Content-Type: application/node.eks.aws",
  "",
  yamlencode({
    apiVersion = "node.eks.aws/v1alpha1"
    kind       = "NodeConfig"
    spec = {
      kubelet = {
        config = {
          shutdownGracePeriod             = "${each.value.shutdown_seconds}s"
          shutdownGracePeriodCriticalPods = "%ds"
        }
      }
    }
  }),
  "--//--",
  "",
]))`, criticalSeconds)))
	m := t.block("metadata_options")
	m.set("http_endpoint", "enabled").set("http_tokens", "required").set("http_put_response_hop_limit", 1)
	d := t.block("block_device_mappings")
	d.set("device_name", "/dev/xvda")
	e := d.block("ebs")
	e.set("volume_size", expr("each.value.disk_gib")).set("volume_type", "gp3").set("encrypted", true).set("delete_on_termination", true)
	for _, kind := range []string{"instance", "volume", "network-interface"} {
		s := t.block("tag_specifications")
		s.set("resource_type", kind).set("tags", expr(`merge(local.tags, { Name = "${local.name}-${each.key}" })`))
	}
	t.set("tags", expr("local.tags"))
	t.block("lifecycle").set("create_before_destroy", true)

	g := b.resource("EKS turns capacity rebalancing on for spot groups by itself.", "aws_eks_node_group", "this").
		set("for_each", expr("local.node_groups")).
		set("cluster_name", expr("var.cluster_name")).
		set("node_group_name_prefix", expr(`"${each.key}-"`)).
		set("node_role_arn", expr("aws_iam_role.node.arn")).
		set("subnet_ids", expr("[for z in each.value.zones : var.subnet_ids[z]]")).
		set("capacity_type", expr("each.value.capacity_type")).
		set("instance_types", expr("each.value.instance_types")).
		set("ami_type", expr(`each.value.architecture == "arm64" ? "AL2023_ARM_64_STANDARD" : "AL2023_x86_64_STANDARD"`)).
		set("version", expr("var.kubernetes_version")).
		set("release_version", expr("nonsensitive(data.aws_ssm_parameter.release[each.value.architecture].value)")).
		set("labels", expr("each.value.labels"))
	l := g.block("launch_template")
	l.set("id", expr("aws_launch_template.node[each.key].id")).set("version", expr("aws_launch_template.node[each.key].latest_version"))
	s := g.block("scaling_config")
	s.set("min_size", expr("each.value.min_size")).set("desired_size", expr("each.value.desired_size")).set("max_size", expr("each.value.max_size"))
	taint := g.block("dynamic", "taint")
	taint.set("for_each", expr("each.value.taints"))
	taint.block("content").set("key", expr("taint.value.key")).set("value", expr("taint.value.value")).set("effect", expr("taint.value.effect"))
	g.block("update_config").set("max_unavailable_percentage", 33)
	g.block("node_repair_config").set("enabled", true)
	g.set("tags", expr("local.tags"))
	g.block("lifecycle").set("create_before_destroy", true).set("ignore_changes", expr("[scaling_config[0].desired_size]"))
	g.set("depends_on", expr("[aws_iam_role_policy_attachment.node]"))
}
