# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.

output "queue_url" {
  description = "Queue that the controller reads."
  value       = aws_sqs_queue.interruptions.url
}

output "queue_arn" {
  description = "ARN of that queue."
  value       = aws_sqs_queue.interruptions.arn
}

output "dead_letter_queue_url" {
  description = "Messages that could not be read."
  value       = aws_sqs_queue.dead_letters.url
}

output "controller_role_arn" {
  description = "Role of the controller by Pod Identity."
  value       = aws_iam_role.controller.arn
}

output "controller_irsa_role_arn" {
  description = "Role of the controller by IRSA, or null."
  value       = one(aws_iam_role.controller_irsa[*].arn)
}

output "node_role_arn" {
  description = "Role of the nodes."
  value       = aws_iam_role.node.arn
}

output "node_group_names" {
  description = "Names of the node groups, by pool."
  value       = { for k, g in aws_eks_node_group.this : k => g.node_group_name }
}

output "topic_arn" {
  description = "Topic that alarms are sent to."
  value       = aws_sns_topic.alarms.arn
}

output "event_rule_names" {
  description = "Names of the event rules, by kind."
  value       = { for k, r in aws_cloudwatch_event_rule.interruption : k => r.name }
}
