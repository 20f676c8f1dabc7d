package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// machine is a cloud and a node in one, on the clock of a synctest bubble.
type machine struct {
	mu     sync.Mutex
	now    func(time.Time) []interruption.Notice // what is announced at a time
	deaf   bool
	down   bool // the node cannot be marked
	empty  bool
	looks  int
	events []string
	begin  time.Time
}

func (m *machine) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *machine) note(format string, args ...any) {
	m.events = append(m.events, fmt.Sprintf("%s ", time.Since(m.begin).Round(100*time.Millisecond))+fmt.Sprintf(format, args...))
}

func (m *machine) hear(context.Context) ([]interruption.Notice, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	switch {
	case m.deaf:
		return nil, errors.New("no route to host")
	case m.now == nil:
		return nil, nil
	}
	return m.now(time.Now()), nil
}

func (m *machine) Mark(_ context.Context, n interruption.Notice) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errors.New("connection refused")
	}
	deadline := "none"
	if !n.Deadline.IsZero() {
		deadline = n.Deadline.Sub(m.begin).String()
	}
	m.note("%s %s deadline %s", n.Kind, n.ID, deadline)
	return nil
}

func (m *machine) Empty(context.Context) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.empty, nil
}

func (m *machine) emptied(_ context.Context, n interruption.Notice) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("emptied %s", n.ID)
	return nil
}

func spot(id string, deadline time.Time) interruption.Notice {
	return interruption.Notice{ID: id, Kind: interruption.SpotInterruption, Instance: "i-1", Deadline: deadline}
}

// play runs an agent with one ear, lets script happen, and compares what came of it.
func play(t *testing.T, ear Ear, script func(m *machine), want ...string) (log string) {
	t.Helper()
	var text strings.Builder
	synctest.Test(t, func(t *testing.T) {
		m := &machine{begin: time.Now()}
		ear.Name, ear.Hear = "test", m.hear
		if ear.Emptied != nil {
			ear.Emptied = m.emptied
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			New(m, []Ear{ear}, slog.New(slog.NewTextHandler(&text, nil))).Run(ctx)
		}()
		script(m)
		synctest.Wait()
		cancel()
		<-done
		if !slices.Equal(m.events, want) {
			t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(m.events, "\n  "), strings.Join(want, "\n  "))
		}
	})
	return text.String()
}

// polled is an ear that has to be asked.
var polled = Ear{Pause: 2 * time.Second}

func TestNoticeIsMarkedOnce(t *testing.T) {
	play(t, polled, func(m *machine) {
		time.Sleep(5 * time.Second)
		at := m.begin.Add(2 * time.Minute)
		m.set(func() { m.now = func(time.Time) []interruption.Notice { return []interruption.Notice{spot("a", at)} } })
		time.Sleep(time.Minute)
	}, "6s spot-interruption a deadline 2m0s")
}

// TestMovingTime: a stand-in for the metadata service, and a notice without a time
// of its own, have another deadline at each look.
func TestMovingTime(t *testing.T) {
	play(t, polled, func(m *machine) {
		m.set(func() {
			m.now = func(now time.Time) []interruption.Notice {
				return []interruption.Notice{spot("a", now.Add(2*time.Minute))}
			}
		})
		time.Sleep(time.Minute)
	}, "0s spot-interruption a deadline 2m0s")
}

func TestTighterDeadlineIsMarkedAgain(t *testing.T) {
	play(t, polled, func(m *machine) {
		m.set(func() {
			m.now = func(now time.Time) []interruption.Notice {
				d := 2 * time.Minute
				if now.Sub(m.begin) > 10*time.Second {
					d = 30 * time.Second
				}
				return []interruption.Notice{spot("a", m.begin.Add(d))}
			}
		})
		time.Sleep(time.Minute)
	}, "0s spot-interruption a deadline 2m0s", "12s spot-interruption a deadline 30s")
}

func TestNodeIsMarkedWhenTheAPIIsBack(t *testing.T) {
	log := play(t, polled, func(m *machine) {
		at := m.begin.Add(2 * time.Minute)
		m.set(func() {
			m.down = true
			m.now = func(time.Time) []interruption.Notice { return []interruption.Notice{spot("a", at)} }
		})
		time.Sleep(29900 * time.Millisecond)
		m.set(func() { m.down = false })
		time.Sleep(10 * time.Second)
	}, "30s spot-interruption a deadline 2m0s")
	if n := strings.Count(log, "not marked"); n != 1 || !strings.Contains(log, "marked after all") {
		t.Errorf("the trouble was logged %d times, want its begin and its end:\n%s", n, log)
	}
}

func TestDeafEarIsToldOfOnceAndGoesOn(t *testing.T) {
	log := play(t, polled, func(m *machine) {
		m.set(func() { m.deaf = true })
		time.Sleep(10 * time.Minute)
		m.set(func() {
			if m.looks > 320 {
				t.Errorf("%d looks in 10 minutes", m.looks)
			}
			m.deaf = false
			m.now = func(time.Time) []interruption.Notice { return []interruption.Notice{spot("a", m.begin)} }
		})
		time.Sleep(3 * time.Second)
	}, "10m1.1s spot-interruption a deadline 0s")
	if n := strings.Count(log, "cannot listen"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log)
	}
}

func TestWhatIsNoLongerAnnouncedIsTakenBack(t *testing.T) {
	play(t, polled, func(m *machine) {
		both := func(time.Time) []interruption.Notice {
			return []interruption.Notice{spot("a", m.begin.Add(time.Minute)), spot("b", m.begin.Add(time.Hour))}
		}
		m.set(func() { m.now = both })
		time.Sleep(time.Second)
		m.set(func() { m.now = func(now time.Time) []interruption.Notice { return both(now)[:1] } })
		time.Sleep(10 * time.Second)
		// An ear that hears nothing knows nothing: it takes nothing back.
		m.set(func() { m.deaf = true })
		time.Sleep(10 * time.Second)
		m.set(func() { m.deaf, m.now = false, both })
		time.Sleep(10 * time.Second)
	},
		"0s spot-interruption a deadline 1m0s", "0s spot-interruption b deadline 1h0m0s",
		"2s cancelled b deadline none", "21.1s spot-interruption b deadline 1h0m0s")
}

func TestWhoWaitsIsToldOnceThatTheNodeIsEmpty(t *testing.T) {
	ear := polled
	ear.Emptied = func(context.Context, interruption.Notice) error { return nil } // replaced by play
	play(t, ear, func(m *machine) {
		m.set(func() {
			m.now = func(time.Time) []interruption.Notice {
				return []interruption.Notice{spot("a", m.begin.Add(time.Minute))}
			}
		})
		time.Sleep(5500 * time.Millisecond)
		m.set(func() { m.empty = true })
		time.Sleep(time.Minute)
	}, "0s spot-interruption a deadline 1m0s", "6s emptied a")
}
