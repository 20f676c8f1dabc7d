package render

import (
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

type alarm struct {
	name, about           string
	count                 expr // empty: always there
	namespace, metric     string
	dimensions            object
	statistic             string
	period, evaluations   int
	threshold             any
	comparison, whenEmpty string
}

func writeAlarms(_ *spec.Platform, b hclBody) {
	b.resource("", "aws_sns_topic", "alarms").
		set("name", expr(`"${local.name}-alarms"`)).
		set("kms_master_key_id", expr("var.topic_kms_key_id")).
		set("tags", expr("local.tags"))
	publish := func(sid, service string) object {
		return object{
			{"Sid", sid},
			{"Effect", "Allow"},
			{"Principal", object{{"Service", service}}},
			{"Action", "sns:Publish"},
			{"Resource", expr("aws_sns_topic.alarms.arn")},
			{"Condition", object{{"StringEquals", object{{"aws:SourceAccount", expr("data.aws_caller_identity.current.account_id")}}}}},
		}
	}
	b.resource("", "aws_sns_topic_policy", "alarms").
		set("arn", expr("aws_sns_topic.alarms.arn")).
		setCall("policy", call{"jsonencode", object{
			{"Version", "2012-10-17"},
			{"Statement", []any{publish("Alarms", "cloudwatch.amazonaws.com"), publish("Budgets", "budgets.amazonaws.com")}},
		}})
	b.resource("", "aws_sns_topic_subscription", "email").
		set("for_each", expr("var.emails")).
		set("topic_arn", expr("aws_sns_topic.alarms.arn")).
		set("protocol", "email").
		set("endpoint", expr("each.value"))

	for _, a := range []alarm{
		{"queue_age", "A notice has waited for a minute: no controller reads the queue.", "", "AWS/SQS", "ApproximateAgeOfOldestMessage",
			object{{"QueueName", expr("aws_sqs_queue.interruptions.name")}}, "Maximum", 60, 1, 60, "GreaterThanOrEqualToThreshold", "notBreaching"},
		{"dead_letters", "A message was received too often: it cannot be read, or could not be stored.", "", "AWS/SQS", "ApproximateNumberOfMessagesVisible",
			object{{"QueueName", expr("aws_sqs_queue.dead_letters.name")}}, "Maximum", 60, 1, 0, "GreaterThanThreshold", "notBreaching"},
		{"interruption_rate", "Spot machines are being taken in numbers.", "", "AWS/Events", "TriggeredRules",
			object{{"RuleName", expr(`aws_cloudwatch_event_rule.interruption["spot"].name`)}}, "Sum", 3600, 1, expr("var.interruptions_per_hour"), "GreaterThanOrEqualToThreshold", "notBreaching"},
		{"handler_errors", "The second ear failed.", "var.handler_package == null ? 0 : 1", "AWS/Lambda", "Errors",
			object{{"FunctionName", expr("aws_lambda_function.handler[0].function_name")}}, "Sum", 300, 1, 0, "GreaterThanThreshold", "notBreaching"},
	} {
		r := b.resource("", "aws_cloudwatch_metric_alarm", a.name)
		if a.count != "" {
			r.set("count", a.count)
		}
		r.set("alarm_name", expr(`"${local.name}-`+dashed(a.name)+`"`)).
			set("alarm_description", a.about).
			set("namespace", a.namespace).
			set("metric_name", a.metric).
			set("dimensions", a.dimensions).
			set("statistic", a.statistic).
			set("period", a.period).
			set("evaluation_periods", a.evaluations).
			set("threshold", a.threshold).
			set("comparison_operator", a.comparison).
			set("treat_missing_data", a.whenEmpty).
			set("alarm_actions", expr("[aws_sns_topic.alarms.arn]")).
			set("ok_actions", expr("[aws_sns_topic.alarms.arn]")).
			set("tags", expr("local.tags"))
	}

	b.resource("", "aws_cloudwatch_dashboard", "interruptions").
		set("dashboard_name", expr(`"${local.name}-interruptions"`)).
		set("dashboard_body", expr(`file("${path.module}/dashboard.json")`))

	budget := b.resource("Counts what carries the platform's tag, which has to be activated as a cost allocation tag once.", "aws_budgets_budget", "platform").
		set("name", expr("local.name")).
		set("budget_type", "COST").
		set("time_unit", "MONTHLY").
		set("limit_amount", expr("tostring(var.monthly_budget_usd)")).
		set("limit_unit", "USD")
	f := budget.block("cost_filter")
	f.set("name", "TagKeyValue").set("values", expr(`[format("user:evenkeel.dev/platform$%s", local.name)]`))
	for _, n := range []struct {
		kind    string
		percent int
	}{{"FORECASTED", 100}, {"ACTUAL", 80}, {"ACTUAL", 100}} {
		x := budget.block("notification")
		x.set("notification_type", n.kind).
			set("comparison_operator", "GREATER_THAN").
			set("threshold", n.percent).
			set("threshold_type", "PERCENTAGE").
			set("subscriber_sns_topic_arns", expr("[aws_sns_topic.alarms.arn]"))
	}
	budget.set("tags", expr("local.tags"))
}

func dashed(name string) string {
	out := []byte(name)
	for i, c := range out {
		if c == '_' {
			out[i] = '-'
		}
	}
	return string(out)
}
