package lint

import "strings"

func iamWildcard() Rule {
	return Rule{
		ID:       "EK044",
		Title:    "IAM policy with a wildcard",
		Severity: Warning,
		Why: `What handles interruptions can delete queue messages, end instances and finish lifecycle actions. With ` + "`\"*\"`" + ` it can do
so to every queue and instance of the account, and so can whoever takes over its pod.

Reported are Allow statements of identity policies with all actions of a service, and those that change a named kind of
resource on any resource. Statements with a condition are not, nor actions that know no resources (Describe, List).`,
		Remedy:    "Name the actions, and the ARN of the resource.",
		Terraform: true,
		Bad: `data "aws_iam_policy_document" "controller" {
  statement {
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    resources = ["*"] # EK044
  }
}
`,
		Good: `data "aws_iam_policy_document" "controller" {
  statement {
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    resources = ["arn:aws:sqs:us-east-1:123456789012:mib-interruptions"]
  }
  statement {
    actions   = ["ec2:DescribeInstances"]
    resources = ["*"]
  }
}
`,
		Check: func(t *Target) (out []Finding) {
			for _, s := range t.Statements {
				for _, action := range s.Actions {
					if service, all := strings.CutSuffix(action.Value, ":*"); all || action.Value == "*" {
						what := "every action of " + service
						if !all {
							what = "every action of every service"
						}
						out = append(out, at(&s.Meta, action.Pos, "allows %s", what))
						break
					}
				}
				if s.Conditional {
					continue
				}
				for _, resource := range s.Resources {
					if resource.Value != "*" {
						continue
					}
					for _, action := range s.Actions {
						if namesResource(action.Value) {
							out = append(out, at(&s.Meta, resource.Pos, "allows %s on every resource", action.Value))
							break
						}
					}
				}
			}
			return out
		},
	}
}

// namesResource reports whether an action changes, or hands out, one resource
// that the policy could name. It lists what a spot platform's policies hold.
func namesResource(action string) bool {
	switch action {
	case "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SendMessage", "sqs:ChangeMessageVisibility", "sqs:PurgeQueue",
		"sns:Publish", "lambda:InvokeFunction", "iam:PassRole", "sts:AssumeRole",
		"ec2:TerminateInstances", "ec2:StopInstances", "ec2:RunInstances",
		"autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat", "autoscaling:TerminateInstanceInAutoScalingGroup",
		"autoscaling:SetDesiredCapacity", "autoscaling:UpdateAutoScalingGroup", "eks:UpdateNodegroupConfig",
		"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "secretsmanager:GetSecretValue", "dynamodb:PutItem", "dynamodb:DeleteItem":
		return true
	}
	return false
}
