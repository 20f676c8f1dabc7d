// Package acceptance runs the services as the processes that they are in production
// and takes each away in turn.
package acceptance

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/analytics"
	mibclient "github.com/evenkeel-dev/evenkeel/platform/mib/internal/client"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/mibtest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/replay"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/texts"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/tlsx"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/tlsx/tlsxtest"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

// grace is the time from SIGTERM to when a cluster would kill.
const grace = 4 * time.Second

// build builds the programs, as everybody does.
func build(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/event-stream", "./cmd/analytics", "./cmd/engine", "./cmd/vector-store", "./cmd/go-gateway")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return dir
}

// address returns one at which nobody listens now.
func address(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A process is one replica of a service. It is started again at the same addresses.
type process struct {
	name, program string
	args          []string
	env           []string
	health        string
	deadline      string // the file that says when the machine goes
	cmd           *exec.Cmd
	log           *bytes.Buffer
}

func (p *process) start(t *testing.T) {
	t.Helper()
	_ = os.Remove(p.deadline)
	p.log = new(bytes.Buffer)
	p.cmd = exec.Command(p.program, append(p.args, "--health-listen="+p.health, "--metrics-listen=")...)
	p.cmd.Env = append(append(os.Environ(), fmt.Sprintf("EVENKEEL_GRACE_SECONDS=%d", int(grace.Seconds())), "EVENKEEL_DEADLINE_FILE="+p.deadline), p.env...)
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (p *process) ready(t *testing.T) {
	t.Helper()
	mibtest.Until(t, p.name+" is ready", func() bool {
		r, err := http.Get("http://" + p.health + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// take takes the process away: by SIGKILL, or as a node does that is reclaimed, whose
// notice is seen first and whose pods then get SIGTERM.
func (p *process) take(t *testing.T, kill bool) {
	t.Helper()
	if kill {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		return
	}
	if err := os.WriteFile(p.deadline, []byte(time.Now().Add(3*grace).UTC().Format(time.RFC3339)), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s after a notice and SIGTERM: %v\n%s", p.name, err, p.log)
	}
	if !strings.Contains(p.log.String(), `"cut":0`) {
		t.Errorf("%s had to cut something, or did not say that it had not:\n%s", p.name, p.log)
	}
}

// history is what happened from January to May 2020, in three feeds, after the year
// before.
func history(t *testing.T) (ticks []stream.Tick, documents []corpus.Document) {
	t.Helper()
	sample, err := market.Load(os.Getenv("EVENKEEL_DATA"))
	if err != nil {
		t.Fatal(err)
	}
	begin, end := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2020, 6, 1, 0, 0, 0, 0, time.UTC)
	for feed := range 3 {
		ticks = append(ticks, replay.Ticks(sample, fmt.Sprint("feed", feed), begin.AddDate(-1, 0, 0), end)...)
	}
	slices.SortStableFunc(ticks, func(a, b stream.Tick) int { return a.Time.Compare(b.Time) })
	return ticks, replay.Between(corpus.Documents(sample), begin, end)
}

// counts counts what came, by id.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counts) add(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]int)
	}
	c.of[id]++
}

func (c *counts) distinct() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.of)
}

func (c *counts) more() (n int) {
	for _, k := range c.of {
		if k > 1 {
			n++
		}
	}
	return n
}

// compare says what is missing, and what should not be there.
func (c *counts) compare(t *testing.T, what string, want map[string]bool) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range want {
		if c.of[id] == 0 {
			t.Errorf("%s: lost: %s", what, id)
		}
	}
	for id := range c.of {
		if !want[id] {
			t.Errorf("%s: not in the undisturbed run: %s", what, id)
		}
	}
}

// Every service is taken away twice while history is played: by notice and SIGTERM,
// and by SIGKILL. Prices come through the gateway, and the services behind it speak
// TLS. The alerts are those of an undisturbed run, none lost, and de-duplicated by
// their ids none doubled; a client that follows them at the gateway has each once, and
// one that follows the engine every signal once; a price whose POST was answered is in
// the topic; the vector store answers the same before and after, and so does one that
// has just begun.
func TestEveryServiceIsTakenAway(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this takes a minute")
	}
	bin, dir := build(t), t.TempDir()
	broker := address(t)
	env := []string{"KAFKA_BROKERS=" + broker}
	newProcess := func(name, program string, args ...string) *process {
		return &process{name: name, program: filepath.Join(bin, program), args: args, env: env, health: address(t), deadline: filepath.Join(dir, name+".deadline")}
	}
	kafka := newProcess("event-stream", "event-stream", "--listen="+broker, "--data="+filepath.Join(dir, "broker"))
	a0 := newProcess("analytics-0", "analytics", "--session=6s")
	a1 := newProcess("analytics-1", "analytics", "--session=6s")
	authority := tlsxtest.NewAuthority(t)
	certificates := func(name string) (flags []string) {
		files := filepath.Join(dir, "tls-"+name)
		if err := os.Mkdir(files, 0o700); err != nil {
			t.Fatal(err)
		}
		authority.Write(t, files, name, "spiffe://test/"+name)
		return []string{"--tls-cert=" + filepath.Join(files, "tls.crt"), "--tls-key=" + filepath.Join(files, "tls.key"), "--tls-ca=" + filepath.Join(files, "ca.crt")}
	}
	known := "--tls-peers=spiffe://test/go-gateway,spiffe://test/client"
	engineAddr, storeAddr, gatewayAddr := address(t), address(t), address(t)
	eng := newProcess("engine", "engine", append(certificates("engine"), known, "--listen="+engineAddr, "--data="+filepath.Join(dir, "engine"))...)
	ofStore := append(certificates("vector-store"), known, "--library=false")
	docs := newProcess("vector-store", "vector-store", slices.Concat(ofStore, []string{"--listen=" + storeAddr, "--data=" + filepath.Join(dir, "documents")})...)
	gate := newProcess("go-gateway", "go-gateway", append(certificates("go-gateway"), "--listen="+gatewayAddr, "--open", "--rate=0",
		"--engine=https://"+engineAddr, "--engine-peers=spiffe://test/engine",
		"--vector-store=https://"+storeAddr, "--vector-store-peers=spiffe://test/vector-store")...)
	certificates("client")
	own := filepath.Join(dir, "tls-client")
	files, err := tlsx.Load(filepath.Join(own, "tls.crt"), filepath.Join(own, "tls.key"), filepath.Join(own, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	services := []*process{a0, a1, eng, docs, gate, kafka}
	defer func() {
		for _, p := range services {
			if p.cmd != nil {
				_ = p.cmd.Process.Kill()
				_ = p.cmd.Wait()
				if t.Failed() {
					t.Logf("%s:\n%s", p.name, p.log)
				}
			}
		}
	}()
	kafka.start(t)
	kafka.ready(t)
	for _, p := range services[:5] {
		p.start(t)
	}
	for _, p := range services[:5] {
		p.ready(t)
	}

	ticks, documents := history(t)
	events := replay.Events(ticks, documents)
	state, wantAlerts, wantSignals := analytics.NewState(), make(map[string]bool), make(map[string]bool)
	for _, tick := range ticks {
		for _, a := range state.Step(tick) {
			wantAlerts[a.ID] = true
		}
		wantSignals[signalID(tick.Feed, tick.Symbol, tick.Time)] = true
	}

	var alerts, shown, signals counts
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(stream.Alerts), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(200*time.Millisecond), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	watching.Go(func() {
		for ctx.Err() == nil {
			for _, r := range client.PollFetches(ctx).Records() {
				alerts.add(string(r.Key))
			}
		}
	})
	following := make(chan struct{})
	watching.Go(func() {
		err := mibclient.Alerts(ctx, "http://"+gatewayAddr, mibclient.All, func(a stream.Alert) { shown.add(a.ID) }, func(gap string) { t.Error("alerts at the gateway: a gap:", gap) })
		if err != nil {
			t.Error("following the alerts at the gateway:", err)
		}
	})
	watching.Go(func() {
		follow(ctx, t, engineAddr, files.Client([]string{"spiffe://test/engine"}), &signals, following)
	})
	select {
	case <-following:
	case <-time.After(mibtest.Hung):
		t.Fatal("hung: following the engine")
	}

	acknowledged := 0
	send := func(part []replay.Event) {
		t.Helper()
		var records []*kgo.Record
		prices := make(map[string][]stream.Tick) // by key: each in its order
		for _, e := range part {
			if e.Tick != nil {
				prices[e.Tick.Key()] = append(prices[e.Tick.Key()], *e.Tick)
				continue
			}
			r, err := texts.Change{ID: e.Text.ID, Document: e.Text}.Record()
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}
		var posting sync.WaitGroup
		for _, ticks := range prices {
			posting.Go(func() {
				for _, tick := range ticks {
					post(t, "http://"+gatewayAddr, tick)
				}
			})
		}
		posting.Wait()
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		acknowledged += len(part)
	}
	encrypted := &http.Client{Transport: &http.Transport{TLSClientConfig: files.Client([]string{"spiffe://test/vector-store"}), ForceAttemptHTTP2: true}}
	store := mibv1connect.NewVectorStoreServiceClient(encrypted, "https://"+storeAddr)
	parts := slices.Collect(slices.Chunk(events, len(events)/(2*len(services))+1))
	for i, part := range parts {
		send(part)
		p, kill := services[i%len(services)], i >= len(services)
		var before []string
		if p == docs {
			settled(t, store)
			before = answers(t, store)
		}
		p.take(t, kill)
		p.start(t)
		p.ready(t)
		if p == docs {
			if after := answers(t, store); !slices.Equal(after, before) {
				t.Errorf("kill %v: the vector store answers\n%s\nbefore it was taken away\n%s", kill, strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
		}
	}
	mibtest.Until(t, fmt.Sprintf("%d alerts", len(wantAlerts)), func() bool { return alerts.distinct() >= len(wantAlerts) })
	mibtest.Until(t, fmt.Sprintf("%d alerts at the gateway", len(wantAlerts)), func() bool { return shown.distinct() >= len(wantAlerts) })
	mibtest.Until(t, fmt.Sprintf("%d signals", len(wantSignals)), func() bool { return signals.distinct() >= len(wantSignals) })

	// One more replica, which has nothing.
	settled(t, store)
	freshAddr := address(t)
	fresh := newProcess("vector-store-1", "vector-store", slices.Concat(ofStore, []string{"--listen=" + freshAddr, "--data=" + filepath.Join(dir, "documents-1")})...)
	services = append(services, fresh)
	fresh.start(t)
	fresh.ready(t)
	old, young := answers(t, store), answers(t, mibv1connect.NewVectorStoreServiceClient(encrypted, "https://"+freshAddr))
	if len(old) == 0 || !slices.Equal(old, young) {
		t.Errorf("a new replica answers\n%s\nthe old one\n%s", strings.Join(young, "\n"), strings.Join(old, "\n"))
	}

	stop()
	watching.Wait()
	alerts.compare(t, "alerts", wantAlerts)
	shown.compare(t, "alerts at the gateway", wantAlerts)
	if n := shown.more(); n > 0 {
		t.Errorf("%d alerts came more than once at the gateway", n)
	}
	signals.compare(t, "signals", wantSignals)
	if n := signals.more(); n > 0 {
		t.Errorf("%d signals came more than once", n)
	}
	sent := inTopic(t, broker)
	for _, e := range events {
		if e.Tick != nil && !sent[e.Tick.ID] {
			t.Errorf("acknowledged, but not in the topic: %s", e.Tick.ID)
		}
	}
	t.Logf("%d events acknowledged; 6 processes taken by notice and SIGTERM, 6 by SIGKILL; %d alerts, as undisturbed, each once at the gateway, %d of them in the topic more than once with the same id; %d signals, each once; %d answers of the vector store the same",
		acknowledged, len(wantAlerts), alerts.more(), len(wantSignals), len(old))
}

func signalID(feed, symbol string, at time.Time) string {
	return feed + "/" + symbol + "/" + at.UTC().Format(time.RFC3339)
}

// post sends a price until a gateway that comes and goes says that it has it.
func post(t *testing.T, url string, tick stream.Tick) {
	body, err := json.Marshal(tick)
	if err != nil {
		t.Error(err)
		return
	}
	mibtest.Until(t, "the price is acknowledged: "+tick.ID, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/ticks", bytes.NewReader(body))
		if err != nil {
			return false
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode == http.StatusCreated
	})
}

// follow counts the signals of an engine that comes and goes.
func follow(ctx context.Context, t *testing.T, addr string, c *tls.Config, signals *counts, following chan<- struct{}) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	token := ""
	for ctx.Err() == nil {
		s, err := mibv1.NewEngineServiceClient(conn).StreamSignals(ctx, &mibv1.StreamSignalsRequest{ResumeToken: token})
		for err == nil {
			var m *mibv1.StreamSignalsResponse
			if m, err = s.Recv(); err != nil {
				break
			}
			if m.GetGap() {
				t.Error("signals: a gap")
			}
			for _, p := range m.GetPrices().GetPrices() {
				signals.add(signalID(p.GetFeed(), p.GetSymbol(), p.GetTime().AsTime()))
			}
			if token == "" {
				close(following)
			}
			token = m.GetResumeToken()
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// settled waits until a vector store has read all texts there are.
func settled(t *testing.T, c mibv1connect.VectorStoreServiceClient) {
	t.Helper()
	last, since := int64(-1), time.Now()
	mibtest.Until(t, "the vector store has read all texts", func() bool {
		s, err := c.GetStatus(t.Context(), connect.NewRequest(&mibv1.GetStatusRequest{}))
		if err != nil {
			return false
		}
		if n := s.Msg.GetNextOffset(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

func answers(t *testing.T, c mibv1connect.VectorStoreServiceClient) []string {
	t.Helper()
	var list []string
	k := int32(20)
	for _, q := range []string{"oil producers shutting in wells", "retail sales fell", "wages and hiring", "crude oil drilling"} {
		a, err := c.Search(t.Context(), connect.NewRequest(&mibv1.SearchRequest{Text: q, K: &k}))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range a.Msg.GetHits() {
			list = append(list, fmt.Sprintf("%s: %s %v", q, h.GetDocument().GetId(), h.GetSimilarity()))
		}
	}
	return list
}

// inTopic returns the ids of the ticks in the topic.
func inTopic(t *testing.T, broker string) map[string]bool {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(stream.Ticks), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ids := make(map[string]bool)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		f := c.PollFetches(ctx)
		cancel()
		if f.NumRecords() == 0 && errors.Is(f.Err0(), context.DeadlineExceeded) {
			return ids
		}
		for _, r := range f.Records() {
			if tick, err := stream.DecodeTick(r.Value); err == nil {
				ids[tick.ID] = true
			}
		}
	}
}
