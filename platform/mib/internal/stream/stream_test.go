package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestNewID(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	a, b, later := NewID(at), NewID(at), NewID(at.Add(time.Millisecond))
	if a == b || len(a) != 26 || a[:10] != b[:10] || later <= a || later <= b || a[0] > '7' {
		t.Errorf("%s %s %s", a, b, later)
	}
	// The ULID specification's own example: 1469918176385 ms is 01ARYZ6S41.
	if id := NewID(time.UnixMilli(1469918176385)); id[:10] != "01ARYZ6S41" {
		t.Errorf("got %s", id)
	}
}

func TestSeen(t *testing.T) {
	s := Seen{N: 3}
	for i, step := range []struct {
		id   string
		want bool
	}{{"a", false}, {"a", true}, {"b", false}, {"c", false}, {"a", true}, {"d", false}, {"a", false}, {"d", true}, {"b", false}} {
		if i == 5 { // it goes on elsewhere
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			s = Seen{}
			if err := json.Unmarshal(b, &s); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.Again(step.id); got != step.want {
			t.Errorf("step %d, %s: %v", i, step.id, got)
		}
	}
	if len(s.set) != 3 {
		t.Errorf("it remembers %d", len(s.set))
	}
}

func TestTickIsChecked(t *testing.T) {
	good := Tick{ID: "a", Feed: "live", Symbol: "WTI", Time: time.Date(2020, 4, 20, 0, 0, 0, 0, time.UTC), Price: -36.98}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for field, change := range map[string]func(*Tick){
		"id":     func(t *Tick) { t.ID = "" },
		"feed":   func(t *Tick) { t.Feed = "a b" },
		"symbol": func(t *Tick) { t.Symbol = string(make([]byte, 200)) },
		"time":   func(t *Tick) { t.Time = time.Time{} },
		"price":  func(t *Tick) { t.Price = math.NaN() },
	} {
		bad := good
		change(&bad)
		var fe *FieldError
		if err := bad.Check(); !errors.As(err, &fe) || fe.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func FuzzDecodeTick(f *testing.F) {
	f.Add([]byte(`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-20T00:00:00Z","price":-36.98}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		tick, err := DecodeTick(b)
		if err != nil {
			return
		}
		r, err := tick.Record()
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeTick(r.Value)
		if err != nil || again.ID != tick.ID || again.Price != tick.Price || !again.Time.Equal(tick.Time) {
			t.Errorf("%+v became %+v: %v", tick, again, err)
		}
	})
}

// What a broker was given is there when another is started in its folder.
func TestBrokerKeeps(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		c, err := Broker("127.0.0.1:0", dir)
		if err != nil {
			t.Fatal(err)
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(Alerts), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		if err := CreateTopics(t.Context(), client, 1); err != nil {
			t.Fatal(err)
		}
		r, err := Alert{ID: fmt.Sprint("alert-", i)}.Record()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if r.Offset != int64(i) {
			t.Errorf("the alert has the offset %d, not %d", r.Offset, i)
		}
		client.Close()
		c.Close()
	}
}
