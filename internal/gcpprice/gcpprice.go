// Package gcpprice asks Google Cloud what machines cost: the Cloud Billing Catalog
// API. Its list has prices of cores and of memory by machine family and region; a
// predefined machine costs the sum of its parts, on demand and on spot. Spot prices do
// not differ by zone.
package gcpprice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/download"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// Source is what reports call the source of the quotes.
const Source = "Google Cloud Billing Catalog API"

const (
	endpoint = "https://cloudbilling.googleapis.com"
	// computeEngine is the service's identifier in the catalog.
	computeEngine = "6F81-5844-456A"
	// maxBody bounds one page, of at most 5,000 SKUs, and maxPages the list.
	maxBody  = 64 << 20
	maxPages = 100
)

// families are how the catalog's descriptions begin, by the first part of the names
// of machine types. Families with other parts (shared cores, accelerators, local
// disks) are not known here.
var families = map[string]string{
	"c2d": "C2D AMD Instance", "c3": "C3 Instance", "c3d": "C3D Instance", "c4": "C4 Instance", "c4a": "C4A Arm Instance",
	"e2": "E2 Instance", "n1": "N1 Predefined Instance", "n2": "N2 Instance", "n2d": "N2D AMD Instance", "n4": "N4 Instance",
	"t2a": "T2A Arm Instance", "t2d": "T2D AMD Instance",
}

// Client asks Google. Use New to make one.
type Client struct {
	base, key string
	http      *http.Client
	now       func() time.Time
}

// New returns a client with the API key of $EVENKEEL_GCP_API_KEY, which the catalog
// asks for; it needs no rights. $EVENKEEL_GCP_PRICES_URL, if set, takes the place of
// the API's address.
func New() (*Client, error) {
	c := &Client{base: os.Getenv("EVENKEEL_GCP_PRICES_URL"), key: os.Getenv("EVENKEEL_GCP_API_KEY"), http: &http.Client{Timeout: 60 * time.Second}, now: time.Now}
	if c.base == "" {
		c.base = endpoint
	}
	if c.key == "" {
		return nil, errors.New("asking Google for prices: $EVENKEEL_GCP_API_KEY is not set; the Cloud Billing Catalog API wants an API key")
	}
	return c, nil
}

// Prices returns the prices of machine types in a region, as of now, and the names of
// those whose parts are not known here, in their order.
func (c *Client) Prices(ctx context.Context, region string, machines []price.Instance) (t *price.Table, unknown []string, err error) {
	q := question{region: region, at: c.now().UTC().Truncate(time.Second), found: make(map[part]rate)}
	token := ""
	for page := 0; ; page++ {
		if page == maxPages {
			return nil, nil, fmt.Errorf("asking Google for prices: more than %d pages", maxPages)
		}
		query := url.Values{"pageSize": {"5000"}, "currencyCode": {"USD"}}
		if token != "" {
			query.Set("pageToken", token)
		}
		data, err := c.get(ctx, strings.TrimSuffix(c.base, "/")+"/v1/services/"+computeEngine+"/skus?"+query.Encode())
		if err != nil {
			return nil, nil, fmt.Errorf("asking Google for prices: %w", err)
		}
		next, err := q.decode(data)
		if err != nil {
			return nil, nil, fmt.Errorf("reading Google's prices: %w", err)
		}
		if next == "" {
			break
		}
		if next == token {
			return nil, nil, errors.New("reading Google's prices: the pages do not end")
		}
		token = next
	}
	return q.table(machines)
}

// part is a core or a GiB of memory of a family.
type part struct {
	family string
	memory bool
	spot   bool
}

// rate is what a part costs an hour, in billionths of a dollar, and since when.
type rate struct {
	nanos int64
	since time.Time
	twice bool // another price of the same moment was found
}

type question struct {
	region string
	at     time.Time
	found  map[part]rate
}

// decode takes in one page and returns the token of the next.
func (q *question) decode(data []byte) (next string, err error) {
	var page struct {
		SKUs []struct {
			Description string `json:"description"`
			Category    struct {
				Family string `json:"resourceFamily"`
				Usage  string `json:"usageType"`
			} `json:"category"`
			Regions []string `json:"serviceRegions"`
			Pricing []struct {
				Since      time.Time `json:"effectiveTime"`
				Expression struct {
					Unit  string `json:"usageUnit"`
					Rates []struct {
						Start float64 `json:"startUsageAmount"`
						Price struct {
							Currency string `json:"currencyCode"`
							Units    string `json:"units"`
							Nanos    int64  `json:"nanos"`
						} `json:"unitPrice"`
					} `json:"tieredRates"`
				} `json:"pricingExpression"`
			} `json:"pricingInfo"`
		} `json:"skus"`
		Next string `json:"nextPageToken"`
	}
	if err := json.Unmarshal(data, &page); err != nil {
		return "", err
	}
	if page.SKUs == nil && page.Next == "" {
		return "", errors.New("there is no list of SKUs")
	}
	for _, s := range page.SKUs {
		p, ok := partOf(s.Description)
		if !ok || s.Category.Family != "Compute" || !slices.Contains(s.Regions, q.region) {
			continue
		}
		switch s.Category.Usage {
		case "OnDemand":
		case "Preemptible":
			p.spot = true
		default:
			continue // commitments
		}
		for _, i := range s.Pricing {
			want := "h"
			if p.memory {
				want = "GiBy.h"
			}
			switch {
			case i.Since.After(q.at):
				continue
			case i.Expression.Unit != want || len(i.Expression.Rates) != 1 || i.Expression.Rates[0].Start != 0:
				return "", fmt.Errorf("%q is not priced by %s alone", s.Description, want)
			}
			u := i.Expression.Rates[0].Price
			units, err := strconv.ParseInt(u.Units, 10, 32)
			if u.Units == "" {
				units, err = 0, nil
			}
			// A core costs cents an hour, and memory less.
			if err != nil || u.Currency != "USD" || u.Nanos < 0 || u.Nanos >= 1e9 || units < 0 || units > 1000 || units == 0 && u.Nanos == 0 {
				return "", fmt.Errorf("%q has no price in USD: %s units and %d nanos of %q", s.Description, u.Units, u.Nanos, u.Currency)
			}
			r := rate{nanos: units*1e9 + u.Nanos, since: i.Since}
			old, ok := q.found[p]
			switch {
			case !ok || r.since.After(old.since):
				q.found[p] = r
			case r.since.Equal(old.since) && r.nanos != old.nanos:
				old.twice = true
				q.found[p] = old
			}
		}
	}
	return page.Next, nil
}

// partOf reads a description such as "Spot Preemptible N2 Instance Core running in
// Iowa". What is custom, reserved or for sole tenants is described otherwise.
func partOf(description string) (part, bool) {
	text := strings.TrimPrefix(description, "Spot Preemptible ")
	for name, begin := range families {
		rest, ok := strings.CutPrefix(text, begin+" ")
		if !ok {
			continue
		}
		switch {
		case strings.HasPrefix(rest, "Core running in "):
			return part{family: name}, true
		case strings.HasPrefix(rest, "Ram running in "):
			return part{family: name, memory: true}, true
		}
	}
	return part{}, false
}

// table adds parts up to machines.
func (q *question) table(machines []price.Instance) (*price.Table, []string, error) {
	t := new(price.Table)
	var unknown []string
	for _, m := range machines {
		family, _, _ := strings.Cut(m.Type, "-")
		core, ok := q.found[part{family: family}]
		ram, both := q.found[part{family: family, memory: true}]
		if !ok || !both || m.VCPU <= 0 || m.MemoryMiB <= 0 {
			unknown = append(unknown, m.Type)
			continue
		}
		for _, capacity := range []price.Capacity{price.OnDemand, price.Spot} {
			if capacity == price.Spot {
				core, ok = q.found[part{family: family, spot: true}]
				ram, both = q.found[part{family: family, memory: true, spot: true}]
				if !ok || !both {
					continue // a family that is not sold on spot there
				}
			}
			if core.twice || ram.twice {
				return nil, nil, fmt.Errorf("reading Google's prices: two for a part of %s, %s in %s", m.Type, capacity, q.region)
			}
			// In billionths for as long as possible; memory by the MiB.
			nanos := core.nanos*int64(m.VCPU) + ram.nanos*m.MemoryMiB/1024
			perHour := price.Micros((nanos + 500) / 1000)
			if perHour <= 0 || perHour > 10_000*price.Dollar {
				return nil, nil, fmt.Errorf("reading Google's prices: %s is no price of an hour of %s", perHour, m.Type)
			}
			t.Add(m.Type, q.region, "", capacity, price.Quote{PerHour: perHour, Date: q.at, Source: Source, Note: "cores and memory by list price"})
		}
	}
	return t, unknown, nil
}

func (c *Client) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Goog-Api-Key", c.key) // not in the address, which errors show
	return download.Do(c.http, req, maxBody)
}
