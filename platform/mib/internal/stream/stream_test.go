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

// byReflection is DecodeTick as encoding/json alone would do it.
func byReflection(b []byte) (Tick, error) {
	var t Tick
	if err := json.Unmarshal(b, &t); err != nil {
		return Tick{}, err
	}
	if err := t.Check(); err != nil {
		return Tick{}, err
	}
	return t, nil
}

// What is not written as Tick.Record does is decoded all the same, or refused with
// the same right.
func FuzzDecodeTick(f *testing.F) {
	for _, s := range []string{
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-20T00:00:00Z","price":-36.98}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-20T00:00:00Z","price":-36.98,"source":"EIA"}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-02-29T23:59:59Z","price":1e-07,"source":""}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2021-02-29T00:00:00Z","price":1,"source":""}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-31T00:00:00Z","price":1,"source":""}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00.5Z","price":1,"source":""}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00+02:00","price":1,"source":""}`,
		`{"id":"\u0061","feed":"live","symbol":"W\u00e4","time":"2020-04-30T00:00:00Z","price":1,"source":"ä"}`,
		"{\"id\":\"\xff\",\"feed\":\"live\",\"symbol\":\"WTI\",\"time\":\"2020-04-30T00:00:00Z\",\"price\":1,\"source\":\"\"}",
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00Z","price":01,"source":""}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00Z","price":1.,"source":""}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00Z","price":1e999,"source":""}`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00Z","price":1,"source":""} `,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00Z","price":1,"source":""}x`,
		`{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00Z","price":1,"source":"","id":"b"}`,
		`{"ID":"a","feed":"live","symbol":"WTI","time":"2020-04-30T00:00:00Z","price":null,"source":""}`,
	} {
		f.Add([]byte(s))
	}
	d := new(Decoder)
	f.Fuzz(func(t *testing.T, b []byte) {
		tick, err := d.Tick(b)
		want, wantErr := byReflection(b)
		if (err == nil) != (wantErr == nil) || tick != want && !(tick.Time.Equal(want.Time) && fmt.Sprint(tick) == fmt.Sprint(want)) {
			t.Fatalf("%q became %+v, %v, not %+v, %v", b, tick, err, want, wantErr)
		}
		if err != nil {
			return
		}
		r, err := tick.Record()
		if err != nil {
			t.Fatal(err)
		}
		again, err := d.Tick(r.Value)
		if err != nil || again.ID != tick.ID || again.Price != tick.Price || !again.Time.Equal(tick.Time) {
			t.Errorf("%+v became %+v: %v", tick, again, err)
		}
	})
}

// What is written most is read without reflection, and a name that comes again
// costs nothing.
func TestDecoderAllocatesOnlyTheID(t *testing.T) {
	r, err := Tick{ID: "live/WTI/2020-04-20", Feed: "live", Symbol: "WTI", Time: time.Date(2020, 4, 20, 0, 0, 0, 0, time.UTC), Price: -36.98, Source: "EIA"}.Record()
	if err != nil {
		t.Fatal(err)
	}
	d := new(Decoder)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Tick(r.Value); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecodeTick(b *testing.B) {
	r, err := Tick{ID: "feed1/WTI/2020-04-20", Feed: "feed1", Symbol: "WTI", Time: time.Date(2020, 4, 20, 0, 0, 0, 0, time.UTC), Price: -36.98, Source: "U.S. Energy Information Administration"}.Record()
	if err != nil {
		b.Fatal(err)
	}
	d := new(Decoder)
	for name, decode := range map[string]func([]byte) (Tick, error){"written": d.Tick, "reflection": byReflection} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := decode(r.Value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
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
