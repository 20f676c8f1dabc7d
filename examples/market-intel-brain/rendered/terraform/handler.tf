# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.
# The second ear: a function that answers a notice when no controller does.

resource "aws_iam_role" "handler" {
  count = var.handler_package == null ? 0 : 1
  name  = "${local.name}-interruption-handler"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Principal = {
        Service = "lambda.amazonaws.com"
      }
      Action = ["sts:AssumeRole"]
    }]
  })
  tags = local.tags
}

# Its log, the cluster's address, and the dead letters. Its rights in the cluster come from the access entry below.
resource "aws_iam_role_policy" "handler" {
  count = var.handler_package == null ? 0 : 1
  name  = "handler"
  role  = aws_iam_role.handler[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.handler[0].arn}:log-stream:*"
      }, {
      Sid      = "Cluster"
      Effect   = "Allow"
      Action   = ["eks:DescribeCluster"]
      Resource = data.aws_eks_cluster.this.arn
      }, {
      Sid      = "DeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = aws_sqs_queue.dead_letters.arn
    }]
  })
}

resource "aws_cloudwatch_log_group" "handler" {
  count             = var.handler_package == null ? 0 : 1
  name              = "/aws/lambda/${local.name}-interruption-handler"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

resource "aws_lambda_function" "handler" {
  count            = var.handler_package == null ? 0 : 1
  function_name    = "${local.name}-interruption-handler"
  description      = "Cordons the node of a spot machine that goes, and empties it if no controller runs."
  role             = aws_iam_role.handler[0].arn
  filename         = var.handler_package
  source_code_hash = try(filebase64sha256(var.handler_package), null)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = ["arm64"]
  memory_size      = 256
  timeout          = 150

  environment {
    variables = {
      CLUSTER_NAME = var.cluster_name
      NAMESPACE    = "market-intel-brain"
      GRACE_PERIOD = "120"
    }
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.dead_letters.arn
  }
  tags       = local.tags
  depends_on = [aws_cloudwatch_log_group.handler, aws_iam_role_policy.handler]
}

resource "aws_lambda_permission" "handler" {
  count         = var.handler_package == null ? 0 : 1
  statement_id  = "spot-rule"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.handler[0].function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.interruption["spot"].arn
}

resource "aws_cloudwatch_event_target" "handler" {
  count     = var.handler_package == null ? 0 : 1
  rule      = aws_cloudwatch_event_rule.interruption["spot"].name
  target_id = "handler"
  arn       = aws_lambda_function.handler[0].arn
}

# The group is bound to a ClusterRole in the cluster.
resource "aws_eks_access_entry" "handler" {
  count             = var.handler_package == null ? 0 : 1
  cluster_name      = var.cluster_name
  principal_arn     = aws_iam_role.handler[0].arn
  kubernetes_groups = ["evenkeel:handlers"]
  tags              = local.tags
}
