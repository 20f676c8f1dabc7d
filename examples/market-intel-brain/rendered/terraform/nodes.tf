# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.
# One managed node group per pool.

# What a node may do: join, pull images, manage its network interfaces.
resource "aws_iam_role" "node" {
  name = "${local.name}-node"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Principal = {
        Service = "ec2.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
    }]
  })
  tags = local.tags
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])
  role       = aws_iam_role.node.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/${each.value}"
}

data "aws_ssm_parameter" "release" {
  for_each = toset([for g in local.node_groups : g.architecture])
  name     = "/aws/service/eks/optimized-ami/${var.kubernetes_version}/amazon-linux-2023/${each.value == "arm64" ? "arm64" : "x86_64"}/standard/recommended/release_version"
}

# Instance types, labels and taints belong to the node group; EKS refuses them here.
resource "aws_launch_template" "node" {
  for_each               = local.node_groups
  name_prefix            = "${local.name}-${each.key}-"
  description            = "Nodes of pool ${each.key}"
  update_default_version = true
  user_data = base64encode(join("\n", [
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
            shutdownGracePeriodCriticalPods = "10s"
          }
        }
      }
    }),
    "--//--",
    "",
  ]))

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = each.value.disk_gib
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(local.tags, { Name = "${local.name}-${each.key}" })
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(local.tags, { Name = "${local.name}-${each.key}" })
  }

  tag_specifications {
    resource_type = "network-interface"
    tags          = merge(local.tags, { Name = "${local.name}-${each.key}" })
  }
  tags = local.tags

  lifecycle {
    create_before_destroy = true
  }
}

# EKS turns capacity rebalancing on for spot groups by itself.
resource "aws_eks_node_group" "this" {
  for_each               = local.node_groups
  cluster_name           = var.cluster_name
  node_group_name_prefix = "${each.key}-"
  node_role_arn          = aws_iam_role.node.arn
  subnet_ids             = [for z in each.value.zones : var.subnet_ids[z]]
  capacity_type          = each.value.capacity_type
  instance_types         = each.value.instance_types
  ami_type               = each.value.architecture == "arm64" ? "AL2023_ARM_64_STANDARD" : "AL2023_x86_64_STANDARD"
  version                = var.kubernetes_version
  release_version        = nonsensitive(data.aws_ssm_parameter.release[each.value.architecture].value)
  labels                 = each.value.labels

  launch_template {
    id      = aws_launch_template.node[each.key].id
    version = aws_launch_template.node[each.key].latest_version
  }

  scaling_config {
    min_size     = each.value.min_size
    desired_size = each.value.desired_size
    max_size     = each.value.max_size
  }

  dynamic "taint" {
    for_each = each.value.taints

    content {
      key    = taint.value.key
      value  = taint.value.value
      effect = taint.value.effect
    }
  }

  update_config {
    max_unavailable_percentage = 33
  }

  node_repair_config {
    enabled = true
  }
  tags = local.tags

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [scaling_config[0].desired_size]
  }
  depends_on = [aws_iam_role_policy_attachment.node]
}
