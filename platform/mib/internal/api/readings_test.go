package api_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/api"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/mibtest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

func TestReadingsOfTheSample(t *testing.T) {
	h := generatedAlone(t)
	for _, c := range []struct {
		query string
		code  int
		want  string // in the body
	}{
		{"symbol=WTI&to=2008-10-15&n=40", 200, ""},
		{"symbol=WTI&to=1900-01-01", 200, `"readings":[]`},
		{"symbol=NONE", 404, `"field":"symbol"`},
		{"symbol=WTI&feed=none", 404, `"unknown_symbol"`},
		{"symbol=WTI&to=October", 400, `"field":"to"`},
		{"symbol=WTI&n=301", 400, `"field":"n"`},
	} {
		w := mibtest.Do(h, "GET", "/v1/readings?"+c.query, "")
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %.300s", c.query, w.Code, w.Body)
		}
	}
	var a api.Readings
	if err := json.Unmarshal(mibtest.Do(h, "GET", "/v1/readings?symbol=WTI&to=2008-10-15&n=40", "").Body.Bytes(), &a); err != nil || len(a.Readings) != 40 {
		t.Fatalf("%d readings, %v", len(a.Readings), err)
	}
	last := a.Readings[39]
	if last.Time > "2008-10-15T00:00:00Z" || last.Time < "2008-10-08" || last.EMA == 0 || last.Upper <= last.Lower || last.Regime == "" {
		t.Errorf("the last reading is %+v", last)
	}
}

// Who follows prices gets the last one of each, and then every one that comes; the
// readings that are kept are the same.
func TestPricesAsTheyCome(t *testing.T) {
	brokers, producer := broker(t)
	srv := httptest.NewServer(generated(t, brokers, producer))
	defer srv.Close()
	day := time.Date(2008, 9, 1, 0, 0, 0, 0, time.UTC)
	send := func(feed string, n int) {
		tick := stream.Tick{ID: stream.NewID(time.Now()), Feed: feed, Symbol: "WTI", Time: day.AddDate(0, 0, n), Price: float64(100 + n), Source: "test"}
		r, err := tick.Record()
		if err == nil {
			err = producer.ProduceSync(t.Context(), r).FirstErr()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	send("a", 0)
	mibtest.Until(t, "the first price", func() bool {
		resp, err := http.Get(srv.URL + "/v1/readings?feed=a&symbol=WTI")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode == 200
	})
	resp, err := http.Get(srv.URL + "/v1/prices?feed=a")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() (event string, list []api.Latest) {
		for lines.Scan() {
			if e, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = e
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &list); err != nil {
					t.Fatal(err)
				}
				return event, list
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return "", nil
	}
	if event, list := next(); event != "latest" || len(list) != 1 || list[0].Price != 100 {
		t.Fatalf("%s %+v", event, list)
	}
	const more = 20
	for n := 1; n <= more; n++ {
		send("b", n)
		send("a", n)
	}
	for want := 1; want <= more; {
		event, list := next()
		for _, l := range list {
			if event != "prices" || l.Feed != "a" || l.Price != float64(100+want) {
				t.Fatalf("%s %+v, want the price %d", event, l, 100+want)
			}
			want++
		}
	}
	var kept api.Readings
	if err := json.Unmarshal(get(t, srv.URL+"/v1/readings?feed=a&symbol=WTI"), &kept); err != nil || len(kept.Readings) != more+1 || kept.Readings[more].Price != 100+more {
		t.Errorf("kept are %+v, %v", kept, err)
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if _, err := bufio.NewReader(resp.Body).WriteTo(&b); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %s %v", url, resp.Status, err)
	}
	return []byte(b.String())
}

func TestTheLastAlerts(t *testing.T) {
	brokers, producer := broker(t)
	for _, id := range []string{"1", "2", "2", "3"} {
		r, err := stream.Alert{ID: id}.Record()
		if err == nil {
			err = producer.ProduceSync(t.Context(), r).FirstErr()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	srv := httptest.NewServer(generated(t, brokers, producer))
	defer srv.Close()
	for query, want := range map[string]string{"?recent=2": "2 3", "?recent=3": "1 2 3", "?recent=10000": "1 2 3"} {
		resp, err := http.Get(srv.URL + "/v1/alerts" + query)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for lines := bufio.NewScanner(resp.Body); len(got) < len(strings.Fields(want)) && lines.Scan(); {
			var a stream.Alert
			if data, ok := strings.CutPrefix(lines.Text(), "data: {"); ok && json.Unmarshal([]byte("{"+data), &a) == nil && a.ID != "" {
				got = append(got, a.ID)
			}
		}
		_ = resp.Body.Close()
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	resp, err := http.Get(srv.URL + "/v1/alerts?recent=-1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("recent=-1: %s", resp.Status)
	}
}
