package lifecyclekafka_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// brokerVariable makes the test binary a broker: its address, a space, and the
// directory of its data.
const brokerVariable = "LIFECYCLE_KAFKA_TEST_BROKER"

func TestMain(m *testing.M) {
	addr, dir, ok := strings.Cut(os.Getenv(brokerVariable), " ")
	if !ok {
		os.Exit(m.Run())
	}
	_, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "trades"), kfake.DataDir(dir), kfake.SyncWrites(),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, addr) }))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening")
	_, _ = io.Copy(io.Discard, os.Stdin) // until its parent is gone, or kills it
}

const partitions = 6

// brokerProcess is a broker that can be killed.
type brokerProcess struct {
	addr, dir string
	cmd       *exec.Cmd
	stdin     io.Closer
}

func (b *brokerProcess) start(t *testing.T) {
	t.Helper()
	b.cmd = exec.Command(os.Args[0])
	b.cmd.Env = append(os.Environ(), brokerVariable+"="+b.addr+" "+b.dir)
	b.cmd.Stderr = os.Stderr
	stdin, err := b.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.stdin = stdin
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "listening\n" {
		t.Fatalf("the broker says %q: %v", line, err)
	}
}

func (b *brokerProcess) kill() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.stdin.Close()
}

// A broker is killed three times under a producer that tries again. What the broker
// acknowledged is there, and whoever tells records by their ids sees each once: a
// record may be there twice, since the broker forgets with its process what an
// idempotent producer sent last.
func TestBrokerKilledUnderProducer(t *testing.T) {
	const (
		records = 20_000
		kills   = 3
	)
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a port that stays the same
	if err != nil {
		t.Fatal(err)
	}
	b := &brokerProcess{addr: ln.Addr().String(), dir: t.TempDir()}
	ln.Close()
	b.start(t)
	defer func() { b.kill() }()

	producer, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.DefaultProduceTopic("trades"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	var acknowledged atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), hung)
	defer cancel()
	produce := func(value string, partition int) {
		producer.Produce(ctx, &kgo.Record{Value: []byte(value), Partition: int32(partition)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("producing %s: %v", value, err)
				return
			}
			acknowledged.Add(1)
		})
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range records {
			produce(fmt.Sprint("trade-", i), i%partitions)
			if i%100 == 99 { // not all in a few large batches
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	for i := range kills {
		until(t, "acknowledgements", func() bool { return acknowledged.Load() > int64((i+1)*records/(kills+2)) })
		b.kill()
		b.start(t)
	}
	<-sent
	if err := producer.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if got := acknowledged.Load(); got != records {
		t.Fatalf("%d of %d records acknowledged", got, records)
	}
	for p := range partitions {
		produce("end", p)
	}
	if err := producer.Flush(ctx); err != nil {
		t.Fatal(err)
	}

	reader, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumeTopics("trades"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	times := make(map[string]int)
	for ends := 0; ends < partitions; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Value) == "end" {
				ends++
				return
			}
			times[string(r.Value)]++
		})
	}
	doubled := 0
	for _, n := range times {
		doubled += n - 1
	}
	t.Logf("%d records, broker killed %d times: %d lost, %d doubled before de-duplication", records, kills, records-len(times), doubled)
	if len(times) != records {
		t.Errorf("%d of %d records that were acknowledged are there", len(times), records)
	}
}
