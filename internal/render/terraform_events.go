package render

import (
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// maxReceives is after how many receipts a message goes to the dead letter queue.
// While the Kubernetes API is out of reach a notice is held for 15 s at a time and
// then given back, so one that lives for its two minutes is received up to ten
// times; and one of an instance that another cluster owns is received by all that
// share the queue. Fewer would throw notices away just when they matter.
const maxReceives = 25

// An eventRule is one kind of event that becomes a notice.
type eventRule struct {
	key, source, detailType, about string
	detail                         any // further pattern, or nil
}

func eventRules(p *spec.Platform) []eventRule {
	all := []eventRule{
		{"spot", "aws.ec2", "EC2 Spot Instance Interruption Warning", "A spot machine goes in two minutes.", nil},
		{"rebalance", "aws.ec2", "EC2 Instance Rebalance Recommendation", "A spot machine is at a higher risk.", nil},
		{"state", "aws.ec2", "EC2 Instance State-change Notification", "A machine is going or gone.",
			object{{"state", []string{"stopping", "stopped", "shutting-down", "terminated"}}}},
		{"health", "aws.health", "AWS Health Event", "AWS announces work on a machine.", object{{"service", []string{"EC2"}}}},
		{"reservation", "aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning", "A machine in a reservation is taken back.", nil},
		{"terminate-hook", "aws.autoscaling", "EC2 Instance-terminate Lifecycle Action", "A group is about to end a machine.", nil},
	}
	if !p.Policies.ObserveRebalance {
		all = slices.DeleteFunc(all, func(r eventRule) bool { return r.key == "rebalance" })
	}
	return all
}

func ruleName(p *spec.Platform, r eventRule) string { return p.Cluster.Name + "-" + r.key }

func writeQueue(_ *spec.Platform, b hclBody) {
	b.resource("A notice older than five minutes is about a machine that is gone.", "aws_sqs_queue", "interruptions").
		set("name", expr(`"${local.name}-interruptions"`)).
		set("message_retention_seconds", 300).
		set("visibility_timeout_seconds", 20).
		set("receive_wait_time_seconds", 20).
		set("sqs_managed_sse_enabled", true).
		setCall("redrive_policy", call{"jsonencode", object{
			{"deadLetterTargetArn", expr("aws_sqs_queue.dead_letters.arn")},
			{"maxReceiveCount", maxReceives},
		}}).
		set("tags", expr("local.tags"))
	b.resource("What was received too often, kept for a person to look at.", "aws_sqs_queue", "dead_letters").
		set("name", expr(`"${local.name}-interruptions-dlq"`)).
		set("message_retention_seconds", 1209600).
		set("sqs_managed_sse_enabled", true).
		set("tags", expr("local.tags"))
	b.resource("", "aws_sqs_queue_redrive_allow_policy", "dead_letters").
		set("queue_url", expr("aws_sqs_queue.dead_letters.id")).
		setCall("redrive_allow_policy", call{"jsonencode", object{
			{"redrivePermission", "byQueue"},
			{"sourceQueueArns", []any{expr("aws_sqs_queue.interruptions.arn")}},
		}})
	b.resource("Our own rules may send, and no one in plain text.", "aws_sqs_queue_policy", "interruptions").
		set("queue_url", expr("aws_sqs_queue.interruptions.id")).
		setCall("policy", call{"jsonencode", object{
			{"Version", "2012-10-17"},
			{"Statement", []any{
				object{
					{"Sid", "EventsMaySend"},
					{"Effect", "Allow"},
					{"Principal", object{{"Service", "events.amazonaws.com"}}},
					{"Action", "sqs:SendMessage"},
					{"Resource", expr("aws_sqs_queue.interruptions.arn")},
					{"Condition", object{{"ArnEquals", object{{"aws:SourceArn", expr("[for r in aws_cloudwatch_event_rule.interruption : r.arn]")}}}}},
				},
				denyPlainText(expr("aws_sqs_queue.interruptions.arn")),
			}},
		}})
	b.resource("", "aws_sqs_queue_policy", "dead_letters").
		set("queue_url", expr("aws_sqs_queue.dead_letters.id")).
		setCall("policy", call{"jsonencode", object{
			{"Version", "2012-10-17"},
			{"Statement", []any{denyPlainText(expr("aws_sqs_queue.dead_letters.arn"))}},
		}})
}

// denyPlainText names everyone, as a denial may.
func denyPlainText(queue expr) object {
	return object{
		{"Sid", "NoPlainText"},
		{"Effect", "Deny"},
		{"Principal", "*"},
		{"Action", "sqs:*"},
		{"Resource", queue},
		{"Condition", object{{"Bool", object{{"aws:SecureTransport", "false"}}}}},
	}
}

func writeEvents(_ *spec.Platform, b hclBody) {
	b.resource("", "aws_cloudwatch_event_rule", "interruption").
		set("for_each", expr("local.event_rules")).
		set("name", expr(`"${local.name}-${each.key}"`)).
		set("description", expr("each.value.description")).
		set("event_pattern", expr("jsonencode(each.value.pattern)")).
		set("tags", expr("local.tags"))
	b.resource("", "aws_cloudwatch_event_target", "queue").
		set("for_each", expr("local.event_rules")).
		set("rule", expr("aws_cloudwatch_event_rule.interruption[each.key].name")).
		set("target_id", "queue").
		set("arn", expr("aws_sqs_queue.interruptions.arn"))
}

func writeHandler(p *spec.Platform, b hclBody) {
	const wanted = expr("var.handler_package == null ? 0 : 1")
	b.resource("", "aws_iam_role", "handler").
		set("count", wanted).
		set("name", expr(`"${local.name}-interruption-handler"`)).
		setCall("assume_role_policy", trust("lambda.amazonaws.com", "sts:AssumeRole")).
		set("tags", expr("local.tags"))
	b.resource("Its log, the cluster's address, and the dead letters. Its rights in the cluster come from the access entry below.", "aws_iam_role_policy", "handler").
		set("count", wanted).
		set("name", "handler").
		set("role", expr("aws_iam_role.handler[0].id")).
		setCall("policy", call{"jsonencode", object{
			{"Version", "2012-10-17"},
			{"Statement", []any{
				object{{"Sid", "Log"}, {"Effect", "Allow"}, {"Action", []string{"logs:CreateLogStream", "logs:PutLogEvents"}},
					{"Resource", expr(`"${aws_cloudwatch_log_group.handler[0].arn}:log-stream:*"`)}},
				object{{"Sid", "Cluster"}, {"Effect", "Allow"}, {"Action", []string{"eks:DescribeCluster"}},
					{"Resource", expr("data.aws_eks_cluster.this.arn")}},
				object{{"Sid", "DeadLetters"}, {"Effect", "Allow"}, {"Action", []string{"sqs:SendMessage"}},
					{"Resource", expr("aws_sqs_queue.dead_letters.arn")}},
			}},
		}})
	b.resource("", "aws_cloudwatch_log_group", "handler").
		set("count", wanted).
		set("name", expr(`"/aws/lambda/${local.name}-interruption-handler"`)).
		set("retention_in_days", expr("var.log_retention_days")).
		set("tags", expr("local.tags"))
	f := b.resource("", "aws_lambda_function", "handler").
		set("count", wanted).
		set("function_name", expr(`"${local.name}-interruption-handler"`)).
		set("description", "Cordons the node of a spot machine that goes, and empties it if no controller runs.").
		set("role", expr("aws_iam_role.handler[0].arn")).
		set("filename", expr("var.handler_package")).
		set("source_code_hash", expr("try(filebase64sha256(var.handler_package), null)")).
		set("runtime", "provided.al2023").
		set("handler", "bootstrap").
		set("architectures", []string{"arm64"}).
		set("memory_size", 256).
		set("timeout", 150)
	namespace, _ := controllerAccount(p)
	f.block("environment").set("variables", object{
		{"CLUSTER_NAME", expr("var.cluster_name")},
		{"NAMESPACE", namespace},
		{"GRACE_PERIOD", "120"},
	})
	f.block("dead_letter_config").set("target_arn", expr("aws_sqs_queue.dead_letters.arn"))
	f.set("tags", expr("local.tags"))
	f.set("depends_on", expr("[aws_cloudwatch_log_group.handler, aws_iam_role_policy.handler]"))
	b.resource("", "aws_lambda_permission", "handler").
		set("count", wanted).
		set("statement_id", "spot-rule").
		set("action", "lambda:InvokeFunction").
		set("function_name", expr("aws_lambda_function.handler[0].function_name")).
		set("principal", "events.amazonaws.com").
		set("source_arn", expr(`aws_cloudwatch_event_rule.interruption["spot"].arn`))
	b.resource("", "aws_cloudwatch_event_target", "handler").
		set("count", wanted).
		set("rule", expr(`aws_cloudwatch_event_rule.interruption["spot"].name`)).
		set("target_id", "handler").
		set("arn", expr("aws_lambda_function.handler[0].arn"))
	b.resource("The group is bound to a ClusterRole in the cluster.", "aws_eks_access_entry", "handler").
		set("count", wanted).
		set("cluster_name", expr("var.cluster_name")).
		set("principal_arn", expr("aws_iam_role.handler[0].arn")).
		set("kubernetes_groups", []string{"evenkeel:handlers"}).
		set("tags", expr("local.tags"))
}

// controllerAccount returns the namespace and name of the controller's
// ServiceAccount: the platform's own service that is bound to its ClusterRole,
// or that of deploy/controller.yaml.
func controllerAccount(p *spec.Platform) (namespace, name string) {
	for _, s := range p.Services {
		if s.ClusterRole == controllerRole {
			return p.Cluster.Namespace, s.Name
		}
	}
	return "evenkeel-system", "evenkeel-controller"
}

func writeIdentity(p *spec.Platform, b hclBody) {
	namespace, account := controllerAccount(p)
	policy := call{"jsonencode", object{
		{"Version", "2012-10-17"},
		{"Statement", []any{object{
			{"Sid", "ReadNotices"},
			{"Effect", "Allow"},
			{"Action", []string{"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"}},
			{"Resource", expr("aws_sqs_queue.interruptions.arn")},
		}}},
	}}
	b.resource("", "aws_iam_role", "controller").
		set("name", expr(`"${local.name}-controller"`)).
		setCall("assume_role_policy", trust("pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession")).
		set("tags", expr("local.tags"))
	b.resource("", "aws_iam_role_policy", "controller").
		set("name", "notices").
		set("role", expr("aws_iam_role.controller.id")).
		setCall("policy", policy)
	b.resource("", "aws_eks_pod_identity_association", "controller").
		set("cluster_name", expr("var.cluster_name")).
		set("namespace", namespace).
		set("service_account", account).
		set("role_arn", expr("aws_iam_role.controller.arn")).
		set("tags", expr("local.tags"))

	const wanted = expr("var.oidc_provider_arn == null ? 0 : 1")
	issuer := `${element(split(":oidc-provider/", var.oidc_provider_arn), 1)}`
	b.resource("The same for clusters without the Pod Identity agent.", "aws_iam_role", "controller_irsa").
		set("count", wanted).
		set("name", expr(`"${local.name}-controller-irsa"`)).
		setCall("assume_role_policy", call{"jsonencode", object{
			{"Version", "2012-10-17"},
			{"Statement", []any{object{
				{"Effect", "Allow"},
				{"Principal", object{{"Federated", expr("var.oidc_provider_arn")}}},
				{"Action", "sts:AssumeRoleWithWebIdentity"},
				{"Condition", object{{"StringEquals", expr(`{
  "` + issuer + `:sub" = "system:serviceaccount:` + namespace + `:` + account + `"
  "` + issuer + `:aud" = "sts.amazonaws.com"
}`)}}},
			}}},
		}}).
		set("tags", expr("local.tags"))
	b.resource("", "aws_iam_role_policy", "controller_irsa").
		set("count", wanted).
		set("name", "notices").
		set("role", expr("aws_iam_role.controller_irsa[0].id")).
		setCall("policy", policy)
}
