# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.
# What the controller may do in AWS: read its queue.

resource "aws_iam_role" "controller" {
  name = "${local.name}-controller"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Principal = {
        Service = "pods.eks.amazonaws.com"
      }
      Action = ["sts:AssumeRole", "sts:TagSession"]
    }]
  })
  tags = local.tags
}

resource "aws_iam_role_policy" "controller" {
  name = "notices"
  role = aws_iam_role.controller.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "ReadNotices"
      Effect   = "Allow"
      Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"]
      Resource = aws_sqs_queue.interruptions.arn
    }]
  })
}

resource "aws_eks_pod_identity_association" "controller" {
  cluster_name    = var.cluster_name
  namespace       = "market-intel-brain"
  service_account = "evenkeel"
  role_arn        = aws_iam_role.controller.arn
  tags            = local.tags
}

# The same for clusters without the Pod Identity agent.
resource "aws_iam_role" "controller_irsa" {
  count = var.oidc_provider_arn == null ? 0 : 1
  name  = "${local.name}-controller-irsa"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Principal = {
        Federated = var.oidc_provider_arn
      }
      Action = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${element(split(":oidc-provider/", var.oidc_provider_arn), 1)}:sub" = "system:serviceaccount:market-intel-brain:evenkeel"
          "${element(split(":oidc-provider/", var.oidc_provider_arn), 1)}:aud" = "sts.amazonaws.com"
        }
      }
    }]
  })
  tags = local.tags
}

resource "aws_iam_role_policy" "controller_irsa" {
  count = var.oidc_provider_arn == null ? 0 : 1
  name  = "notices"
  role  = aws_iam_role.controller_irsa[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "ReadNotices"
      Effect   = "Allow"
      Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"]
      Resource = aws_sqs_queue.interruptions.arn
    }]
  })
}
