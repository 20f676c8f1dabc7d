package analytics_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/analytics"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/mibtest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

var feeds = flag.Int("feeds", 16, "how many feeds of the sample's prices the throughput benchmark sends; analytics remembers 16")

// A process of this test that has this variable is a broker.
const brokerEnv = "MIB_TEST_BROKER"

func broker() error {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println(strings.Join(c.ListenAddrs(), ","))
	_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started it ends
	return nil
}

// Prices are in the topic before the member starts; what is measured is how long it
// takes to read, decode and use all of them, with its alerts and snapshots
// acknowledged. The broker is a process of its own, on the same processors.
func BenchmarkMember(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokerEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	brokers := strings.Split(strings.TrimSpace(line), ",")
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	if err := stream.CreateTopics(b.Context(), client, 1); err != nil {
		b.Fatal(err)
	}
	n := fillTicks(b, client)
	admin := kadm.NewClient(client)

	for i := 0; b.Loop(); i++ {
		group := fmt.Sprint("benchmark-", i)
		if i > 0 { // or it would begin where the one before it ended
			if _, err := admin.DeleteTopics(b.Context(), stream.State, stream.Alerts); err != nil {
				b.Fatal(err)
			}
			if err := stream.CreateTopics(b.Context(), client, 1); err != nil {
				b.Fatal(err)
			}
		}
		begun, used := time.Now(), processor(b)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			l := lifecycle.New(lifecycle.Options{Grace: 20 * time.Second, PropagationFloor: -1, TerminationLog: "none"})
			if err := analytics.Register(l, analytics.Options{Brokers: brokers, Group: group}); err != nil {
				done <- err
				return
			}
			done <- l.Run(ctx)
		}()
		for committed := int64(0); committed < n; time.Sleep(5 * time.Millisecond) {
			if time.Since(begun) > mibtest.Hung {
				b.Fatalf("hung: %d of %d", committed, n)
			}
			committed = 0
			offsets, err := admin.FetchOffsets(b.Context(), group)
			if err != nil {
				continue // the group is not there yet
			}
			offsets.Each(func(o kadm.OffsetResponse) { committed += o.At })
		}
		took, cpu := time.Since(begun), processor(b)-used
		stop()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n)/took.Seconds(), "events/s")
		b.ReportMetric(float64(cpu)/float64(n), "member-cpu-ns/event")
		ends, err := admin.ListEndOffsets(b.Context(), stream.Alerts)
		if err != nil {
			b.Fatal(err)
		}
		end, _ := ends.Lookup(stream.Alerts, 0)
		b.ReportMetric(float64(end.Offset), "alerts")
	}
}

// fillTicks sends all prices of the sample in many feeds, and returns how many.
func fillTicks(b *testing.B, client *kgo.Client) int64 {
	sample, err := market.Load(os.Getenv("EVENKEEL_DATA"))
	if err != nil {
		b.Fatal(err)
	}
	n := int64(0)
	for i := 0; ; i++ { // day by day, as they came
		sent := false
		for _, s := range sample.Series {
			if i >= len(s.Points) {
				continue
			}
			sent = true
			p := s.Points[i]
			for feed := range *feeds {
				r, err := stream.Tick{
					ID: fmt.Sprintf("feed%d/%s/%s", feed, s.Symbol, p.Date.Format(time.DateOnly)), Feed: fmt.Sprint("feed", feed),
					Symbol: string(s.Symbol), Time: p.Date, Price: p.Close, Source: s.Source,
				}.Record()
				if err != nil {
					b.Fatal(err)
				}
				client.Produce(b.Context(), r, func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
				})
				n++
			}
		}
		if !sent {
			break
		}
	}
	if err := client.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	return n
}

func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
