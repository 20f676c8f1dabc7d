// Analytics watches the prices of the topic of ticks for what is unusual, and sends
// alerts. It is a member of a consumer group: as many of it as there are partitions
// share the work. It keeps nothing: states are in the topic of states.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/analytics"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/service"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stderr)) }

func run(ctx context.Context, args []string, env func(string) string, stderr io.Writer) int {
	var f service.Flags
	flags := flag.NewFlagSet("analytics", flag.ContinueOnError)
	f.Add(flags, env)
	group := flags.String("group", "analytics", "the consumer `group`")
	session := flags.Duration("session", 10*time.Second, "how `long` the group waits for a member that says nothing")
	if code, ok := service.Parse(flags, args, stderr); !ok {
		return code
	}
	s, err := service.New(ctx, "analytics", f, env, stderr)
	if err == nil {
		metrics := analytics.NewMetrics()
		s.Registry.MustRegister(metrics)
		s.Lifecycle.OnStart(s.Topics)
		err = analytics.Register(s.Lifecycle, analytics.Options{
			Brokers: s.Brokers, Group: *group, Session: *session, Logger: s.Log, Metrics: metrics, Client: s.Client(),
		})
	}
	if err != nil {
		_, _ = io.WriteString(stderr, "analytics: "+err.Error()+"\n")
		return 1
	}
	return s.Run(ctx)
}
