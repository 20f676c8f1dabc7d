// Command evenkeel-agent listens on a machine for the notices that its cloud gives
// to the machine itself, and marks the machine's node.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/evenkeel-dev/evenkeel/internal/agent"
	"github.com/evenkeel-dev/evenkeel/internal/aws/metadata"
	"github.com/evenkeel-dev/evenkeel/internal/azure"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/gcp"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
	"github.com/evenkeel-dev/evenkeel/internal/program"
)

func main() { program.Main(command()) }

// config is the command line.
type config struct {
	node       string
	cloud      string
	kubeconfig string
	metadata   string
	poll       time.Duration
	spot       time.Duration
	preempt    time.Duration
	freezes    bool
	rebalance  string
	policy     drain.Policy
	logLevel   slog.LevelVar
}

func command() *cobra.Command {
	var c config
	cmd := program.New(&cobra.Command{
		Use:   "evenkeel-agent",
		Short: "Mark a machine's node when the cloud tells the machine that it goes",
		Long: `evenkeel-agent runs on every machine and listens to the metadata service of its
cloud. When the machine is about to be taken away it stores a Record on the
machine's own node together with the cordon, in the same way as evenkeel-controller
does, which then finds it and empties the node. It works while no controller runs,
needs no queue, and reads and writes no object but its node.

  aws    interruption, rebalance recommendation, and the target state that the Auto
         Scaling group has for the machine (IMDSv2)
  gcp    preemption, and maintenance that stops the machine
  azure  Scheduled Events. An event of this machine alone is approved when the node
         is empty, so that nobody waits longer than needed`,
		Example: `  # In a DaemonSet, with NODE_NAME from the downward API
  evenkeel-agent

  # Against a stand-in for the metadata service
  evenkeel-agent --node=worker-1 --kubeconfig=$HOME/.kube/config --metadata=http://127.0.0.1:1338`,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), &c) },
	})
	f := cmd.Flags()
	f.StringVar(&c.node, "node", "", "name of the machine's node; default: $NODE_NAME")
	f.StringVar(&c.cloud, "cloud", "auto", "whose metadata service it is: aws, gcp or azure; auto goes by the node's spec.providerID")
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "path of a kubeconfig; default: the pod's service account")
	f.StringVar(&c.metadata, "metadata", "", "URL of the metadata service; default: the cloud's own")
	f.DurationVar(&c.poll, "poll", 2*time.Second, "how often a metadata service is asked that does not wait for news itself (aws, azure)")
	f.DurationVar(&c.spot, "spot-notice", 2*time.Minute, "aws: how long before its end a machine is told")
	f.DurationVar(&c.preempt, "preempt-notice", 30*time.Second, "gcp: how long after it is told a machine goes")
	f.StringVar(&c.rebalance, "rebalance", string(drain.RebalanceIgnore), "aws: what a rebalance recommendation leads to: ignore, cordon or handoff; the node's label evenkeel.dev/rebalance decides before this")
	f.DurationVar(&c.policy.HookTime, "hook-time", 15*time.Minute, "aws: what a drain may take for which an Auto Scaling lifecycle hook waits")
	f.DurationVar(&c.policy.ScheduledLead, "scheduled-lead", time.Hour, "gcp, azure: how long before the announced start of maintenance its machine is emptied")
	f.BoolVar(&c.freezes, "freezes", false, "azure: also empty the node of a machine that is to be paused for some seconds")
	f.TextVar(&c.logLevel, "log-level", &c.logLevel, "debug, info, warn or error")
	return cmd
}

func run(ctx context.Context, c *config) error {
	log := program.Log(&c.logLevel)
	if c.node == "" {
		c.node = os.Getenv("NODE_NAME")
	}
	switch {
	case c.node == "":
		return program.Usage(errors.New("--node is required, or NODE_NAME in the environment: the node of this machine"))
	case c.poll < 100*time.Millisecond:
		return program.Usage(fmt.Errorf("--poll=%s: must be at least 100ms", c.poll))
	}
	switch c.cloud {
	case "auto", "aws", "gcp", "azure":
	default:
		return program.Usage(fmt.Errorf("--cloud=%s: must be aws, gcp, azure or auto", c.cloud))
	}

	var err error
	if c.policy.Rebalance, err = drain.ParseRebalance(c.rebalance); err != nil {
		return program.Usage(fmt.Errorf("--rebalance: %w", err))
	}

	rc, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return fmt.Errorf("finding the Kubernetes API: %w", err)
	}
	rc.UserAgent = "evenkeel-agent"
	api, err := nodeapi.NewClient(rc)
	if err != nil {
		return err
	}
	n := &node{api: nodeapi.Marker{API: api}, name: c.node, policy: c.policy, log: log}
	providerID, err := n.providerID(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ears, err := ears(c, providerID)
	if err != nil {
		return err
	}
	log.Info("listening", "node", c.node, "providerID", providerID)
	agent.New(n, ears, log).Run(ctx)
	return nil
}

// ears returns what to listen to on a machine.
func ears(c *config, providerID string) ([]agent.Ear, error) {
	instance, ok := interruption.InstanceOfProviderID(providerID)
	if !ok {
		return nil, fmt.Errorf("the node's spec.providerID %q names no machine of AWS, GCP or Azure", providerID)
	}
	cloud := c.cloud
	if cloud == "auto" {
		cloud = cloudOf(providerID)
	}
	switch cloud {
	case "gcp":
		m := gcp.New(instance, c.preempt, c.metadata)
		return []agent.Ear{
			{Name: "preempted", Hear: m.Preempted().Next},
			{Name: "maintenance-event", Hear: m.Maintenance().Next},
		}, nil
	case "azure":
		m := azure.New(instance, c.freezes, c.metadata)
		return []agent.Ear{{Name: "scheduledevents", Hear: m.Events, Pause: c.poll, Emptied: m.Approve}}, nil
	}
	m := metadata.New(instance, c.spot, c.metadata)
	return []agent.Ear{
		{Name: "instance-action", Hear: m.Spot, Pause: c.poll},
		{Name: "rebalance", Hear: m.Rebalance, Pause: c.poll},
		{Name: "target-lifecycle-state", Hear: m.Group, Pause: c.poll},
	}, nil
}
