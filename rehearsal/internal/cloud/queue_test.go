package cloud

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// at is n seconds after the beginning.
func at(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

func queueOf(s settings, bodies ...string) *queue {
	q := newQueue("q", s, epoch)
	for i, body := range bodies {
		q.put(epoch, fmt.Sprintf("m%d", i+1), body, epoch, 0)
	}
	return q
}

// take receives with a visibility of 10 s and returns the IDs and the receipts.
func take(q *queue, now time.Time, most int) (ids []string, receipts []receipt) {
	out, _ := q.receive(now, most, 10*time.Second)
	for _, d := range out {
		ids, receipts = append(ids, d.id), append(receipts, d.receipt)
	}
	return ids, receipts
}

func expectIDs(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("received %v, want %v", got, want)
	}
}

func TestQueueHidesWhatWasReceived(t *testing.T) {
	q := queueOf(defaultSettings, "a", "b", "c")
	ids, _ := take(q, at(0), 2)
	expectIDs(t, ids, "m1", "m2")
	ids, _ = take(q, at(1), 10)
	expectIDs(t, ids, "m3")
	ids, _ = take(q, at(9), 10)
	expectIDs(t, ids)
	ids, _ = take(q, at(10), 10)
	expectIDs(t, ids, "m1", "m2")
	ids, _ = take(q, at(11), 10)
	expectIDs(t, ids, "m3")
	if s := q.stats(at(11)); s.InFlight != 3 || s.Visible != 0 || s.Received != 6 || s.Oldest != 11*time.Second {
		t.Errorf("stats %+v", s)
	}
}

func TestQueueReceiptsGoStale(t *testing.T) {
	q := queueOf(defaultSettings, "a")
	_, first := take(q, at(0), 1)
	_, second := take(q, at(10), 1)
	q.remove(first[0])
	if err := q.hide(at(11), first[0], time.Minute); !errors.Is(err, errNoSuchReceipt) {
		t.Errorf("hiding by a stale receipt: %v", err)
	}
	if s := q.stats(at(11)); s.InFlight != 1 || s.Deleted != 0 || s.StaleDeletes != 1 {
		t.Errorf("a stale receipt had power: %+v", s)
	}
	// The latest receipt deletes even after its time is over.
	q.remove(second[0])
	q.remove(second[0])
	if s := q.stats(at(30)); s.Visible != 0 || s.Deleted != 1 || s.StaleDeletes != 2 {
		t.Errorf("after deleting: %+v", s)
	}
	if err := q.hide(at(30), second[0], time.Minute); !errors.Is(err, errNoSuchReceipt) {
		t.Errorf("hiding a deleted message: %v", err)
	}
}

func TestQueueVisibilityIsSetFromNow(t *testing.T) {
	q := queueOf(defaultSettings, "a")
	_, r := take(q, at(0), 1)
	if err := q.hide(at(8), r[0], 20*time.Second); err != nil {
		t.Fatal(err)
	}
	ids, _ := take(q, at(27), 1)
	expectIDs(t, ids)
	if next, ok := q.next(); !ok || !next.Equal(at(28)) {
		t.Errorf("next is %s, %t", next, ok)
	}
	ids, r = take(q, at(28), 1)
	expectIDs(t, ids, "m1")
	if err := q.hide(at(29), r[0], 0); err != nil {
		t.Fatal(err)
	}
	if err := q.hide(at(29), r[0], time.Minute); !errors.Is(err, errNotInFlight) {
		t.Errorf("hiding a visible message: %v", err)
	}
	ids, _ = take(q, at(29), 1)
	expectIDs(t, ids, "m1")
}

func TestQueueGivesUpAfterMaxReceives(t *testing.T) {
	s := defaultSettings
	s.deadLetters, s.maxReceives = "dlq", 2
	q := queueOf(s, "a", "b")
	take(q, at(0), 1)
	take(q, at(10), 2)
	out, dead := q.receive(at(20), 10, 10*time.Second)
	if len(out) != 1 || out[0].id != "m2" || out[0].receives != 2 {
		t.Errorf("delivered %+v", out)
	}
	if len(dead) != 1 || dead[0].id != "m1" || dead[0].body != "a" || !dead[0].sent.Equal(epoch) {
		t.Errorf("gave up %+v", dead)
	}
}

func TestQueueDelayRetentionAndDuplicates(t *testing.T) {
	s := defaultSettings
	s.retention = time.Minute
	q := newQueue("q", s, epoch)
	q.put(at(0), "m1", "a", at(0), 5*time.Second)
	if st := q.stats(at(1)); st.Delayed != 1 || st.Visible != 0 {
		t.Errorf("stats %+v", st)
	}
	ids, _ := take(q, at(4), 1)
	expectIDs(t, ids)
	q.duplicates = 1
	ids, _ = take(q, at(5), 10)
	expectIDs(t, ids, "m1") // not twice in one answer
	ids, _ = take(q, at(5), 10)
	expectIDs(t, ids, "m1")
	ids, _ = take(q, at(5), 10)
	expectIDs(t, ids)
	ids, _ = take(q, at(60), 10)
	expectIDs(t, ids)
	if st := q.stats(at(60)); st.Expired != 1 || st.InFlight != 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestQueueAgainstModel runs random calls against the rules written the slow way.
func TestQueueAgainstModel(t *testing.T) {
	type state struct {
		visibleAt int
		receives  int
	}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		q := newQueue("q", defaultSettings, epoch)
		model := make(map[string]*state)
		var receipts []receipt
		now, sent := 0, 0
		for range 400 {
			now += r.IntN(3)
			switch r.IntN(4) {
			case 0:
				sent++
				id := fmt.Sprintf("m%d", sent)
				delay := r.IntN(5)
				q.put(at(now), id, id, at(now), time.Duration(delay)*time.Second)
				model[id] = &state{visibleAt: now + delay}
			case 1:
				most, hide := 1+r.IntN(10), r.IntN(20)
				visible := 0
				for _, m := range model {
					if m.visibleAt <= now {
						visible++
					}
				}
				out, _ := q.receive(at(now), most, time.Duration(hide)*time.Second)
				if len(out) != min(most, visible) {
					t.Fatalf("seed %d: received %d of %d visible, asked for %d", seed, len(out), visible, most)
				}
				for _, d := range out {
					m := model[d.id]
					if m == nil || m.visibleAt > now {
						t.Fatalf("seed %d: %s was deleted or hidden", seed, d.id)
					}
					m.visibleAt = now + hide
					m.receives++
					if d.receives != m.receives {
						t.Fatalf("seed %d: %s has receive count %d, want %d", seed, d.id, d.receives, m.receives)
					}
					receipts = append(receipts, d.receipt)
				}
			case 2, 3:
				if len(receipts) == 0 {
					continue
				}
				old := receipts[r.IntN(len(receipts))]
				m := model[old.message]
				current := m != nil && m.receives == old.receive
				if r.IntN(2) == 0 {
					q.remove(old)
					if current {
						delete(model, old.message)
					}
					continue
				}
				d := r.IntN(20)
				err := q.hide(at(now), old, time.Duration(d)*time.Second)
				if ok := current && m.visibleAt > now; ok != (err == nil) {
					t.Fatalf("seed %d: hiding %v: %v, want success %t", seed, old, err, ok)
				} else if ok {
					m.visibleAt = now + d
				}
			}
		}
		if s := q.stats(at(now)); s.Visible+s.InFlight+s.Delayed != len(model) {
			t.Fatalf("seed %d: %+v, want %d messages", seed, s, len(model))
		}
	}
}
