package analytics

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// The lag is what kadm reckons from what the group has committed: before anything
// was used, half way, and at the end.
func TestLagIsThatOfTheGroup(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const group = "lag"
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := stream.CreateTopics(t.Context(), client, 1); err != nil {
		t.Fatal(err)
	}
	send := func(n, from int) {
		t.Helper()
		var records []*kgo.Record
		for i := range n {
			r, err := stream.Tick{ID: fmt.Sprint(from + i), Feed: fmt.Sprint("feed", i%9), Symbol: "X", Time: date(from + i), Price: 1}.Record()
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	send(500, 0)

	m := NewMetrics()
	m.follow(client)
	s := &Service{client: client, metrics: m, now: time.Now, every: 1 << 30, owned: make(map[int32]*owned)}
	for p := range int32(stream.Partitions) {
		s.owned[p] = &owned{Snapshot: Snapshot{Version: snapshotVersion, State: NewState()}}
		m.own(p, 0)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(stream.Ticks), kgo.ConsumerGroup(group), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	use := func(n int) {
		t.Helper()
		for n > 0 {
			f := reader.PollRecords(t.Context(), n)
			if err := f.Err(); err != nil {
				t.Fatal(err)
			}
			if err := s.handle(t.Context(), f.Records()); err != nil {
				t.Fatal(err)
			}
			if err := reader.CommitRecords(t.Context(), f.Records()...); err != nil {
				t.Fatal(err)
			}
			n -= f.NumRecords()
		}
	}
	check := func(what string, want int64) {
		t.Helper()
		lags, err := kadm.NewClient(client).Lag(t.Context(), group)
		if err != nil || lags.Error() != nil {
			t.Fatal(err, lags.Error())
		}
		theirs := lags[group].Lag
		ours, err := m.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for p := range int32(stream.Partitions) {
			sum += ours[p]
			if l, ok := theirs.Lookup(stream.Ticks, p); !ok || l.Lag != ours[p] {
				t.Errorf("%s, partition %d: %d, but kadm says %+v", what, p, ours[p], l)
			}
		}
		if sum != want {
			t.Errorf("%s: %d, not %d", what, sum, want)
		}
	}
	use(200)
	check("half way", 300)
	use(300)
	check("at the end", 0)
	send(70, 500)
	check("with more to come", 70)
	use(70)
	check("at the end again", 0)

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	text, err := testutil.GatherAndCount(registry, "mib_consumer_lag")
	if err != nil || text != stream.Partitions {
		t.Errorf("%d series of lag: %v", text, err)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`# HELP mib_analytics_ticks_total Ticks that were taken, by what became of them: used, repeated, late, out_of_order (in its window only), or invalid.
# TYPE mib_analytics_ticks_total counter
mib_analytics_ticks_total{outcome="invalid"} 0
mib_analytics_ticks_total{outcome="late"} 0
mib_analytics_ticks_total{outcome="out_of_order"} 0
mib_analytics_ticks_total{outcome="repeated"} 0
mib_analytics_ticks_total{outcome="used"} 570
`), "mib_analytics_ticks_total"); err != nil {
		t.Error(err)
	}

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "mib_analytics_wait_seconds" && f.GetMetric()[0].GetHistogram().GetSampleCount() != 570 {
			t.Errorf("waits of %d ticks", f.GetMetric()[0].GetHistogram().GetSampleCount())
		}
	}

	// A broker that does not answer is no empty topic.
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if lag, err := m.Lag(ctx); err == nil {
		t.Errorf("without a broker: %v", lag)
	}
}
