# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.
# Runs without AWS: the provider is a mock.

mock_provider "aws" {
}

variables {
  subnet_ids = {
    us-east-1a = "subnet-00000000"
    us-east-1b = "subnet-00000001"
    us-east-1c = "subnet-00000002"
  }
  handler_package   = "evenkeel-lambda.zip"
  oidc_provider_arn = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE"
}

run "counts" {
  command = apply

  assert {
    condition     = length([for g in aws_eks_node_group.this : g if g.capacity_type == "SPOT"]) == 4
    error_message = "There are to be 4 spot node groups."
  }

  assert {
    condition     = length(aws_eks_node_group.this) == 5
    error_message = "There are to be 5 node groups."
  }

  assert {
    condition     = length(aws_cloudwatch_event_rule.interruption) == 6
    error_message = "There are to be 6 event rules."
  }

  assert {
    condition     = alltrue([for t in aws_launch_template.node : t.metadata_options[0].http_tokens == "required"])
    error_message = "Every launch template must require IMDSv2."
  }

  assert {
    condition     = alltrue([for k, g in aws_eks_node_group.this : length(g.subnet_ids) == length(local.node_groups[k].zones)])
    error_message = "Every node group must have a subnet in each of its zones."
  }

  assert {
    condition     = jsondecode(aws_sqs_queue.interruptions.redrive_policy).maxReceiveCount == 25
    error_message = "A message that cannot be read must reach the dead letter queue."
  }

  assert {
    condition     = anytrue([for s in jsondecode(aws_sqs_queue_policy.interruptions.policy).Statement : s.Effect == "Deny" && try(s.Condition.Bool["aws:SecureTransport"], "") == "false"])
    error_message = "The queue must refuse plain text."
  }

  assert {
    condition     = alltrue(flatten([for p in [aws_iam_role_policy.controller.policy, aws_iam_role_policy.handler[0].policy] : [for s in jsondecode(p).Statement : !contains(flatten([s.Resource]), "*") && !contains(flatten([s.Action]), "*")]]))
    error_message = "No policy may be granted on everything."
  }

  assert {
    condition     = alltrue([for k, t in aws_cloudwatch_event_target.queue : t.arn == aws_sqs_queue.interruptions.arn])
    error_message = "Every event rule must lead to the queue."
  }
}

run "refuses_a_zone_without_subnet" {
  command = plan

  variables {
    subnet_ids = {
      us-east-1a = "subnet-00000000"
      elsewhere  = "subnet-00000001"
    }
  }
  expect_failures = [var.subnet_ids]
}
