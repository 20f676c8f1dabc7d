package analytics

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

func date(i int) time.Time { return time.Date(2007, 1, 1+i, 0, 0, 0, 0, time.UTC) } // 2007-01-01 is a Monday

func tick(i int, price float64) stream.Tick {
	return stream.Tick{ID: fmt.Sprint("live/WTI/", i), Feed: "live", Symbol: "WTI", Time: date(i), Price: price, Source: "a test"}
}

// quiet is a state that has seen prices about 50 on n days.
func quiet(n int) *State {
	s := NewState()
	random := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		s.Step(tick(i, 50+0.3*random.NormFloat64()))
	}
	return s
}

func kinds(alerts []stream.Alert) string {
	var list []string
	for _, a := range alerts {
		list = append(list, a.Kind)
	}
	return strings.Join(list, " ")
}

func TestAnomaly(t *testing.T) {
	s := quiet(105) // to a Sunday
	got := s.Step(tick(105, 40))
	if len(got) == 0 || got[0].ID != "anomaly/live/WTI/2007-04-16T00:00:00Z" || got[0].Value > -unusual || got[0].Source != "a test" || !strings.Contains(got[0].Message, "to 40.00") {
		t.Fatalf("got %+v", got)
	}
	if again := s.Step(tick(105, 40)); again != nil || s.Repeated != 1 {
		t.Errorf("the same event again: %v", again)
	}
	if got := s.Step(tick(106, -10)); kinds(got) == "" { // below nothing, as oil was once
		t.Errorf("a negative price: %+v", got)
	}
}

func TestOrdinaryDaysAreQuiet(t *testing.T) {
	s := NewState()
	random := rand.New(rand.NewPCG(2, 2))
	for i := range 1000 {
		for _, a := range s.Step(tick(i, 50+0.3*random.NormFloat64())) {
			if a.Kind != Anomaly || math.Abs(a.Value) > 5.5 {
				t.Errorf("%+v", a)
			}
		}
	}
}

// A week is judged when ticks can no longer come for it, and takes them in any order.
func TestMover(t *testing.T) {
	s := quiet(105)
	var got []stream.Alert
	for _, day := range []int{105, 107, 106, 108, 111} { // Monday to Sunday, one late
		got = append(got, s.Step(tick(day, 50+1.5*float64(day-105)))...)
	}
	if s.OutOfOrder != 1 {
		t.Errorf("%d out of order", s.OutOfOrder)
	}
	for day := 112; day < 115; day++ {
		for _, a := range append(got, s.Step(tick(day, 59))...) {
			if a.Kind == Mover {
				t.Errorf("on day %d, with 3 days to wait: %+v", day, a)
			}
		}
	}
	got = s.Step(tick(115, 59))
	if len(got) != 1 || got[0].Kind != Mover || got[0].ID != "mover/live/WTI/2007-04-23T00:00:00Z" || math.Abs(got[0].Value-0.18) > 1e-9 || !strings.Contains(got[0].Message, "5 prices") {
		t.Errorf("got %+v", got)
	}
	if got := s.Step(tick(100, 90)); got != nil || s.Late != 1 {
		// its id was seen, but a thousand events are not over yet; so another one
		if got = s.Step(stream.Tick{ID: "late", Feed: "live", Symbol: "WTI", Time: date(100), Price: 90}); got != nil || s.Late != 1 {
			t.Errorf("a late tick: %v, %d late", got, s.Late)
		}
	}
}

func TestWeekOf(t *testing.T) {
	for i := -30002; i < 30000; i += 7 { // a multiple of 7
		monday := date(i)
		for d := range 7 {
			if got := weekOf(monday.Add(time.Duration(d)*24*time.Hour + 5*time.Hour)); !got.Equal(monday) {
				t.Fatalf("%s is in the week of %s", monday.AddDate(0, 0, d), got)
			}
		}
	}
}

func TestFeedsAreForgotten(t *testing.T) {
	s := NewState()
	for i := range 3 * maxFeeds {
		s.Step(stream.Tick{ID: fmt.Sprint(i), Feed: fmt.Sprint("feed", i), Symbol: "X", Time: date(1), Price: 1})
		s.Step(stream.Tick{ID: fmt.Sprint("main", i), Feed: "main", Symbol: "X", Time: date(i), Price: 1})
	}
	if len(s.Series) != maxFeeds || s.Series["main/X"] == nil || s.Series[fmt.Sprintf("feed%d/X", 2*maxFeeds)] != nil || s.Series[fmt.Sprintf("feed%d/X", 2*maxFeeds+1)] == nil {
		t.Errorf("%d series: %v", len(s.Series), slices.Sorted(maps.Keys(s.Series)))
	}
}

// Which feed was quiet for longest is still known from a snapshot of version 1.
func TestVersion1(t *testing.T) {
	old := NewState()
	for i := range maxFeeds {
		feed := fmt.Sprint("feed", i)
		old.Step(stream.Tick{ID: feed, Feed: feed, Symbol: "X", Time: date(1), Price: 1})
		old.Feeds = append(old.Feeds, feed)
	}
	for _, x := range old.Series {
		x.Last = 0
	}
	old.Taken = 0
	b, err := json.Marshal(Snapshot{1, 5, old})
	if err != nil {
		t.Fatal(err)
	}
	s, err := decodeSnapshot(b)
	if err != nil || s.Version != snapshotVersion || s.State.Feeds != nil {
		t.Fatal(s, err)
	}
	s.State.Step(stream.Tick{ID: "a", Feed: "feed0", Symbol: "X", Time: date(2), Price: 1})
	s.State.Step(stream.Tick{ID: "b", Feed: "new", Symbol: "X", Time: date(2), Price: 1})
	if len(s.State.Series) != maxFeeds || s.State.Series["feed1/X"] != nil || s.State.Series["feed0/X"] == nil {
		t.Errorf("%v", slices.Sorted(maps.Keys(s.State.Series)))
	}
}

// A state that went through a snapshot at any moment goes on as if it had not.
func TestGoesOnFromASnapshot(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	moved, stayed := NewState(), NewState()
	price := 50.0
	for i := range 800 {
		price *= math.Exp(0.02 * random.NormFloat64() * (1 + 2*float64(i/300%2)))
		tk := tick(i-2*random.IntN(2), price)
		tk.ID = fmt.Sprint(i)
		if i%5 == 0 {
			b, err := json.Marshal(Snapshot{snapshotVersion, int64(i), moved})
			if err != nil {
				t.Fatal(err)
			}
			s, err := decodeSnapshot(b)
			if err != nil || s.Offset != int64(i) {
				t.Fatal(s, err)
			}
			moved = s.State
		}
		if a, b := moved.Step(tk), stayed.Step(tk); !reflect.DeepEqual(a, b) {
			t.Fatalf("tick %d: %+v, not %+v", i, a, b)
		}
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	b, err := json.Marshal(Snapshot{snapshotVersion, 5, quiet(80)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"state":{"Series":{"a":{"Live":{}}},"Feeds":["a"],"Seen":{"N":1024}}}`))
	f.Add([]byte(`{"version":1,"state":{"Series":{"a":null},"Seen":{"N":1024}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSnapshot(b); err == nil && len(b) < 1<<16 {
			s.State.Step(tick(1, 5)) // what is accepted can be used
		}
	})
}

func BenchmarkStep(b *testing.B) {
	s := NewState()
	random := rand.New(rand.NewPCG(4, 4))
	ticks := make([]stream.Tick, 4096)
	for i := range ticks {
		ticks[i] = tick(i, 50+0.3*random.NormFloat64())
	}
	for i := 0; b.Loop(); i++ {
		t := ticks[i%len(ticks)]
		if i%len(ticks) == 0 {
			s = NewState()
		}
		s.Step(t)
	}
}
