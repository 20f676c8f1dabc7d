# Rendered by `evenkeel render` from platform.yaml. Change that file, not this one.

variable "cluster_name" {
  description = "Name of the existing EKS cluster."
  type        = string
  default     = "market-intel-brain"

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$", var.cluster_name))
    error_message = "An EKS cluster name has at most 100 letters, digits, dashes and underscores."
  }
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes that the nodes run; not later than the cluster's."
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "Write a minor version such as 1.35."
  }
}

variable "subnet_ids" {
  description = "Private subnet of each zone, by zone: us-east-1a, us-east-1b, us-east-1c."
  type        = map(string)

  validation {
    condition     = alltrue([for z in local.zones : can(regex("^subnet-", var.subnet_ids[z]))])
    error_message = "Give one subnet-... for every zone of the platform."
  }
}

variable "oidc_provider_arn" {
  description = "OIDC provider of the cluster, for clusters without the Pod Identity agent. Unless given, no IRSA role is made."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex(":oidc-provider/", var.oidc_provider_arn))
    error_message = "Write the ARN of an IAM OIDC provider."
  }
}

variable "handler_package" {
  description = "Path of the evenkeel-lambda zip. Unless given, there is no second ear."
  type        = string
  default     = null
}

variable "interruptions_per_hour" {
  description = "Interruptions within an hour that raise the alarm."
  type        = number
  default     = 5

  validation {
    condition     = var.interruptions_per_hour >= 1
    error_message = "Write 1 or more."
  }
}

variable "monthly_budget_usd" {
  description = "Spending of a month, in US dollars, that raises the budget alarm."
  type        = number
  default     = 900

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "Write a positive amount."
  }
}

variable "emails" {
  description = "Addresses that alarms are sent to; each has to confirm once."
  type        = set(string)
  default     = ["oncall@example.com"]

  validation {
    condition     = alltrue([for e in var.emails : can(regex("@", e))])
    error_message = "Every entry must be an e-mail address."
  }
}

variable "topic_kms_key_id" {
  description = "Customer KMS key for the alarm topic; its policy must admit CloudWatch and Budgets, which the AWS managed key does not."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Days that the handler's log is kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch Logs does not know this retention."
  }
}

variable "tags" {
  description = "Further tags of every resource."
  type        = map(string)
  default     = {}
}
