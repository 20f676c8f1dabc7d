# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.
# Interruption notices wait here for the controller.

# A notice older than five minutes is about a machine that is gone.
resource "aws_sqs_queue" "interruptions" {
  name                       = "${local.name}-interruptions"
  message_retention_seconds  = 300
  visibility_timeout_seconds = 20
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 25
  })
  tags = local.tags
}

# What was received too often, kept for a person to look at.
resource "aws_sqs_queue" "dead_letters" {
  name                      = "${local.name}-interruptions-dlq"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.interruptions.arn]
  })
}

# Our own rules may send, and no one in plain text.
resource "aws_sqs_queue_policy" "interruptions" {
  queue_url = aws_sqs_queue.interruptions.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "EventsMaySend"
      Effect = "Allow"
      Principal = {
        Service = "events.amazonaws.com"
      }
      Action   = "sqs:SendMessage"
      Resource = aws_sqs_queue.interruptions.arn
      Condition = {
        ArnEquals = {
          "aws:SourceArn" = [for r in aws_cloudwatch_event_rule.interruption : r.arn]
        }
      }
      }, {
      Sid       = "NoPlainText"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = aws_sqs_queue.interruptions.arn
      Condition = {
        Bool = {
          "aws:SecureTransport" = "false"
        }
      }
    }]
  })
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "NoPlainText"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = aws_sqs_queue.dead_letters.arn
      Condition = {
        Bool = {
          "aws:SecureTransport" = "false"
        }
      }
    }]
  })
}
