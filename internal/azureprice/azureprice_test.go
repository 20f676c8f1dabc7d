package azureprice

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// The pages in testdata are written by hand after the API's documentation
// (learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices); the
// prices in them are made up.
func fixture(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var now = time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC)

// client speaks to a stand-in that answers with these bodies, one after the other.
func client(t *testing.T, asked *[]*http.Request, bodies ...string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r)
		if len(*asked) > len(bodies) {
			http.Error(w, "one request too many", http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(bodies[len(*asked)-1]))
	}))
	t.Cleanup(s.Close)
	t.Setenv("EVENKEEL_AZURE_PRICES_URL", s.URL+"/api/retail/prices")
	c := New()
	c.now = func() time.Time { return now }
	return c
}

func TestPrices(t *testing.T) {
	var asked []*http.Request
	c := client(t, &asked, fixture(t, "page1.json"), fixture(t, "page2.json"))
	table, err := c.Prices(t.Context(), "westeurope", []string{"Standard_D4s_v5", "Standard_None"})
	if err != nil {
		t.Fatal(err)
	}
	for capacity, want := range map[price.Capacity]price.Micros{price.OnDemand: 230_000, price.Spot: 61_200} {
		q, ok := table.Lookup("Standard_D4s_v5", "westeurope", "", capacity)
		if !ok || q.PerHour != want || !q.Date.Equal(now) || q.Source != Source {
			t.Errorf("%s: %+v, want %s", capacity, q, want)
		}
	}
	// The zone of an AKS node takes its region's price.
	if q, ok := table.Spot("Standard_D4s_v5", "westeurope", "westeurope-1"); !ok || q.PerHour != 61_200 {
		t.Errorf("in a zone: %+v", q)
	}
	if _, ok := table.OnDemand("Standard_None", "westeurope"); ok {
		t.Error("a size that Azure does not list has a price")
	}
	if _, ok := table.OnDemand("Standard_D4s_v5", "eastus"); ok {
		t.Error("a price of a region that was not asked for")
	}
	if len(asked) != 2 {
		t.Fatalf("%d requests, want 2", len(asked))
	}
	const filter = "serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armRegionName eq 'westeurope' and (armSkuName eq 'Standard_D4s_v5' or armSkuName eq 'Standard_None')"
	if q := asked[0].URL.Query(); q.Get("$filter") != filter || q.Get("api-version") != version {
		t.Errorf("asked for %q", asked[0].URL.RawQuery)
	}
	if asked[1].URL.Path != "/api/retail/prices" || asked[1].URL.Query().Get("$skip") != "4" {
		t.Errorf("asked for the second page with %s", asked[1].URL)
	}
}

func TestRefused(t *testing.T) {
	first := fixture(t, "page1.json")
	end := strings.Replace(first, `"NextPageLink": "https`, `"Ignored": "https`, 1)
	for _, tt := range []struct{ name, body, want string }{
		{"no JSON", "<html>", "invalid character"},
		{"another answer", `{"Error":{"Code":"BadRequest"}}`, "no list of prices"},
		{"another currency", strings.ReplaceAll(end, `"currencyCode": "USD"`, `"currencyCode": "EUR"`), `"EUR", not in USD`},
		{"free", strings.Replace(end, `"retailPrice": 0.23,`, `"retailPrice": 0,`, 1), "no price of an hour"},
		{"negative", strings.Replace(end, `"retailPrice": 0.23,`, `"retailPrice": -1,`, 1), "no price of an hour"},
		{"two prices", strings.Replace(end, "Series Windows", "Series", 1), "two for Standard_D4s_v5 on-demand in westeurope, 0.2300 and 0.4140"},
		{"a page that never ends", strings.Replace(first, `$skip=4`, `"+"`, 1), "invalid character"},
		{"a link to nowhere", strings.Replace(first, `https://prices.azure.com:443/api/retail/prices?`, `https://elsewhere.example/x#`, 1), "the next page is"},
	} {
		var asked []*http.Request
		c := client(t, &asked, tt.body)
		if _, err := c.Prices(t.Context(), "westeurope", []string{"Standard_D4s_v5"}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error about %q", tt.name, err, tt.want)
		}
	}
	var asked []*http.Request
	if _, err := client(t, &asked).Prices(t.Context(), "westeurope", []string{"x"}); err == nil || !strings.Contains(err.Error(), "418") {
		t.Errorf("a refusal: %v", err)
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
		q := question{region: "westeurope", sizes: []string{"Standard_D4s_v5"}, at: now}
		if _, err := q.decode(data); err != nil {
			return
		}
		table, err := q.table()
		if err != nil {
			return
		}
		for _, capacity := range []price.Capacity{price.OnDemand, price.Spot} {
			if quote, ok := table.Lookup("Standard_D4s_v5", "westeurope", "", capacity); ok && (quote.PerHour <= 0 || quote.PerHour > 10_000*price.Dollar) {
				t.Errorf("%s: %s", capacity, quote.PerHour)
			}
		}
	})
}
