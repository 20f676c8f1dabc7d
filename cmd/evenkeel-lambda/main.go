// Command evenkeel-lambda is an AWS Lambda function that marks the nodes of machines
// that are about to be taken away, and empties them where no controller does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/aws/ekscluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
	"github.com/evenkeel-dev/evenkeel/internal/program"
)

const help = `evenkeel-lambda is an AWS Lambda function (runtime provided.al2023, handler
bootstrap). It is called with events of EventBridge, by a rule, a topic, or a queue
whose mapping reports batch item failures. For each notice it stores a Record on the
node together with the cordon, in the same way as evenkeel-controller does. Where no
controller runs, it also empties the nodes, for as long as the function's timeout
allows.

Environment:
  CLUSTER_NAME  name of the EKS cluster (required)
  AWS_REGION    where the cluster is; Lambda sets it
  GRACE_PERIOD  how long after an interruption warning the machine goes, in seconds
                or as a duration such as 2m (default 120)
  NAMESPACE     namespace of the controller's Lease (default evenkeel-system)
  DRAIN         auto: only while no controller holds the Lease evenkeel-controller;
                always; or never (default auto). A controller without --leader-elect
                holds no Lease
  LOG_LEVEL     debug, info, warn or error (default info)
`

func main() {
	// Lambda calls it without arguments; people ask for help.
	flags := flag.NewFlagSet("evenkeel-lambda", flag.ContinueOnError)
	flags.Usage = func() { _, _ = io.WriteString(flags.Output(), help) }
	if err := flags.Parse(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		os.Exit(program.ExitUsage)
	}
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		fmt.Fprint(os.Stderr, "evenkeel-lambda: this is a Lambda function, and AWS_LAMBDA_RUNTIME_API is not set\n\n", help)
		os.Exit(program.ExitUsage)
	}
	h, err := prepare(context.Background(), os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "evenkeel-lambda:", err)
		os.Exit(program.ExitUnable)
	}
	lambda.Start(h.handle)
}

// settings is the environment.
type settings struct {
	cluster, namespace string
	grace              time.Duration
	drain              string
	policy             drain.Policy
	logLevel           slog.Level
}

func readSettings(env func(string) string) (settings, error) {
	or := func(name, otherwise string) string {
		if v := env(name); v != "" {
			return v
		}
		return otherwise
	}
	s := settings{cluster: env("CLUSTER_NAME"), namespace: or("NAMESPACE", kube.LeaseNamespace), drain: or("DRAIN", "auto")}
	if s.cluster == "" {
		return s, errors.New("CLUSTER_NAME is not set: the name of the EKS cluster")
	}
	grace := or("GRACE_PERIOD", "120")
	if _, err := strconv.Atoi(grace); err == nil {
		grace += "s"
	}
	var err error
	if s.grace, err = time.ParseDuration(grace); err != nil || s.grace <= 0 {
		return s, fmt.Errorf("GRACE_PERIOD=%s: must be a number of seconds, or a duration such as 2m", env("GRACE_PERIOD"))
	}
	switch s.drain {
	case "auto", "always", "never":
	default:
		return s, fmt.Errorf("DRAIN=%s: must be auto, always or never", s.drain)
	}
	if err := s.logLevel.UnmarshalText([]byte(or("LOG_LEVEL", "info"))); err != nil {
		return s, fmt.Errorf("LOG_LEVEL=%s: must be debug, info, warn or error", env("LOG_LEVEL"))
	}
	return s, nil
}

// prepare does once what every call needs.
func prepare(ctx context.Context, env func(string) string) (*handler, error) {
	s, err := readSettings(env)
	if err != nil {
		return nil, err
	}
	log := program.Log(s.logLevel)
	found, err := ekscluster.Find(ctx, s.cluster)
	if err != nil {
		return nil, err
	}
	config := &rest.Config{
		Host: found.Endpoint, TLSClientConfig: rest.TLSClientConfig{CAData: found.CA},
		UserAgent: "evenkeel-lambda", QPS: 200, Burst: 400,
	}
	config.Wrap(found.Tokens.Transport)
	nodes, err := nodeapi.NewClient(config)
	if err != nil {
		return nil, err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	d := &drainer{settings: s, api: api, nodes: nodes, log: log}
	return &handler{settings: s, nodes: nodes, drain: d.run, log: log}, nil
}

// unmetered counts nothing: a function has nobody who asks.
type unmetered struct{}

func (unmetered) Notice(interruption.Notice, drain.Reason, time.Duration) {}
func (unmetered) Effect(drain.Effect, drain.Outcome, time.Duration)       {}
func (unmetered) Step(time.Duration)                                      {}
func (unmetered) Synced()                                                 {}
