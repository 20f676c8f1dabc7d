package gcpprice

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// The pages in testdata are made after the API's documentation
// (cloud.google.com/billing/docs/reference/rest/v1/services.skus); their prices are
// near the list's, and not meant to be them.
func fixture(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var now = time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC)

func client(t *testing.T, asked *[]*http.Request, bodies ...string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r)
		switch {
		case r.Header.Get("X-Goog-Api-Key") != "key":
			http.Error(w, `{"error":{"code":403,"status":"PERMISSION_DENIED"}}`, http.StatusForbidden)
		case len(*asked) > len(bodies):
			http.Error(w, "one request too many", http.StatusTeapot)
		default:
			w.Write([]byte(bodies[len(*asked)-1]))
		}
	}))
	t.Cleanup(s.Close)
	t.Setenv("EVENKEEL_GCP_PRICES_URL", s.URL)
	t.Setenv("EVENKEEL_GCP_API_KEY", "key")
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	c.now = func() time.Time { return now }
	return c
}

var machines = []price.Instance{
	{Type: "n2-standard-4", VCPU: 4, MemoryMiB: 16 << 10}, {Type: "e2-standard-4", VCPU: 4, MemoryMiB: 16 << 10}, {Type: "a2-highgpu-1g", VCPU: 12, MemoryMiB: 85 << 10},
}

func TestPrices(t *testing.T) {
	var asked []*http.Request
	c := client(t, &asked, fixture(t, "page1.json"), fixture(t, "page2.json"))
	table, unknown, err := c.Prices(t.Context(), "us-central1", machines)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		machine  string
		capacity price.Capacity
		want     price.Micros
	}{
		{"n2-standard-4", price.OnDemand, 4*31_611 + 16*4_237},
		{"n2-standard-4", price.Spot, 4*9_000 + 16*1_200},
		{"e2-standard-4", price.OnDemand, 134_023}, // 4 × 21,811.59 + 16 × 2,923.53 µ$
	} {
		q, ok := table.Lookup(tt.machine, "us-central1", "", tt.capacity)
		if !ok || q.PerHour != tt.want || !q.Date.Equal(now) || q.Source != Source {
			t.Errorf("%s %s: %+v, want %s", tt.machine, tt.capacity, q, tt.want)
		}
	}
	if _, ok := table.Spot("e2-standard-4", "us-central1", ""); ok {
		t.Error("a spot price of a family that has none in the list")
	}
	if !slices.Equal(unknown, []string{"a2-highgpu-1g"}) {
		t.Errorf("unknown: %q", unknown)
	}
	if len(asked) != 2 || asked[0].URL.Path != "/v1/services/6F81-5844-456A/skus" || asked[1].URL.Query().Get("pageToken") != "more" {
		t.Errorf("asked for %v", asked)
	}
}

func TestRefused(t *testing.T) {
	end := fixture(t, "page2.json")
	for _, tt := range []struct{ name, body, want string }{
		{"no JSON", "<html>", "invalid character"},
		{"another answer", `{}`, "no list of SKUs"},
		{"another currency", strings.ReplaceAll(end, `"USD"`, `"EUR"`), "no price in USD"},
		{"free", strings.Replace(end, `21811590`, `0`, 1), "no price in USD"},
		{"negative", strings.Replace(end, `21811590`, `-5`, 1), "no price in USD"},
		{"another unit", strings.Replace(end, `"usageUnit": "h"`, `"usageUnit": "mo"`, 1), "not priced by h alone"},
		{"a page that never ends", strings.Replace(end, `"nextPageToken": ""`, `"nextPageToken": "x"`, 1), "418"},
	} {
		var asked []*http.Request
		_, _, err := client(t, &asked, tt.body).Prices(t.Context(), "us-central1", machines[:2])
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error about %q", tt.name, err, tt.want)
		}
	}
	// A core that has two prices from the same moment on.
	var asked []*http.Request
	c := client(t, &asked, fixture(t, "page1.json"), strings.Replace(end, "2027-01-01", "2026-11-01", 1))
	if _, _, err := c.Prices(t.Context(), "us-central1", machines[:1]); err == nil || !strings.Contains(err.Error(), "two for a part of n2-standard-4") {
		t.Errorf("two prices: %v", err)
	}
	c.key = "wrong"
	if _, _, err := c.Prices(t.Context(), "us-central1", machines); err == nil || !strings.Contains(err.Error(), "PERMISSION_DENIED") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with another key: %v", err)
	}
	t.Setenv("EVENKEEL_GCP_API_KEY", "")
	if _, err := New(); err == nil {
		t.Error("no error without a key")
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"page1.json", "page2.json"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q := question{region: "us-central1", at: now, found: make(map[part]rate)}
		if _, err := q.decode(data); err != nil {
			return
		}
		table, _, err := q.table(machines)
		if err != nil {
			return
		}
		for _, m := range machines {
			for _, capacity := range []price.Capacity{price.OnDemand, price.Spot} {
				if quote, ok := table.Lookup(m.Type, "us-central1", "", capacity); ok && (quote.PerHour <= 0 || quote.PerHour > 10_000*price.Dollar) {
					t.Errorf("%s %s: %s", m.Type, capacity, quote.PerHour)
				}
			}
		}
	})
}
