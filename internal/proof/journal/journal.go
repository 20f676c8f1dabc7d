// Package journal writes the proof record: it takes events in without keeping
// anybody waiting, and appends a line wherever it is told to when an interruption
// has ended.
package journal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/proof"
)

// Sink is where lines go. It is called by one goroutine.
type Sink interface {
	// Append stores one line. What could not be stored is tried again.
	Append(ctx context.Context, interruption string, line []byte) error
}

// Writer is a Sink that writes to W. A line is one write.
type Writer struct{ W io.Writer }

// Append writes the line.
func (w Writer) Append(_ context.Context, _ string, line []byte) error {
	if _, err := w.W.Write(line); err != nil {
		return fmt.Errorf("writing the proof record: %w", err)
	}
	return nil
}

// How often a line is tried, and how many may wait: 5,000 are a few megabytes.
const (
	attempts = 6 // with pauses of 1, 2, 4, 8 and 16 s
	waiting  = 5000
	flush    = 5 * time.Second
)

// Journal collects events and writes lines. Use New to make one.
type Journal struct {
	sink Sink
	log  *slog.Logger

	mu     sync.Mutex
	ledger *proof.Ledger
	queue  []proof.Line
	wake   chan struct{} // buffered
}

// New returns a Journal for a cluster, whose name may be empty. It writes nothing
// until Run is called.
func New(cluster string, sink Sink, log *slog.Logger) *Journal {
	return &Journal{sink: sink, log: log, ledger: proof.NewLedger(cluster), wake: make(chan struct{}, 1)}
}

// Observe takes one event in. It returns at once.
func (j *Journal) Observe(e drain.Event) {
	j.mu.Lock()
	line := j.ledger.Add(e)
	if line != nil {
		j.put(*line)
	}
	j.mu.Unlock()
	if line != nil {
		j.poke()
	}
}

// Leading tells whether this process acts. When its turn is over it writes what it
// knows: another one goes on.
func (j *Journal) Leading(leading bool) {
	if leading {
		return
	}
	j.mu.Lock()
	for _, l := range j.ledger.Unfinished() {
		j.put(l)
	}
	j.mu.Unlock()
	j.poke()
}

// put queues a line; j.mu is held. If too many wait, the oldest goes to the log.
func (j *Journal) put(l proof.Line) {
	if len(j.queue) >= waiting {
		j.lose(j.queue[0], "too many wait")
		j.queue = j.queue[1:]
	}
	j.queue = append(j.queue, l)
}

func (j *Journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// lose is for a line that cannot be stored: the log has it at least.
func (j *Journal) lose(l proof.Line, why string) {
	j.log.Error("a line of the proof record could not be written; here it is", "interruption", l.Interruption, "err", why,
		"line", strings.TrimSuffix(string(l.Encode()), "\n"))
}

// Run writes until ctx ends, and then what is left, unfinished interruptions
// included, for a few seconds at most.
func (j *Journal) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		j.drain(ctx)
		select {
		case <-j.wake:
		case <-ctx.Done():
		}
	}
	j.Leading(false)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flush)
	defer cancel()
	j.drain(last)
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.queue {
		j.lose(l, "the end came first")
	}
	return nil
}

// drain writes what waits, until nothing does or ctx ends.
func (j *Journal) drain(ctx context.Context) {
	for {
		j.mu.Lock()
		if len(j.queue) == 0 {
			j.mu.Unlock()
			return
		}
		l := j.queue[0]
		j.queue = j.queue[1:]
		j.mu.Unlock()
		err := j.write(ctx, l)
		if err == nil {
			continue
		}
		j.mu.Lock()
		if ctx.Err() != nil {
			j.queue = append([]proof.Line{l}, j.queue...)
			j.mu.Unlock()
			return
		}
		j.lose(l, err.Error())
		j.mu.Unlock()
	}
}

func (j *Journal) write(ctx context.Context, l proof.Line) error {
	line := l.Encode()
	for n, pause := 1, time.Second; ; n, pause = n+1, 2*pause {
		err := j.sink.Append(ctx, l.Interruption, line)
		if err == nil || n == attempts {
			return err
		}
		j.log.Warn("writing the proof record; it will be tried again", "interruption", l.Interruption, "in", pause, "err", err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}
