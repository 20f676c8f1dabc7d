# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.
# Which events become notices.

resource "aws_cloudwatch_event_rule" "interruption" {
  for_each      = local.event_rules
  name          = "${local.name}-${each.key}"
  description   = each.value.description
  event_pattern = jsonencode(each.value.pattern)
  tags          = local.tags
}

resource "aws_cloudwatch_event_target" "queue" {
  for_each  = local.event_rules
  rule      = aws_cloudwatch_event_rule.interruption[each.key].name
  target_id = "queue"
  arn       = aws_sqs_queue.interruptions.arn
}
