package awsprice

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// fakeAWS answers the three questions on one address, as AWS_ENDPOINT_URL makes
// a client ask.
func fakeAWS(t *testing.T) *httptest.Server {
	product := func(instanceType, usd string) string {
		return fmt.Sprintf(`{"product":{"attributes":{"instanceType":%q}},"terms":{"OnDemand":{"a":{"priceDimensions":{"b":{"unit":"Hrs","pricePerUnit":{"USD":%q}}}}}}}`, instanceType, usd)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /spot-advisor-data.json", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"ranges":[],"spot_advisor":{"us-east-1":{"Linux":{"m5.large":{"s":66,"r":3},"z.large":{"s":1,"r":1}},"Windows":{"m5.large":{"s":1,"r":4}}}}}`)
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
			http.Error(w, "not signed", http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Amz-Target") == "AWSPriceListService.GetProducts" {
			list := []string{}
			if strings.Contains(string(body), `"m5.large"`) {
				list = append(list, product("m5.large", "0.0000000000"), product("m5.large", "0.0960000000"))
			}
			json.NewEncoder(w).Encode(map[string]any{"PriceList": list})
			return
		}
		zone, next := "us-east-1a", "<nextToken>more</nextToken>"
		if strings.Contains(string(body), "NextToken=more") {
			zone, next = "us-east-1b", "<nextToken/>"
		}
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>x</requestId><spotPriceHistorySet>
<item><instanceType>m5.large</instanceType><productDescription>Linux/UNIX</productDescription><spotPrice>0.031000</spotPrice><timestamp>2026-11-01T00:00:00.000Z</timestamp><availabilityZone>%[1]s</availabilityZone></item>
<item><instanceType>m5.large</instanceType><productDescription>Linux/UNIX</productDescription><spotPrice>0.099000</spotPrice><timestamp>2026-10-01T00:00:00.000Z</timestamp><availabilityZone>%[1]s</availabilityZone></item>
</spotPriceHistorySet>%[2]s</DescribeSpotPriceHistoryResponse>`, zone, next)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	t.Setenv("AWS_ENDPOINT_URL", s.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	return s
}

func TestPrices(t *testing.T) {
	server := fakeAWS(t)
	c, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	c.now = func() time.Time { return now }
	table, err := c.Prices(t.Context(), "us-east-1", []string{"m5.large", "u9.huge"})
	if err != nil {
		t.Fatal(err)
	}
	q, ok := table.OnDemand("m5.large", "us-east-1")
	if !ok || q.PerHour != 96_000 || !q.Date.Equal(now) || q.Source != SourceOnDemand {
		t.Errorf("on-demand: %+v", q)
	}
	for _, zone := range []string{"us-east-1a", "us-east-1b", ""} {
		if q, ok := table.Spot("m5.large", "us-east-1", zone); !ok || q.PerHour != 31_000 || q.Source != SourceSpot {
			t.Errorf("spot in %q: %+v", zone, q)
		}
	}
	if a, ok := table.Advice("m5.large", "us-east-1"); !ok || a.SavingPercent != 66 || a.Band != price.Under20 {
		t.Errorf("advice: %+v", a)
	}
	if _, ok := table.OnDemand("u9.huge", "us-east-1"); ok {
		t.Error("a type that AWS does not list has a price")
	}
	if _, ok := table.Advice("z.large", "us-east-1"); ok {
		t.Error("advice that was not asked for")
	}

	server.Close()
	if _, err := c.Prices(t.Context(), "us-east-1", []string{"m5.large"}); err == nil || !strings.Contains(err.Error(), "asking for the on-demand price of m5.large") {
		t.Errorf("without a server: %v", err)
	}
}

func TestRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "AccessDeniedException: not you", http.StatusBadRequest)
	}))
	defer s.Close()
	fakeAWS(t)
	t.Setenv("AWS_ENDPOINT_URL", s.URL)
	c, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prices(t.Context(), "us-east-1", []string{"m5.large"}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("error = %v", err)
	}
}

func FuzzDecodeProducts(f *testing.F) {
	f.Add(`{"PriceList":["{\"terms\":{\"OnDemand\":{\"a\":{\"priceDimensions\":{\"b\":{\"unit\":\"Hrs\",\"pricePerUnit\":{\"USD\":\"0.096\"}}}}}}}"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if m, ok, err := decodeProducts([]byte(text)); err == nil && ok && m <= 0 {
			t.Errorf("price %s", m)
		}
	})
}

func FuzzDecodeSpot(f *testing.F) {
	f.Add(`<R><spotPriceHistorySet><item><instanceType>t</instanceType><spotPrice>1</spotPrice><availabilityZone>us-east-1a</availabilityZone></item></spotPriceHistorySet></R>`)
	f.Fuzz(func(t *testing.T, text string) {
		q := question{region: "us-east-1", at: time.Now(), table: new(price.Table)}
		if _, err := decodeSpot([]byte(text), q); err != nil {
			return
		}
		if err := xml.Unmarshal([]byte(text), new(struct{})); err != nil {
			t.Errorf("accepted what is no XML: %v", err)
		}
		if quote, ok := q.table.Spot("t", "us-east-1", "us-east-1a"); ok && quote.PerHour <= 0 {
			t.Errorf("%+v", quote)
		}
	})
}
