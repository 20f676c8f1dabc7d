package lint

func queuePlain() Rule {
	return Rule{
		ID:       "EK046",
		Title:    "interruption queue that accepts requests without TLS, or none at all",
		Severity: Warning,
		Why: `EventBridge delivers to a queue only if the queue's policy lets it: without a policy no notice ever arrives, and
nothing says so. A policy should also deny requests without TLS, as account baselines (and AWS's own security checks)
ask.

Only queues that an EventBridge rule of the input sends to are looked at; a policy that cannot be read is taken to be
right.`,
		Remedy:    "Attach a policy that allows `sqs:SendMessage` to `events.amazonaws.com` and denies `sqs:*` where `aws:SecureTransport` is false.",
		Terraform: true,
		Bad: `resource "aws_sqs_queue" "interruptions" { # EK046
  name           = "mib-interruptions"
  redrive_policy = jsonencode({ deadLetterTargetArn = "arn:aws:sqs:us-east-1:123456789012:dead", maxReceiveCount = 4 })
}

resource "aws_sqs_queue_policy" "interruptions" {
  queue_url = aws_sqs_queue.interruptions.id
  policy    = data.aws_iam_policy_document.queue.json
}

data "aws_iam_policy_document" "queue" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = ["arn:aws:sqs:us-east-1:123456789012:mib-interruptions"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }
}

resource "aws_cloudwatch_event_target" "spot" {
  rule = "mib-spot"
  arn  = aws_sqs_queue.interruptions.arn
}
`,
		Good: `resource "aws_sqs_queue" "interruptions" {
  name           = "mib-interruptions"
  redrive_policy = jsonencode({ deadLetterTargetArn = "arn:aws:sqs:us-east-1:123456789012:dead", maxReceiveCount = 4 })
}

resource "aws_sqs_queue_policy" "interruptions" {
  queue_url = aws_sqs_queue.interruptions.id
  policy    = data.aws_iam_policy_document.queue.json
}

data "aws_iam_policy_document" "queue" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = ["arn:aws:sqs:us-east-1:123456789012:mib-interruptions"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }
  statement {
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = ["arn:aws:sqs:us-east-1:123456789012:mib-interruptions"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_cloudwatch_event_target" "spot" {
  rule = "mib-spot"
  arn  = aws_sqs_queue.interruptions.arn
}
`,
		Check: func(t *Target) (out []Finding) {
			for _, q := range t.Queues {
				switch {
				case !q.HasPolicy:
					f := at(&q.Meta, q.Pos, "no policy lets EventBridge send to the queue: no notice arrives")
					f.Severity = Error
					out = append(out, f)
				case q.PolicyKnown && !q.DeniesPlain:
					out = append(out, at(&q.Meta, q.Pos, "the queue's policy does not deny requests without TLS"))
				}
			}
			return out
		},
	}
}
