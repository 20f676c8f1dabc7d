// Command evenkeel-controller empties the nodes of a Kubernetes cluster that are
// about to be taken away. It reads interruption notices from an SQS queue and
// replaces pods before it evicts them.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/program"
	"github.com/evenkeel-dev/evenkeel/internal/web"
)

func main() { program.Main(command()) }

// config is the command line.
type config struct {
	kubeconfig  string
	qps         float32
	burst       int
	queue       string
	region      string
	lead        time.Duration
	foreign     int
	policy      policy
	concurrency int
	listen      string
	logLevel    slog.LevelVar

	leaderElect     bool
	lease, identity string
	outside
	capacity capacityFlags
}

func command() *cobra.Command {
	var c config
	cmd := program.New(&cobra.Command{
		Use:   "evenkeel-controller",
		Short: "Empty nodes that are about to be taken away, replacing pods before evicting them",
		Long: `evenkeel-controller reads interruption notices from an SQS queue. For each it
stores a Record on the node together with the cordon, and only then lets go of the
message. Pods of Deployments are handed off: a replacement starts while the old
pod serves, and the old one is evicted when the replacement is Ready. What is left
at its latest start (deadline - margin - grace) is evicted, or deleted where a
PodDisruptionBudget still blocks.

It keeps no state of its own: it may be killed at any moment and goes on when it
is started again.`,
		Example: `  # In a cluster, with the queue that the rendered Terraform creates
  evenkeel-controller --sqs-queue=evenkeel-production

  # From a laptop, with the current kubeconfig
  KUBECONFIG=~/.kube/config evenkeel-controller --sqs-queue=evenkeel-test --log-level=debug`,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), &c) },
	})
	f := cmd.Flags()
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "path of a kubeconfig; default: $KUBECONFIG, else the pod's service account")
	f.Float32Var(&c.qps, "kube-api-qps", -1, "requests a second to the Kubernetes API; -1 for as many as --concurrency lets through")
	f.IntVar(&c.burst, "kube-api-burst", 400, "requests to the Kubernetes API in a burst, if --kube-api-qps sets a limit")
	f.StringVar(&c.queue, "sqs-queue", "", "name or URL of the SQS queue that EventBridge sends notices to (required)")
	f.StringVar(&c.region, "aws-region", "", "AWS region; default: $AWS_REGION and the other usual places")
	f.DurationVar(&c.lead, "spot-notice", 2*time.Minute, "how long after a spot interruption warning its instance goes")
	f.IntVar(&c.foreign, "foreign-receives", 12, "after how many receipts a message about an instance of another cluster is looked at ever more rarely; its owner has had it by then")
	c.policy.flags(f)
	f.IntVar(&c.concurrency, "concurrency", 64, "requests to the Kubernetes API under way at once")
	f.BoolVar(&c.leaderElect, "leader-elect", false, "act only while holding a Lease, so that several replicas may run; needed with more than one")
	f.StringVar(&c.lease, "lease", kube.LeaseNamespace+"/"+kube.LeaseName, "namespace/name of the Lease of --leader-elect")
	f.StringVar(&c.identity, "identity", "", "name of this replica in the Lease; default: the host's name and a random part")
	c.outside.add(f)
	c.capacity.add(f)
	f.StringVar(&c.listen, "listen", ":8080", "address of /livez, /readyz and /metrics")
	f.TextVar(&c.logLevel, "log-level", &c.logLevel, "debug, info, warn or error")
	return cmd
}

func run(ctx context.Context, c *config) error {
	log := program.Log(&c.logLevel)
	log.Info("starting", "queue", c.queue, "notice", c.lead)
	switch {
	case c.queue == "":
		return program.Usage(errors.New("--sqs-queue is required: the queue that EventBridge sends notices to"))
	case strings.Count(strings.Trim(c.lease, "/"), "/") != 1:
		return program.Usage(fmt.Errorf("--lease=%s: must be namespace/name", c.lease))
	}
	decisions, err := c.policy.parse()
	if err != nil {
		return program.Usage(err)
	}
	if err := c.capacity.check(); err != nil {
		return program.Usage(err)
	}
	identity, err := c.name()
	if err != nil {
		return err
	}
	api, slow, err := kubeAPIs(c)
	if err != nil {
		return err
	}
	client, err := aws.NewClient(ctx, c.region)
	if err != nil {
		return err
	}
	autoScaling, err := aws.NewHooks(ctx, c.region)
	if err != nil {
		return err
	}
	meter := web.NewMeter()
	told, err := tell(ctx, &c.outside, slow, identity, meter, log)
	if err != nil {
		return err
	}
	changes := meter.CountCosts(price.Builtin())
	keeper, err := c.capacity.keeper(ctx, c, decisions, slow, meter, told, log)
	if err != nil {
		return err
	}
	if keeper != nil {
		count, leading := changes, told.leading
		changes = func(ch []cluster.Change) { count(ch); keeper.Changed(ch) }
		told.leading = func(is bool) { leading(is); keeper.Leading(is) }
	}
	queue, nodes, hooks := between(client, kube.New(api, log), autoScaling)
	lookup := func(ctx context.Context) (string, error) { return aws.QueueURL(ctx, client, c.queue) }
	ctl := controller.New(nodes, []controller.Source{source(queue, lookup, c, meter, log)}, controller.Config{
		Policy: decisions, Concurrency: c.concurrency, Log: log, Meter: meter, Hooks: hooks,
		Turn: election(c, api, identity, told, log), Observers: told.observers,
		Changes: changes,
	})

	g, ctx := errgroup.WithContext(ctx)
	// Those who are told outlive the one who tells.
	telling, silent := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error {
		defer silent()
		return ctl.Run(ctx)
	})
	for _, r := range told.runners {
		g.Go(func() error { return r.Run(telling) })
	}
	if keeper != nil {
		g.Go(func() error { return keeper.Run(ctx) })
	}
	g.Go(func() error { return meter.Serve(ctx, c.listen, log) })
	return g.Wait()
}

// kubeAPIs returns a client for what a drain needs, and one for what can wait, with
// a limit of its own.
func kubeAPIs(c *config) (fast, slow kubernetes.Interface, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	rc, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		rc, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("finding the Kubernetes API: %w", err)
	}
	rc.UserAgent = "evenkeel-controller"
	// Smaller than JSON, and less work to read.
	rc.ContentType = runtime.ContentTypeProtobuf
	rc.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	// They go over a fast network. Reading gzip took 7 % of the controller's processor
	// time while a hundred nodes went, and the API server compresses for each watch.
	rc.DisableCompression = true
	client := func(qps float32, burst int) kubernetes.Interface {
		limited := rest.CopyConfig(rc)
		limited.QPS, limited.Burst = qps, burst
		api, failed := kubernetes.NewForConfig(limited)
		err = errors.Join(err, failed)
		return api
	}
	fast, slow = client(c.qps, c.burst), client(20, 50)
	if err != nil {
		return nil, nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	return fast, slow, nil
}

// name returns what tells this replica from others.
func (c *config) name() (string, error) {
	if c.identity != "" {
		return c.identity, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("naming this replica: %w; --identity names it", err)
	}
	return host + "-" + strings.ToLower(rand.Text()[:8]), nil
}

// election returns what says when to act: nil, always, unless several replicas run.
func election(c *config, api kubernetes.Interface, identity string, told *told, log *slog.Logger) controller.Turn {
	if !c.leaderElect {
		told.leading(true)
		return nil
	}
	namespace, name, _ := strings.Cut(c.lease, "/")
	return kube.NewElection(api, namespace, name, identity, told.leading, log)
}

// source reads the queue, wherever it is found by then.
func source(queue aws.Queue, lookup func(context.Context) (string, error), c *config, meter *web.Meter, log *slog.Logger) *aws.Named {
	open := func(url string) *aws.SQS {
		return aws.NewSQS(queue, aws.SQSConfig{
			QueueURL: url, Lead: c.lead, MaxForeign: c.foreign, Log: log,
			Count: func(o aws.Outcome) { meter.Message(string(o)) },
		})
	}
	return aws.NewNamed(lookup, open, log)
}
