package lint

func queueNoDeadLetter() Rule {
	return Rule{
		ID:       "EK045",
		Title:    "interruption queue without a dead-letter queue",
		Severity: Warning,
		Why: `A message that the consumer cannot handle comes back until it expires, and with it goes the only trace of an
interruption that nobody acted on. A dead-letter queue keeps it, and its depth is the alarm.

Only queues that an EventBridge rule of the input sends to are looked at.`,
		Remedy:    "Add a `redrive_policy` with a `maxReceiveCount` of a few.",
		Terraform: true,
		Bad: `resource "aws_sqs_queue" "interruptions" { # EK045
  name = "mib-interruptions"
}

resource "aws_sqs_queue_policy" "interruptions" {
  queue_url = aws_sqs_queue.interruptions.id
  policy    = var.policy
}

resource "aws_cloudwatch_event_target" "spot" {
  rule = "mib-spot"
  arn  = aws_sqs_queue.interruptions.arn
}
`,
		Good: `resource "aws_sqs_queue" "dead" {
  name = "mib-interruptions-dead"
}

resource "aws_sqs_queue" "interruptions" {
  name = "mib-interruptions"
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 4
  })
}

resource "aws_sqs_queue_policy" "interruptions" {
  queue_url = aws_sqs_queue.interruptions.id
  policy    = var.policy
}

resource "aws_cloudwatch_event_target" "spot" {
  rule = "mib-spot"
  arn  = aws_sqs_queue.interruptions.arn
}
`,
		Check: func(t *Target) (out []Finding) {
			for _, q := range t.Queues {
				if !q.HasDeadLetter {
					out = append(out, at(&q.Meta, q.Pos, "what the consumer cannot handle is lost when it expires"))
				}
			}
			return out
		},
	}
}
