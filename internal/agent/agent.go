// Package agent listens on a machine for notices about that machine, and marks its
// node. It knows neither a cloud nor Kubernetes: whoever starts it says what to
// listen to, and how to mark.
//
// It compares what is announced now with what it has marked, over and over, rather
// than wait for news. So there is nothing to resume after a crash, and what could
// not be marked is tried again for as long as it is announced.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Ear is one thing to listen to.
type Ear struct {
	Name string
	// Hear returns the notices that are announced now. It may wait for something to
	// change.
	Hear func(context.Context) ([]interruption.Notice, error)
	// Pause is how long to wait between two calls of Hear. Zero for one that waits by
	// itself.
	Pause time.Duration
	// Emptied, if not nil, is called once the node is empty, for each notice that was
	// marked: somebody waits to hear it.
	Emptied func(context.Context, interruption.Notice) error
}

// Node is the machine's node.
type Node interface {
	// Mark makes a notice durable. It returns nil only then, or if the notice asks for
	// nothing.
	Mark(context.Context, interruption.Notice) error
	// Empty reports whether the node is being drained and has been emptied.
	Empty(context.Context) (bool, error)
}

// Agent listens. Make one with [New].
type Agent struct {
	node Node
	ears []Ear
	log  *slog.Logger
}

// New returns an Agent that marks node with what the ears hear.
func New(node Node, ears []Ear, log *slog.Logger) *Agent {
	return &Agent{node: node, ears: ears, log: log}
}

// Run listens until ctx ends. The ears listen on their own: one that gets no answer
// makes no other one deaf.
func (a *Agent) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, e := range a.ears {
		log := a.log.With("ear", e.Name)
		heard := make(chan []interruption.Notice)
		all.Go(func() { e.listen(ctx, heard, log) })
		all.Go(func() {
			h := hearing{Agent: a, ear: e, marked: make(map[string]mark), log: log}
			h.run(ctx, heard)
		})
	}
	all.Wait()
}

const (
	// sameTime is how far apart the deadlines of one notice may be when it is read
	// again.
	sameTime = time.Second
	// markTimeout bounds an attempt to mark the node.
	markTimeout = 5 * time.Second
	// retryPause is the longest pause after trouble. It is short: it may fall into a
	// notice.
	retryPause = 2 * time.Second
	// emptyPause is how often the node is read while somebody waits for it to be empty.
	emptyPause = time.Second
)

// mark is what was marked of one notice.
type mark struct {
	notice interruption.Notice
	told   bool // that the node is empty
}

// listen sends what the ear hears, until ctx ends. It goes on while a node cannot
// be marked: what is announced may change meanwhile.
func (e Ear) listen(ctx context.Context, heard chan<- []interruption.Notice, log *slog.Logger) {
	for trouble := 0; ctx.Err() == nil; {
		notices, err := e.Hear(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if trouble == 0 {
				log.Warn("cannot listen; trying again", "err", err)
			}
			pause(ctx, backoff(trouble))
			trouble++
			continue
		case trouble > 0:
			log.Info("listening again")
			trouble = 0
		}
		select {
		case heard <- notices:
		case <-ctx.Done():
			return
		}
		pause(ctx, e.Pause)
	}
}

// backoff is the pause after so many failures in a row.
func backoff(trouble int) time.Duration {
	return min(100*time.Millisecond<<min(trouble, 10), retryPause)
}

// hearing is one ear's notices on their way to the node.
type hearing struct {
	*Agent
	ear    Ear
	marked map[string]mark
	mute   bool // the last attempt to mark the node failed
	log    *slog.Logger
}

// run brings the node in line with what was heard last, again and again until it
// is.
func (h *hearing) run(ctx context.Context, heard <-chan []interruption.Notice) {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	var announced []interruption.Notice
	for trouble := 0; ; {
		select {
		case announced = <-heard:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		switch {
		case !h.settle(ctx, announced):
			again.Reset(backoff(trouble))
			trouble++
			continue
		case h.waitedFor():
			again.Reset(emptyPause)
		default:
			again.Stop()
		}
		trouble = 0
	}
}

// waitedFor reports whether somebody waits for the node to be empty.
func (h *hearing) waitedFor() bool {
	for _, m := range h.marked {
		if h.ear.Emptied != nil && !m.told {
			return true
		}
	}
	return false
}

// settle marks what is announced and not marked, takes back what is marked and not
// announced, and reports whether all went well.
func (h *hearing) settle(ctx context.Context, notices []interruption.Notice) bool {
	well := true
	announced := make(map[string]bool)
	for _, n := range notices {
		k := key(n)
		announced[k] = true
		if m, ok := h.marked[k]; ok && !tighter(n, m.notice) {
			continue
		}
		if !h.mark(ctx, n) {
			well = false
			continue
		}
		h.marked[k] = mark{notice: n}
	}
	for k, m := range h.marked {
		if announced[k] {
			continue
		}
		// It is no longer announced: called off, or over while the machine still
		// stands. What comes of that is decided elsewhere.
		n := m.notice
		n.Kind, n.Deadline, n.Sent, n.Seen = interruption.Cancelled, time.Time{}, time.Now().UTC(), time.Now().UTC()
		if !h.mark(ctx, n) {
			well = false
			continue
		}
		delete(h.marked, k)
	}
	return h.tell(ctx) && well
}

// key tells notices of one ear apart. The kind does not do: Azure announces
// several of one kind.
func key(n interruption.Notice) string { return string(n.Kind) + " " + n.ID }

// tighter reports whether a notice that was read again leaves less time than when
// it was marked. A later time is the same notice: some stand-ins for a metadata
// service compute it anew for each request, and a notice without a time of its own
// counts from when it was read.
func tighter(n, marked interruption.Notice) bool {
	return n.Deadline.Before(marked.Deadline.Add(-sameTime))
}

func (h *hearing) mark(ctx context.Context, n interruption.Notice) bool {
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	if err := h.node.Mark(ctx, n); err != nil {
		if errors.Is(err, context.Canceled) {
			return false
		}
		level := slog.LevelDebug // one line when the trouble begins and one when it ends
		if !h.mute {
			level = slog.LevelError
		}
		h.log.Log(ctx, level, "node not marked; trying again", "kind", n.Kind, "deadline", n.Deadline, "err", err)
		h.mute = true
		return false
	}
	if h.mute {
		h.log.Info("node marked after all", "kind", n.Kind)
		h.mute = false
	}
	return true
}

// tell says that the node is empty to whoever waits for it.
func (h *hearing) tell(ctx context.Context) bool {
	if h.ear.Emptied == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	for k, m := range h.marked {
		if m.told {
			continue
		}
		empty, err := h.node.Empty(ctx)
		if err == nil && !empty {
			return true
		}
		if err == nil {
			err = h.ear.Emptied(ctx, m.notice)
		}
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				h.log.Warn("could not say yet whether the node is empty; trying again", "err", err)
			}
			return false
		}
		h.log.Info("node is empty, and said so", "event", m.notice.ID)
		m.told = true
		h.marked[k] = m
	}
	return true
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
