package render

import (
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

type scaledObject struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            scaledObjectSpec  `json:"spec"`
}

type scaledObjectSpec struct {
	ScaleTargetRef  scaleTarget     `json:"scaleTargetRef"`
	MinReplicaCount int             `json:"minReplicaCount"`
	MaxReplicaCount int             `json:"maxReplicaCount"`
	PollingInterval int64           `json:"pollingInterval"` // seconds
	CooldownPeriod  int64           `json:"cooldownPeriod"`  // seconds
	Fallback        *scaledFallback `json:"fallback,omitempty"`
	Advanced        scaledAdvanced  `json:"advanced"`
	Triggers        []scaledTrigger `json:"triggers"`
}

type scaleTarget struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
}

type scaledFallback struct {
	FailureThreshold int    `json:"failureThreshold"`
	Replicas         int    `json:"replicas"`
	Behavior         string `json:"behavior"`
}

type scaledAdvanced struct {
	HPA scaledHPA `json:"horizontalPodAutoscalerConfig"`
}

type scaledHPA struct {
	Behavior hpaBehavior `json:"behavior"`
}

type hpaBehavior struct {
	ScaleDown hpaRules `json:"scaleDown"`
	ScaleUp   hpaRules `json:"scaleUp"`
}

type hpaRules struct {
	StabilizationWindowSeconds int64       `json:"stabilizationWindowSeconds"`
	Policies                   []hpaPolicy `json:"policies"`
}

type hpaPolicy struct {
	Type          string `json:"type"`
	Value         int    `json:"value"`
	PeriodSeconds int    `json:"periodSeconds"`
}

type scaledTrigger struct {
	Type       string            `json:"type"`
	Name       string            `json:"name,omitempty"`
	MetricType string            `json:"metricType,omitempty"`
	Metadata   map[string]string `json:"metadata"` // KEDA takes strings only
}

func kedaManifests(p *spec.Platform) []manifest {
	m := manifest{path: "keda/scaledobjects.yaml"}
	for _, s := range p.Services {
		if s.Scaling != nil {
			m.objects = append(m.objects, scaledObjectOf(p, s))
		}
	}
	if len(m.objects) == 0 {
		return nil
	}
	return []manifest{m}
}

func scaledObjectOf(p *spec.Platform, s spec.Service) scaledObject {
	sc := s.Scaling
	kind := "Deployment"
	if s.Stateful != nil {
		kind = "StatefulSet"
	}
	o := scaledObject{
		TypeMeta: typeMeta("keda.sh/v1alpha1", "ScaledObject"),
		Metadata: meta(p, s),
		Spec: scaledObjectSpec{
			ScaleTargetRef:  scaleTarget{"apps/v1", kind, s.Name},
			MinReplicaCount: sc.Min,
			MaxReplicaCount: sc.Max,
			PollingInterval: seconds(sc.Poll),
			CooldownPeriod:  seconds(sc.Cooldown),
			// Growing is quick, because a reclaim and a rise of load may come
			// together; shrinking waits, because every step is a rebalance of
			// consumers and a drain.
			Advanced: scaledAdvanced{scaledHPA{hpaBehavior{
				ScaleDown: hpaRules{min(seconds(sc.Cooldown), 3600), []hpaPolicy{{"Percent", 25, 60}}},
				ScaleUp:   hpaRules{0, []hpaPolicy{{"Percent", 100, 15}, {"Pods", 4, 15}}},
			}}},
		},
	}
	external := false
	for i, t := range sc.Triggers {
		o.Spec.Triggers = append(o.Spec.Triggers, scaledTriggerOf(p, i, t))
		external = external || t.Prometheus != nil || t.Kafka != nil || t.NATS != nil
	}
	if external { // KEDA has no fallback for what the kubelet measures or the clock says
		o.Spec.Fallback = &scaledFallback{sc.FallbackAfter, sc.Fallback, "currentReplicasIfHigher"}
	}
	return o
}

func scaledTriggerOf(p *spec.Platform, i int, t spec.Trigger) scaledTrigger {
	name := func(kind string) string { return fmt.Sprintf("%s-%d", kind, i) }
	switch {
	case t.CPU != nil:
		return scaledTrigger{Type: "cpu", MetricType: "Utilization", Metadata: map[string]string{"value": strconv.Itoa(t.CPU.Utilization)}}
	case t.Prometheus != nil:
		return scaledTrigger{Type: "prometheus", Name: name("prometheus"), MetricType: "AverageValue", Metadata: map[string]string{
			"serverAddress": p.Observability.Prometheus, "query": t.Prometheus.Query, "threshold": t.Prometheus.Threshold,
			"ignoreNullValues": "false", // no data is a failure, which the fallback answers, and not zero load
		}}
	case t.Kafka != nil:
		return scaledTrigger{Type: "kafka", Name: name("kafka"), MetricType: "AverageValue", Metadata: map[string]string{
			"bootstrapServers": t.Kafka.Brokers, "consumerGroup": t.Kafka.Group, "topic": t.Kafka.Topic,
			"lagThreshold": strconv.Itoa(t.Kafka.Lag), "offsetResetPolicy": "earliest",
		}}
	case t.NATS != nil:
		return scaledTrigger{Type: "nats-jetstream", Name: name("nats"), MetricType: "AverageValue", Metadata: map[string]string{
			"natsServerMonitoringEndpoint": t.NATS.Monitoring, "account": "$G", "stream": t.NATS.Stream,
			"consumer": t.NATS.Consumer, "lagThreshold": strconv.Itoa(t.NATS.Lag),
		}}
	}
	return scaledTrigger{Type: "cron", Name: name("cron"), Metadata: map[string]string{
		"timezone": t.Cron.Timezone, "start": t.Cron.Start, "end": t.Cron.End, "desiredReplicas": strconv.Itoa(t.Cron.Replicas),
	}}
}
