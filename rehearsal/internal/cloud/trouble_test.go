package cloud

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	source "github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/web"
)

// poison is what else may lie in a queue. Each comes as often as the others.
var poison = []string{
	`{"id":"1","detail-type":"EC2 Spot Inst`, // cut off
	`not an event`,
	`{"id":"1","source":"aws.ec2","detail-type":"EC2 Spot Instance Interruption Warning","time":"2026-01-01T00:00:00Z","detail":{"instance-id":"../../etc","instance-action":"terminate"}}`,
	`{"id":"1","source":"aws.ec2","detail-type":"EC2 Spot Instance Interruption Warning","time":"yesterday","detail":{"instance-id":"i-0","instance-action":"terminate"}}`,
	`{"Type":"Notification","Message":"\u0000"}`,
	`[[[[]]]]`,
}

// TestEverythingBadAtOnce has one queue that two clusters' events go to, read by
// both controllers' loops and sources: a tenth of the deliveries doubled, and a
// twentieth of the events sent twice, a hundredth of them poison, clocks that differ
// by ten seconds in both directions, the queue cut off and the API server away in
// between. The other cluster's controller comes last.
func TestEverythingBadAtOnce(t *testing.T) {
	const (
		ours, theirs = 540, 60
		broken       = 6
		skew         = 10 * time.Second
		queue, dead  = "interruptions", "interruptions-dead"
	)
	c := startCloud(t, Config{Seed: 11})
	c.CreateQueue(queue)
	c.CreateQueue(dead)
	clientEnv(t, c)
	if err := c.Redrive(queue, dead, 20); err != nil { // what the documentation asks for
		t.Fatal(err)
	}
	if err := c.Duplicate(queue, (ours+theirs)/10); err != nil {
		t.Fatal(err)
	}

	us, them := newMemoryCluster("a", ours), newMemoryCluster("b", theirs)
	us.setDown(true)
	var ourLog, theirLog logBuffer
	stopUs := runLoop(t, us, queue, &ourLog)

	began := time.Now()
	sent := 0
	send := func(body string) {
		if err := c.Send(queue, body); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	for i := range ours + theirs {
		instance := instanceIn("a", i-i/10)
		if i%10 == 9 {
			instance = instanceIn("b", i/10)
		}
		at := time.Now().Add(-skew)
		if i%2 == 0 {
			at = time.Now().Add(skew) // our clock is behind
		}
		event := string(SpotInterruptionWarning(fmt.Sprint("event-", i), "us-east-1", "123456789012", instance, at))
		send(event)
		if i%20 == 0 { // never one of theirs
			send(event)
		}
		if i%100 == 50 {
			send(poison[i/100%len(poison)])
		}
	}
	time.AfterFunc(500*time.Millisecond, func() { c.Unreachable(true) })
	time.AfterFunc(1500*time.Millisecond, func() { c.Unreachable(false) })
	time.AfterFunc(2*time.Second, func() { us.setDown(false) })

	awaitFor(t, "our notices to be stored", func() error { return us.complete() })
	t.Logf("%d messages: ours stored after %s", sent, time.Since(began).Round(time.Millisecond))
	// One more copy, when everything is stored.
	send(string(SpotInterruptionWarning("event-0", "us-east-1", "123456789012", instanceIn("a", 0), began.Add(skew))))
	// What is not ours has been looked at, and is still there.
	awaitFor(t, "all that is ours to be acknowledged", func() error {
		s, _ := c.QueueStats(queue)
		if left := s.Visible + s.InFlight; left != theirs+broken {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	stopTheirs := runLoop(t, them, queue, &theirLog)
	awaitFor(t, "the other cluster's notices to be stored", func() error { return them.complete() })
	awaitFor(t, "only poison to be left", func() error {
		s, _ := c.QueueStats(queue)
		if left := s.Visible + s.InFlight; left != broken {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	// It is for the queue's redrive policy to end it; here after fewer receipts, since
	// each comes later than the last.
	if err := c.Redrive(queue, dead, 1); err != nil {
		t.Fatal(err)
	}
	awaitFor(t, "poison to be in the dead-letter queue", func() error {
		if s, _ := c.QueueStats(dead); s.Visible != broken {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	stopUs()
	stopTheirs()

	s, _ := c.QueueStats(queue)
	if s.Deleted != sent-broken || s.Expired != 0 || s.Visible+s.InFlight != 0 {
		t.Errorf("%d sent, %d of them poison: %+v", sent, broken, s)
	}
	for name, m := range map[string]*memoryCluster{"ours": us, "theirs": them} {
		m.check(t, name, began, skew)
	}
	text := ourLog.String()
	for words, want := range map[string]int{
		`msg="malformed message left to the queue's redrive policy"`: 4, // one for each cause
		"answer=notice-received":                                     ours,
	} {
		if got := strings.Count(text, words); got < want {
			t.Errorf("the log says %s %d times, want %d", words, got, want)
		}
	}
	for _, words := range []string{"answer=not-our-instance", "answer=already-recorded", "outcome=unavailable"} {
		n := strings.Count(text, words)
		t.Logf("the log says %s %d times", words, n)
		if n == 0 {
			t.Errorf("the log never says %s", words)
		}
	}
}

func instanceIn(name string, i int) string { return fmt.Sprintf("i-0%s%05d", name, i) }

// runLoop runs a controller's loop with its source until stop is called, or the test
// ends.
func runLoop(t *testing.T, c *memoryCluster, queue string, to *logBuffer) (stop func()) {
	t.Helper()
	client, err := source.NewClient(t.Context(), "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(to, nil))
	named := source.NewNamed(
		func(ctx context.Context) (string, error) { return source.QueueURL(ctx, client, queue) },
		func(url string) *source.SQS {
			// The defaults, shortened: what a poll had received when the queue was cut off
			// is seen again soon, and so is what is left to its owner, however long it takes.
			return source.NewSQS(client, source.SQSConfig{QueueURL: url, ForeignVisibility: time.Second, MaxForeign: 1000, Visibility: 3 * time.Second, Log: log})
		}, log)
	ctl := controller.New(c, []controller.Source{named}, controller.Config{Log: log, Meter: web.NewMeter()})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ctl.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("running the controller: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// awaitFor waits until f returns nil; a minute means that it never will.
func awaitFor(t *testing.T, what string, f func() error) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// memoryCluster is a cluster of nodes without pods that may be out of reach.
type memoryCluster struct {
	updates chan cluster.Update

	mu    sync.Mutex
	nodes map[string]*cluster.Node
	first map[string]int // stores of a node's first Record
	down  bool
}

func newMemoryCluster(name string, n int) *memoryCluster {
	c := &memoryCluster{updates: make(chan cluster.Update, n+2), nodes: make(map[string]*cluster.Node), first: make(map[string]int)}
	var all []cluster.Change
	for i := range n {
		id := instanceIn(name, i)
		c.nodes[id] = &cluster.Node{Name: id, Instance: interruption.InstanceID(id), Ready: true}
		all = append(all, cluster.Change{Object: c.nodes[id]})
	}
	c.updates <- cluster.Update{Changes: all, Synced: true}
	return c
}

func (c *memoryCluster) setDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// Watch hands on what has happened since the start.
func (c *memoryCluster) Watch(ctx context.Context, updates chan<- cluster.Update) error {
	for {
		select {
		case u := <-c.updates:
			updates <- u
		case <-ctx.Done():
			return nil
		}
	}
}

// Do stores Records, by compare-and-swap: nodes without pods ask for nothing else.
func (c *memoryCluster) Do(ctx context.Context, e drain.Effect) (drain.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return drain.Unavailable, fmt.Errorf("connection refused")
	}
	n := *c.nodes[e.Node]
	switch {
	case e.Kind != drain.Store || e.Record == nil:
		return drain.Refused, fmt.Errorf("unexpected: %v", e)
	case n.Record != e.Old:
		return drain.Conflict, fmt.Errorf("it has changed")
	case n.Record == "":
		c.first[e.Node]++
	}
	n.Record, n.Unschedulable = e.Record.Encode(), n.Unschedulable || e.Cordon
	c.nodes[e.Node] = &n
	select {
	case c.updates <- cluster.Update{Changes: []cluster.Change{{Object: &n}}}:
	case <-ctx.Done():
	}
	return drain.Done, nil
}

// complete returns nil once every node has a Record that says that it is empty.
func (c *memoryCluster) complete() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := 0
	for _, n := range c.nodes {
		if r, err := drain.DecodeRecord(n.Record); err == nil && !r.Emptied.IsZero() {
			done++
		}
	}
	if done < len(c.nodes) {
		return fmt.Errorf("%d of %d", done, len(c.nodes))
	}
	return nil
}

// check holds every node to one Record, a cordon, and the deadline that clocks which
// differ leave.
func (c *memoryCluster) check(t *testing.T, name string, began time.Time, skew time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const lead = 2 * time.Minute
	for _, n := range c.nodes {
		r, err := drain.DecodeRecord(n.Record)
		switch {
		case err != nil:
			t.Errorf("%s: node %s: %v", name, n.Name, err)
		case c.first[n.Name] != 1 || !n.Unschedulable:
			t.Errorf("%s: node %s: recorded %d times, cordoned %t", name, n.Name, c.first[n.Name], n.Unschedulable)
		// An event of the future shows that our clock is behind: the machine goes two
		// minutes after it was read, not after it was sent.
		case r.Notice.Sent.After(r.Notice.Seen) && r.Deadline.After(r.Notice.Seen.Add(lead)):
			t.Errorf("%s: node %s: read at %v, deadline %v, by a clock that is behind", name, n.Name, r.Notice.Seen, r.Deadline)
		case r.Deadline.Before(began.Add(lead-skew-2*time.Second)) || r.Deadline.After(time.Now().Add(lead+skew)):
			t.Errorf("%s: node %s: deadline %v", name, n.Name, r.Deadline)
		}
	}
}

// logBuffer is a log that is read at the end.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
