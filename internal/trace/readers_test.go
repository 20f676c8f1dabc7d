package trace_test

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

func TestReadFleet(t *testing.T) {
	f, err := trace.ReadFleet(strings.NewReader("t_seconds,event,node\n5,add,a\n5,add,b\n70,remove,a\n100,add,a\n200,remove,b\n200,remove,a\n"), "f.csv")
	if err != nil {
		t.Fatal(err)
	}
	s := time.Second
	want := trace.Series{{Value: 0}, {At: 5 * s, Value: 2}, {At: 70 * s, Value: 1}, {At: 100 * s, Value: 2}, {At: 200 * s, Value: 0}}
	if !reflect.DeepEqual(f.Up, want) || f.Span != 200*s || f.Peak != 2 {
		t.Errorf("fleet = %+v", f)
	}
	if got := f.Removals(); !reflect.DeepEqual(got, []time.Duration{70 * s, 200 * s, 200 * s}) {
		t.Errorf("removals = %v", got)
	}
	if got := f.Bunched(3 * time.Minute); got != 1 {
		t.Errorf("bunched = %v", got)
	}
	m := f.Market(trace.Offer{Region: "r", Zone: "ra", InstanceType: "t", OnDemand: 100_000})
	if err := m.Check(); err != nil {
		t.Error(err)
	}

	counts, err := trace.ReadFleet(strings.NewReader("t_seconds,up\n0,0\n5,2\n70,1\n100,2\n200,0\n"), "c.csv")
	if err != nil || !reflect.DeepEqual(counts.Up, want) {
		t.Errorf("counts = %+v, %v", counts, err)
	}
}

func TestReadFleetErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "f.csv:1: empty file"},
		{"no time", "t_seconds,up\n0,3\n", "f.csv: no time passes"},
		{"backwards", "t_seconds,up\n5,1\n4,2\n", "f.csv:3: 4s comes after 5s"},
		{"negative", "t_seconds,up\n0,-1\n", `f.csv:2: "-1" is not a number of machines`},
		{"not a time", "t_seconds,up\nNaN,1\n", `f.csv:2: "NaN" is not a number of seconds`},
		{"twice", "t_seconds,event,node\n0,add,a\n1,add,a\n", "f.csv:3: node a is added, and is there already"},
		{"not there", "t_seconds,event,node\n0,remove,a\n", "f.csv:2: node a is removed, and is not there"},
		{"unknown event", "t_seconds,event,node\n0,pause,a\n", `f.csv:2: event "pause"`},
		{"no node", "t_seconds,event,node\n0,add,\n", "f.csv:2: no node"},
		{"columns", "a,b\n", `f.csv:1: column "t_seconds" is missing`},
	} {
		_, err := trace.ReadFleet(strings.NewReader(tt.text), "f.csv")
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A page as `aws ec2 describe-spot-price-history` prints it.
const spotPage = `{
    "NextToken": "abc",
    "SpotPriceHistory": [
        {
            "AvailabilityZone": "us-east-1a",
            "InstanceType": "m5.large",
            "ProductDescription": "Linux/UNIX",
            "SpotPrice": "0.035100",
            "Timestamp": "2026-11-02T12:00:00+00:00"
        },
        {
            "AvailabilityZone": "us-east-1a",
            "InstanceType": "m5.large",
            "ProductDescription": "Windows",
            "SpotPrice": "0.135100",
            "Timestamp": "2026-11-02T12:00:00+00:00"
        },
        {
            "AvailabilityZone": "us-east-1a",
            "InstanceType": "m5.large",
            "ProductDescription": "Linux/UNIX",
            "SpotPrice": "0.035000",
            "Timestamp": "2026-11-01T12:00:00+00:00"
        }
    ]
}
`

func TestReadSpotHistory(t *testing.T) {
	next := strings.ReplaceAll(spotPage, "us-east-1a", "us-east-1b")
	p, err := trace.ReadSpotHistory(strings.NewReader(spotPage+next), "spot.json")
	if err != nil {
		t.Fatal(err)
	}
	if p.Span != 24*time.Hour || len(p.Histories) != 2 {
		t.Fatalf("prices = %+v", p)
	}
	h := p.Histories[0]
	want := trace.Series{{Value: 35_000}, {At: 24 * time.Hour, Value: 35_100}}
	if h.Region != "us-east-1" || h.Zone != "us-east-1a" || !reflect.DeepEqual(h.Spot, want) || h.OnDemand != nil {
		t.Errorf("history = %+v", h)
	}
	q, ok := p.Table("test").Spot("m5.large", "us-east-1", "us-east-1b")
	if !ok || q.PerHour != 35_100 {
		t.Errorf("last price = %+v", q)
	}
	m := generateMarket(t, trace.MarketConfig{Seed: 1, Pools: []trace.PoolConfig{pool("us-east-1a", "m5.large", 0.01), pool("us-east-1a", "c5.large", 0.01)}})
	if n := p.SetPrices(m); n != 1 {
		t.Errorf("%d pools got prices, want 1", n)
	}
	if o, _ := m.Pool("us-east-1a/m5.large"); !reflect.DeepEqual(o.Spot, want) {
		t.Errorf("spot price = %v", o.Spot)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

func TestReadSpotHistoryErrors(t *testing.T) {
	for _, tt := range []struct{ name, old, with, want string }{
		{"negative price", `"0.035000"`, `"-0.035"`, `spot.json:24: "-0.035" is not an amount`},
		{"free", `"0.035000"`, `"0"`, `spot.json:24: "0" is not a price`},
		{"no zone", `"us-east-1a"`, `""`, "spot.json:10: a price without AvailabilityZone"},
		{"not a time", "2026-11-02T12:00:00+00:00", "yesterday", "spot.json:10: "},
		{"before there was spot", "2026-11-01T", "1999-11-01T", "spot.json:24: 1999-11-01"},
		{"two prices at once", "2026-11-01T", "2026-11-02T", "spot.json: m5.large in us-east-1us-east-1a has two prices"},
		{"cut off", "    ]\n}\n", "", "spot.json:24: unexpected EOF"},
		{"not an object", "{", "[", "spot.json:1: [ where { belongs"},
		{"not a list", `[`, `3`, "spot.json:3: "},
		{"empty", spotPage, "", "spot.json: no prices"},
	} {
		text := strings.Replace(spotPage, tt.old, tt.with, 1)
		_, err := trace.ReadSpotHistory(strings.NewReader(text), "spot.json")
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
		}
	}
}

const eventsHeader = "date,machine_type,region,on_demand_usd_h,spot_usd_h\n"

func TestReadPriceEvents(t *testing.T) {
	p, err := trace.ReadPriceEvents(strings.NewReader(eventsHeader+"2026-01-01,n2,r,0.2,0.1\n2026-01-03,n2,r,0.2,0.11\n2026-01-03,e2,r,0.3,0.1\n"), "p.csv")
	if err != nil {
		t.Fatal(err)
	}
	n2 := p.Histories[1]
	if p.Span != 48*time.Hour || len(n2.OnDemand) != 1 || !reflect.DeepEqual(n2.Spot, trace.Series{{Value: 100_000}, {At: 48 * time.Hour, Value: 110_000}}) {
		t.Errorf("prices = %+v", p)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", eventsHeader, "p.csv: no prices"},
		{"negative", eventsHeader + "2026-01-01,n2,r,0.2,-0.1\n", `p.csv:2: "-0.1" is not an amount`},
		{"overlap", eventsHeader + "2026-01-02,n2,r,0.2,0.1\n2026-01-02,n2,r,0.2,0.3\n", "p.csv:3: 2026-01-02 of n2 is not after its previous date"},
		{"date", eventsHeader + "soon,n2,r,0.2,0.1\n", `p.csv:2: "soon" is not a date`},
		{"no region", eventsHeader + "2026-01-02,n2,,0.2,0.1\n", "p.csv:2: no machine type or region"},
	} {
		_, err := trace.ReadPriceEvents(strings.NewReader(tt.text), "p.csv")
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestReadRatios(t *testing.T) {
	const header = "region,zone,instance_type,on_demand_h,spot_h\n"
	got, err := trace.ReadRatios(strings.NewReader(header+"r,ra,t,4,1\nr,rb,t,0,1\n"), "a.csv")
	if err != nil || len(got) != 1 || got[0].SpotToOnDemand != 0.25 {
		t.Errorf("ratios = %+v, %v", got, err)
	}
	if _, err := trace.ReadRatios(strings.NewReader(header+"r,ra,t,4,-1\n"), "a.csv"); err == nil || !strings.HasPrefix(err.Error(), "a.csv:2: ") {
		t.Errorf("error = %v", err)
	}
}

// TestTraceAsMarket: the same history in moments.
func TestTraceAsMarket(t *testing.T) {
	text := "pool,tick,capacity\nus-east-1a/m5.large,2,1\nus-east-1b/m5.large,4,0\nus-east-1a/m5.large,6,0\nus-east-1b/m5.large,8,1\n"
	tr, err := trace.Read(strings.NewReader(text), "t.csv", nil, trace.Defaults{Tick: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	m, err := tr.Market(price.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	a, b := &m.Pools[0], &m.Pools[1]
	if m.Span != 5*time.Minute || a.OnDemand != 96_000 || a.Spot[0].Value != 32_640 {
		t.Errorf("market = %+v", m)
	}
	if want := (trace.Series{{Value: trace.Unlimited}, {At: 2 * time.Minute}}); !reflect.DeepEqual(a.Capacity, want) {
		t.Errorf("a = %v, want %v", a.Capacity, want)
	}
	if want := (trace.Series{{}, {At: 4 * time.Minute, Value: trace.Unlimited}}); !reflect.DeepEqual(b.Capacity, want) {
		t.Errorf("b = %v, want %v", b.Capacity, want)
	}
	if _, err := tr.Market(nil); err == nil || !strings.Contains(err.Error(), "on-demand price") {
		t.Errorf("without prices: %v", err)
	}
}

// endless repeats a row for ever, counting what it has given out.
type endless struct {
	head, row string
	given     int64
	buf       string
}

func (e *endless) Read(p []byte) (int, error) {
	if e.given == 0 {
		e.buf = e.head
	}
	n := 0
	for n < len(p) {
		if e.buf == "" {
			e.buf = e.row
		}
		k := copy(p[n:], e.buf)
		e.buf = e.buf[k:]
		n += k
	}
	e.given += int64(n)
	return n, nil
}

// TestHugeInput: a file without end is refused with its line, or is too long, and
// takes no memory that grows with it. The bound is far above what is needed; the
// input, were it kept, would be far above the bound.
func TestHugeInput(t *testing.T) {
	for _, tt := range []struct {
		name      string
		in        *endless
		read      func(io.Reader) error
		wantError string
	}{
		{
			"availability that never changes", &endless{head: "pool,tick,capacity\nza/t,0,1\n", row: "za/t,0,1\n"},
			func(r io.Reader) error { _, err := trace.Read(r, "h.csv", nil, trace.Defaults{}); return err }, "h.csv:3: tick 0 of pool",
		},
		{
			"one line", &endless{head: "t_seconds,up\n", row: "x"},
			func(r io.Reader) error { _, err := trace.ReadFleet(r, "h.csv"); return err }, "h.csv:2: reading: ",
		},
		{
			"one JSON string", &endless{head: `{"SpotPriceHistory":[{"SpotPrice":"`, row: strings.Repeat("0", 4096)},
			func(r io.Reader) error { _, err := trace.ReadSpotHistory(r, "h.json"); return err }, "h.json:1: an element is larger",
		},
		{
			"blank lines", &endless{head: `{`, row: "\n\n\n\n"},
			func(r io.Reader) error { _, err := trace.ReadSpotHistory(r, "h.json"); return err }, "h.json:",
		},
		{
			"Windows for ever", &endless{head: `{"SpotPriceHistory":[`, row: `{"AvailabilityZone":"us-east-1a","InstanceType":"t","ProductDescription":"Windows"},` + "\n"},
			func(r io.Reader) error {
				_, err := trace.ReadSpotHistory(io.LimitReader(r, 16<<20), "h.json")
				return err
			}, "h.json:",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			err := tt.read(tt.in)
			runtime.GC()
			runtime.ReadMemStats(&after)
			if err == nil || !strings.HasPrefix(err.Error(), tt.wantError) {
				t.Errorf("error = %.200v, want %q", err, tt.wantError)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
				t.Errorf("%d bytes are kept of %d that were read", grown, tt.in.given)
			}
		})
	}
}

func FuzzReadFleet(f *testing.F) {
	f.Add("t_seconds,up\n0,0\n5,2\n70,1\n")
	f.Add("t_seconds,event,node\n0,add,a\n9.5,remove,a\n")
	f.Fuzz(func(t *testing.T, text string) {
		fleet, err := trace.ReadFleet(strings.NewReader(text), "f.csv")
		if err != nil {
			return
		}
		m := fleet.Market(trace.Offer{Region: "r", Zone: "ra", InstanceType: "t", OnDemand: 100_000})
		if err := m.Check(); err != nil {
			t.Errorf("%v\n%+v", err, fleet)
		}
	})
}

func FuzzReadSpotHistory(f *testing.F) {
	f.Add(spotPage)
	f.Add(`{"SpotPriceHistory":[]}{"SpotPriceHistory":[{"AvailabilityZone":"us-east-1a","InstanceType":"t","SpotPrice":"1","Timestamp":"2026-11-02T12:00:00Z"}]}`)
	f.Fuzz(func(t *testing.T, text string) { checkPrices(t)(trace.ReadSpotHistory(strings.NewReader(text), "p")) })
}

func FuzzReadPriceEvents(f *testing.F) {
	f.Add(eventsHeader + "2026-01-01,n2,r,0.2,0.1\n2026-01-03,n2,r,0.2,0.11\n")
	f.Fuzz(func(t *testing.T, text string) { checkPrices(t)(trace.ReadPriceEvents(strings.NewReader(text), "p")) })
}

func FuzzReadRatios(f *testing.F) {
	f.Add("region,zone,instance_type,on_demand_h,spot_h\nr,ra,t,0.2,0.1\nr,rb,t,0,0.1\n")
	f.Add("spot_h,on_demand_h,zone,region,instance_type,more\n3,1,z,r,t,\n")
	f.Fuzz(func(t *testing.T, text string) {
		ratios, err := trace.ReadRatios(strings.NewReader(text), "r.csv")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "r.csv") {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		for _, r := range ratios {
			if !(r.SpotToOnDemand > 0) || math.IsInf(r.SpotToOnDemand, 0) || r.Region == "" || r.Zone == "" || r.InstanceType == "" {
				t.Errorf("%+v", r)
			}
		}
	})
}

func checkPrices(t *testing.T) func(*trace.Prices, error) {
	return func(p *trace.Prices, err error) {
		if err != nil {
			return
		}
		for _, h := range p.Histories {
			for i, s := range h.Spot {
				if s.Value <= 0 || s.At < 0 || s.At > p.Span || i > 0 && (s.At <= h.Spot[i-1].At || s.Value == h.Spot[i-1].Value) {
					t.Errorf("%+v", h)
				}
			}
		}
	}
}

// openData opens a file of the published data, or skips the comparison.
func openData(t *testing.T, path string) *os.File {
	t.Helper()
	root := os.Getenv("EVENKEEL_DATA")
	if root == "" {
		t.Skipf("EVENKEEL_DATA does not name a data folder: nothing to compare with (%s)", path)
	}
	f, err := os.Open(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestRealFleets: machines of one pool go together. The generator lets all of a
// pool go within ReclaimSpread; this is how far real fleets do.
func TestRealFleets(t *testing.T) {
	for _, tt := range []struct {
		file          string
		peak, removed int
		bunched       float64
	}{
		{"aws-p3-nodes.csv", 32, 167, 0.9},
		{"aws-2020-11-p2.xlarge-count.csv", 16, 140, 0.6},
		{"aws-2020-11-us-east-1c-g4dn.xlarge-count.csv", 12, 80, 0.6},
		{"gcp-us-east1-c-v100-count.csv", 80, 600, 0.85},
	} {
		f, err := trace.ReadFleet(openData(t, "spot-fleet-bamboo/"+tt.file), tt.file)
		if err != nil {
			t.Fatal(err)
		}
		removed := len(f.Removals())
		t.Logf("%s: peak %d, %d machines went in %.1f h, %.0f%% of them within 3 min of another", tt.file, f.Peak, removed, f.Span.Hours(), 100*f.Bunched(trace.ReclaimSpread))
		if f.Peak != int64(tt.peak) {
			t.Errorf("%s: peak %d, the publisher says %d", tt.file, f.Peak, tt.peak)
		}
		if b := f.Bunched(trace.ReclaimSpread); b < tt.bunched {
			t.Errorf("%s: %.2f of the machines went within 3 minutes of another, want %.2f and more", tt.file, b, tt.bunched)
		}
	}
}

// TestRealMarket compares generated pools of a hazard like that of the published
// AWS histories with these: what is asked for must look like what was seen.
func TestRealMarket(t *testing.T) {
	tr := realTrace(t, "aws-2023-02-v100.csv")
	m, err := tr.Market(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	var sameRegion, across, together []float64
	for i := range m.Pools {
		for j := range i {
			a, b := &m.Pools[j], &m.Pools[i]
			if a.Region == b.Region {
				sameRegion = append(sameRegion, a.Correlation(b, m.Span))
				together = append(together, a.CoInterruption(b, trace.ReclaimSpread))
			} else {
				across = append(across, a.Correlation(b, m.Span))
			}
		}
	}
	near(t, "correlation within regions, mean of the published pools", mean(sameRegion), trace.DefaultRegion, 0.05)
	near(t, "correlation across regions, mean of the published pools", mean(across), trace.DefaultAcross, 0.03)
	near(t, "reclaims together within regions, mean of the published pools", mean(together), trace.DefaultTogetherRegion, 0.05)

	west, _ := m.Pool("us-west-2a/p3.2xlarge")
	c, _ := m.Pool("us-west-2c/p3.2xlarge")
	hazard := (west.Hazard() + c.Hazard()) / 2
	outage := (west.MeanOutage() + c.MeanOutage()) / 2
	g := generateMarket(t, trace.MarketConfig{
		Seed: 5, Outage: outage, Span: 3000 * day,
		Pools: []trace.PoolConfig{pool("us-west-2a", "p3.2xlarge", hazard), pool("us-west-2c", "p3.2xlarge", hazard)},
	})
	like := &g.Pools[0]
	near(t, "hazard, generated and published", like.Hazard()/hazard, 1, 0.1)
	near(t, "outage, generated and published", float64(like.MeanOutage())/float64(outage), 1, 0.15)
	near(t, "correlation, generated and published", like.Correlation(&g.Pools[1], g.Span), west.Correlation(c, m.Span), 0.08)
	t.Logf("us-west-2: hazard %.2f a day, outage %v, correlation %.2f; generated %.2f, %v, %.2f", hazard, outage.Round(time.Minute), west.Correlation(c, m.Span),
		like.Hazard(), like.MeanOutage().Round(time.Minute), like.Correlation(&g.Pools[1], g.Span))
}

func mean(all []float64) float64 {
	sum := 0.0
	for _, v := range all {
		sum += v
	}
	return sum / float64(max(1, len(all)))
}

// TestRealPrices measures the published prices of GCP, whose changes are crawled
// about weekly, and of Alibaba. No history of AWS spot prices is public under a
// licence to ship it, so the generator's 1.8 changes a day of 0.8 % are compared
// with nothing here; give your own with ReadSpotHistory.
func TestRealPrices(t *testing.T) {
	p, err := trace.ReadPriceEvents(openData(t, "gcp-prices/price-events.csv"), "price-events.csv")
	if err != nil {
		t.Fatal(err)
	}
	var changes, steps []float64
	for _, h := range p.Histories {
		perDay, step := trace.Changes(h.Spot, p.Span)
		if perDay > 0 {
			changes, steps = append(changes, perDay), append(steps, step)
		}
	}
	t.Logf("GCP: %d histories over %.0f days, %.3f changes a day (%.1f a year), mean median step %.1f%%", len(p.Histories), p.Span.Hours()/24, mean(changes), 365*mean(changes), 100*mean(steps))
	if c := mean(changes); c > trace.DefaultPriceChanges {
		t.Errorf("GCP prices change %.2f times a day", c)
	}
	ratios, err := trace.ReadRatios(openData(t, "alibaba-prices/prices-2024-06.csv"), "prices-2024-06.csv")
	if err != nil {
		t.Fatal(err)
	}
	zones := make(map[string]map[float64]bool)
	count := make(map[string]int)
	var all []float64
	for _, r := range ratios {
		k := r.Region + "/" + r.InstanceType
		if zones[k] == nil {
			zones[k] = make(map[float64]bool)
		}
		zones[k][r.SpotToOnDemand] = true
		count[k]++
		all = append(all, r.SpotToOnDemand)
	}
	several, differ := 0, 0
	for k, n := range count {
		if n > 1 {
			several++
			if len(zones[k]) > 1 {
				differ++
			}
		}
	}
	t.Logf("Alibaba: %d prices, spot %.2f of on-demand on average; of %d types in several zones %.0f%% differ between them", len(ratios), mean(all), several, 100*float64(differ)/float64(several))
}
