# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.
# What the platform declares, as data.
locals {
  name  = "market-intel-brain"
  zones = ["us-east-1a", "us-east-1b", "us-east-1c"]
  tags  = merge(var.tags, { "evenkeel.dev/platform" = local.name })
  node_groups = {
    gateway = {
      capacity_type    = "SPOT"
      architecture     = "amd64"
      instance_types   = ["m5.large", "m5a.large", "m5d.large", "c5.large", "c5a.large"]
      zones            = ["us-east-1a", "us-east-1b", "us-east-1c"]
      min_size         = 2
      desired_size     = 3
      max_size         = 10
      disk_gib         = 40
      shutdown_seconds = 40
      labels = {
        "evenkeel.dev/pool" = "gateway"
      }
      taints = [{
        key    = "evenkeel.dev/pool"
        value  = "gateway"
        effect = "NO_SCHEDULE"
      }]
    }
    engine = {
      capacity_type    = "SPOT"
      architecture     = "amd64"
      instance_types   = ["c5.xlarge", "c5a.xlarge", "c5d.xlarge", "c5n.xlarge", "c5ad.xlarge"]
      zones            = ["us-east-1a", "us-east-1b", "us-east-1c"]
      min_size         = 2
      desired_size     = 3
      max_size         = 12
      disk_gib         = 40
      shutdown_seconds = 40
      labels = {
        "evenkeel.dev/pool" = "engine"
      }
      taints = [{
        key    = "evenkeel.dev/pool"
        value  = "engine"
        effect = "NO_SCHEDULE"
      }]
    }
    analytics = {
      capacity_type    = "SPOT"
      architecture     = "amd64"
      instance_types   = ["m5.xlarge", "m5a.xlarge", "m5d.xlarge", "m5n.xlarge", "m5ad.xlarge"]
      zones            = ["us-east-1a", "us-east-1b", "us-east-1c"]
      min_size         = 0
      desired_size     = 2
      max_size         = 8
      disk_gib         = 40
      shutdown_seconds = 40
      labels = {
        "evenkeel.dev/pool" = "analytics"
      }
      taints = [{
        key    = "evenkeel.dev/pool"
        value  = "analytics"
        effect = "NO_SCHEDULE"
      }]
    }
    vector-store = {
      capacity_type    = "SPOT"
      architecture     = "amd64"
      instance_types   = ["r5.large", "r5a.large", "r5d.large", "r5n.large", "r5ad.large"]
      zones            = ["us-east-1a", "us-east-1b", "us-east-1c"]
      min_size         = 2
      desired_size     = 3
      max_size         = 6
      disk_gib         = 40
      shutdown_seconds = 40
      labels = {
        "evenkeel.dev/pool" = "vector-store"
      }
      taints = [{
        key    = "evenkeel.dev/pool"
        value  = "vector-store"
        effect = "NO_SCHEDULE"
      }]
    }
    on-demand = {
      capacity_type    = "ON_DEMAND"
      architecture     = "amd64"
      instance_types   = ["m5.large"]
      zones            = ["us-east-1a", "us-east-1b", "us-east-1c"]
      min_size         = 3
      desired_size     = 3
      max_size         = 12
      disk_gib         = 40
      shutdown_seconds = 70
      labels = {
        "evenkeel.dev/pool" = "on-demand"
      }
      taints = []
    }
  }
  event_rules = {
    spot = {
      description = "A spot machine goes in two minutes."
      pattern = {
        source      = ["aws.ec2"]
        detail-type = ["EC2 Spot Instance Interruption Warning"]
      }
    }
    rebalance = {
      description = "A spot machine is at a higher risk."
      pattern = {
        source      = ["aws.ec2"]
        detail-type = ["EC2 Instance Rebalance Recommendation"]
      }
    }
    state = {
      description = "A machine is going or gone."
      pattern = {
        source      = ["aws.ec2"]
        detail-type = ["EC2 Instance State-change Notification"]
        detail = {
          state = ["stopping", "stopped", "shutting-down", "terminated"]
        }
      }
    }
    health = {
      description = "AWS announces work on a machine."
      pattern = {
        source      = ["aws.health"]
        detail-type = ["AWS Health Event"]
        detail = {
          service = ["EC2"]
        }
      }
    }
    reservation = {
      description = "A machine in a reservation is taken back."
      pattern = {
        source      = ["aws.ec2"]
        detail-type = ["EC2 Capacity Reservation Instance Interruption Warning"]
      }
    }
    terminate-hook = {
      description = "A group is about to end a machine."
      pattern = {
        source      = ["aws.autoscaling"]
        detail-type = ["EC2 Instance-terminate Lifecycle Action"]
      }
    }
  }
}

data "aws_caller_identity" "current" {
}

data "aws_partition" "current" {
}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}
