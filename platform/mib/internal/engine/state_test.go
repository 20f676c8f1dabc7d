package engine

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

func tick(i int, feed string, price float64) stream.Tick {
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Hour)
	return stream.Tick{ID: fmt.Sprint(feed, i), Feed: feed, Symbol: "WTI", Time: at, Price: price, Source: "a test"}
}

// record is a tick where it is in the topic.
type record struct {
	partition int32
	offset    int64
	tick      stream.Tick
}

func records(n int) []record {
	random := rand.New(rand.NewPCG(1, 2))
	var list []record
	var next [stream.Partitions]int64
	for i := range n {
		p := int32(random.IntN(stream.Partitions))
		at := i - 2*random.IntN(2) // some come late, and are no signals
		list = append(list, record{p, next[p], tick(at, fmt.Sprint("feed", p), 50+random.NormFloat64())})
		next[p]++
	}
	return list
}

// A client that was cut off, and goes on at a state that went through a snapshot or
// took its records in another interleaving, gets every signal once, in the order of
// its partition.
func TestGoesOnAtAnother(t *testing.T) {
	list := records(3000)
	var here, there = NewState(Position{}), NewState(Position{})
	var want, got []Kept
	at := Position{}
	for i, r := range list {
		if k, ok := here.Step(r.partition, r.offset, r.tick); ok {
			want = append(want, k)
		}
		there.Step(r.partition, r.offset, r.tick)
		there.Step(r.partition, r.offset, r.tick) // again: it changes nothing
		if i%97 != 0 && i != len(list)-1 {
			continue
		}
		state := here
		if i%2 == 0 {
			state = there
			b, err := json.Marshal(there)
			if err != nil {
				t.Fatal(err)
			}
			there = new(State)
			if err := json.Unmarshal(b, there); err != nil {
				t.Fatal(err)
			}
			if err := there.check(); err != nil {
				t.Fatal(err)
			}
		}
		for {
			signals, gap := state.After(at, 20)
			if gap {
				t.Fatal("a gap")
			}
			if len(signals) == 0 {
				break
			}
			for _, k := range signals {
				at[k.Partition] = k.Offset + 1
				got = append(got, k)
			}
			var err error
			if at, err = ParseToken(at.Token()); err != nil {
				t.Fatal(err)
			}
		}
	}
	by := func(list []Kept) (parts [stream.Partitions][]Kept) {
		for _, k := range list {
			parts[k.Partition] = append(parts[k.Partition], k)
		}
		return parts
	}
	if len(got) == 0 || !reflect.DeepEqual(by(got), by(want)) {
		t.Errorf("%d signals, not %d, or others", len(got), len(want))
	}
	if a, b := here.Latest(""), there.Latest(""); !reflect.DeepEqual(a, b) || len(a) != stream.Partitions {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// What is not kept is said not to be.
func TestGap(t *testing.T) {
	s := NewState(Position{})
	for i := range 5 * keptSignals {
		s.Step(0, int64(i), tick(i, "live", 50))
	}
	signals, gap := s.After(Position{}, 1<<20)
	if !gap || len(signals) < keptSignals || len(signals) > 2*keptSignals {
		t.Errorf("%d signals, gap %v", len(signals), gap)
	}
	at := s.Kept(Position{})
	if again, gap := s.After(at, 1<<20); gap || len(again) != len(signals) {
		t.Errorf("after the gap: %d signals, gap %v", len(again), gap)
	}
	if _, gap := s.After(s.Position(), 10); gap {
		t.Error("a gap at the end")
	}
	if past := s.Past("live", "WTI", 1000); len(past) != keptReadings || !past[len(past)-1].Time.Equal(s.Latest("live")[0].Time) {
		t.Errorf("%d readings", len(past))
	}
}

func TestPricesAreForgotten(t *testing.T) {
	s := NewState(Position{})
	for i := range 3 * keptPrices {
		s.Step(0, int64(2*i), tick(i, fmt.Sprint("feed", i), 1))
		s.Step(0, int64(2*i+1), tick(i, "main", 1))
	}
	if n := len(s.Partitions[0].Prices); n != keptPrices || s.Past("main", "WTI", 1) == nil || s.Past("feed0", "WTI", 1) != nil {
		t.Errorf("%d prices", n)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(Position{1, 2, 3, 1 << 40, 5, 6}.Token())
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		at, err := ParseToken(s)
		if err != nil {
			return
		}
		if again, err := ParseToken(at.Token()); err != nil || again != at {
			t.Errorf("%v became %v: %v", at, again, err)
		}
		NewState(Position{}).After(at, 10)
	})
}
