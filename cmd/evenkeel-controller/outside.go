package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/internal/notify"
	"github.com/evenkeel-dev/evenkeel/internal/program"
	"github.com/evenkeel-dev/evenkeel/internal/proof/journal"
	"github.com/evenkeel-dev/evenkeel/internal/web"
)

// outside is the part of the command line that says whom to tell what happens.
type outside struct {
	cluster       string
	webhook       string
	webhookSecret string // a file
	slack         string // a file
	sns           string
	proof         string
	events        bool
}

func (o *outside) add(f *pflag.FlagSet) {
	f.StringVar(&o.cluster, "cluster-name", "", "name of this cluster in notifications and in the proof record")
	f.StringVar(&o.webhook, "notify-webhook", "", "URL that notifications are posted to as JSON; or $EVENKEEL_WEBHOOK_URL, if the URL is secret")
	f.StringVar(&o.webhookSecret, "notify-webhook-secret-file", "", "file with the secret that signs them (HMAC-SHA256); or $EVENKEEL_WEBHOOK_SECRET. Without one they are not signed")
	f.StringVar(&o.slack, "notify-slack-file", "", "file with the URL of a Slack incoming webhook; or $EVENKEEL_SLACK_URL")
	f.StringVar(&o.sns, "notify-sns", "", "ARN of an SNS topic that notifications are published to")
	f.StringVar(&o.proof, "proof", "-", "where the proof record goes, a line of JSON for each interruption: a file, - for standard output, s3://bucket/prefix, or none")
	f.BoolVar(&o.events, "events", true, "write Kubernetes Events of the nodes and pods")
}

// told are those who hear what happens to interruptions.
type told struct {
	observers []controller.Observer
	runners   []runner
	leading   func(bool)   // tells whether this process acts
	events    *kube.Events // nil if none are written
}

type runner interface {
	Run(ctx context.Context) error
}

// tell makes those who hear what happens, as the command line says.
func tell(ctx context.Context, o *outside, api kubernetes.Interface, identity string, meter *web.Meter, log *slog.Logger) (*told, error) {
	t := &told{observers: []controller.Observer{meter}, leading: meter.Leading}
	n, err := notifier(ctx, o, meter, log)
	if err != nil {
		return nil, err
	}
	if n != nil {
		t.observers, t.runners = append(t.observers, n), append(t.runners, n)
	}
	if o.events {
		e := kube.NewEvents(api, identity, log)
		t.observers, t.runners, t.events = append(t.observers, e), append(t.runners, e), e
	}
	sink, err := proofSink(ctx, o.proof)
	if err != nil {
		return nil, err
	}
	if sink != nil {
		j := journal.New(o.cluster, sink, log)
		t.observers, t.runners = append(t.observers, j), append(t.runners, j)
		t.leading = func(leading bool) { meter.Leading(leading); j.Leading(leading) }
	}
	return t, nil
}

// proofSink returns where the proof record goes, or nil for nowhere.
func proofSink(ctx context.Context, where string) (journal.Sink, error) {
	switch where {
	case "none", "":
		return nil, nil
	case "-":
		return journal.Writer{W: os.Stdout}, nil
	}
	if strings.HasPrefix(where, "s3://") {
		return aws.NewS3(ctx, where)
	}
	// It stays open for as long as the process lives: every line is one write.
	f, err := os.OpenFile(where, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the proof record: %w", err)
	}
	return journal.Writer{W: f}, nil
}

// notifier returns what tells people, or nil if nobody wants to be told.
func notifier(ctx context.Context, o *outside, meter *web.Meter, log *slog.Logger) (*notify.Notifier, error) {
	var channels []notify.Channel
	address := o.webhook
	if address == "" {
		address = os.Getenv("EVENKEEL_WEBHOOK_URL")
	}
	if address != "" {
		key, err := secret(o.webhookSecret, "EVENKEEL_WEBHOOK_SECRET")
		if err != nil {
			return nil, err
		}
		if key == "" {
			log.Warn("notifications are posted without a signature: no secret is given")
		}
		w, err := notify.NewWebhook(address, []byte(key))
		if err != nil {
			return nil, program.Usage(err)
		}
		channels = append(channels, w)
	}
	address, err := secret(o.slack, "EVENKEEL_SLACK_URL")
	if err != nil {
		return nil, err
	}
	if address != "" {
		s, err := notify.NewSlack(address)
		if err != nil {
			return nil, program.Usage(err)
		}
		channels = append(channels, s)
	}
	if o.sns != "" {
		if _, err := aws.ParseTopic(o.sns); err != nil {
			return nil, program.Usage(fmt.Errorf("--notify-sns: %w", err))
		}
		topic, err := aws.NewSNS(ctx, o.sns)
		if err != nil {
			return nil, err
		}
		channels = append(channels, notify.SNS{Topic: topic})
	}
	if len(channels) == 0 {
		return nil, nil
	}
	return notify.New(notify.Config{Cluster: o.cluster, Channels: channels, Log: log, Count: meter.Notified}), nil
}

// secret reads a secret from a file, if one is named, or from the environment. It
// is never a flag: those can be read by anybody on the machine.
func secret(file, variable string) (string, error) {
	if file == "" {
		return strings.TrimSpace(os.Getenv(variable)), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
