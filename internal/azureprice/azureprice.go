// Package azureprice asks Azure what machines cost: the Retail Prices API, which is
// public and needs no account. It has on-demand and spot prices of Linux machines by
// region; Azure's spot prices do not differ by zone.
package azureprice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/download"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// Source is what reports call the source of the quotes.
const Source = "Azure Retail Prices API"

const (
	endpoint = "https://prices.azure.com/api/retail/prices"
	version  = "2023-01-01-preview"
	// maxBody bounds one page, of at most a thousand prices, and maxPages an answer.
	maxBody  = 16 << 20
	maxPages = 100
	// perRequest is how many sizes one request asks for: the filter is part of the URL.
	perRequest = 20
)

// Client asks Azure. Use New to make one.
type Client struct {
	base string
	http *http.Client
	now  func() time.Time
}

// New returns a client. $EVENKEEL_AZURE_PRICES_URL, if set, takes the place of the
// API's address.
func New() *Client {
	base := os.Getenv("EVENKEEL_AZURE_PRICES_URL")
	if base == "" {
		base = endpoint
	}
	return &Client{base: base, http: &http.Client{Timeout: 30 * time.Second}, now: time.Now}
}

// Prices returns the prices of sizes (Standard_D4s_v5) in a region (westeurope), as
// of now. A size that Azure does not sell there has none.
func (c *Client) Prices(ctx context.Context, region string, sizes []string) (*price.Table, error) {
	q := question{region: region, sizes: sizes, at: c.now().UTC().Truncate(time.Second)}
	base, err := url.Parse(c.base)
	if err != nil {
		return nil, fmt.Errorf("asking Azure for prices: %w", err)
	}
	for part := range slices.Chunk(sizes, perRequest) {
		var any []string
		for _, size := range part {
			any = append(any, "armSkuName eq "+quoted(size))
		}
		next := *base
		next.RawQuery = url.Values{
			"api-version": {version},
			"$filter": {"serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armRegionName eq " + quoted(region) +
				" and (" + strings.Join(any, " or ") + ")"},
		}.Encode()
		for page := 0; ; page++ {
			if page == maxPages {
				return nil, fmt.Errorf("asking Azure for prices: more than %d pages", maxPages)
			}
			data, err := c.get(ctx, next.String())
			if err != nil {
				return nil, fmt.Errorf("asking Azure for prices: %w", err)
			}
			link, err := q.decode(data)
			if err != nil {
				return nil, fmt.Errorf("reading Azure's prices: %w", err)
			}
			if link == "" {
				break
			}
			// The link names the API's own host and port; the path and the query count.
			more, err := url.Parse(link)
			if err != nil || more.RawQuery == "" || more.RawQuery == next.RawQuery {
				return nil, fmt.Errorf("reading Azure's prices: the next page is %q", link)
			}
			next.RawQuery = more.RawQuery
		}
	}
	return q.table()
}

// quoted writes a string for a filter: a quote in it is doubled.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// A question is what is asked for, and the best answers up to now.
type question struct {
	region string
	sizes  []string
	at     time.Time
	found  map[what]answer
}

type what struct {
	size     string
	capacity price.Capacity
}

type answer struct {
	perHour price.Micros
	since   time.Time
	other   price.Micros // a second price from the same moment; 0 if there is none
}

// decode takes in one page and returns the link to the next.
func (q *question) decode(data []byte) (next string, err error) {
	var page struct {
		BillingCurrency string
		Items           []struct {
			Currency   string    `json:"currencyCode"`
			Tier       float64   `json:"tierMinimumUnits"`
			Price      float64   `json:"retailPrice"`
			Region     string    `json:"armRegionName"`
			Since      time.Time `json:"effectiveStartDate"`
			Until      time.Time `json:"effectiveEndDate"`
			Product    string    `json:"productName"`
			SKU        string    `json:"skuName"`
			Service    string    `json:"serviceName"`
			Unit       string    `json:"unitOfMeasure"`
			Type       string    `json:"type"`
			Size       string    `json:"armSkuName"`
			IsPrimary  *bool     `json:"isPrimaryMeterRegion"`
			Reservable string    `json:"reservationTerm"`
		}
		NextPageLink string
	}
	if err := json.Unmarshal(data, &page); err != nil {
		return "", err
	}
	if page.Items == nil {
		return "", errors.New("there is no list of prices")
	}
	for _, i := range page.Items {
		switch {
		case i.Type != "Consumption", i.Service != "Virtual Machines", i.Region != q.region, !slices.Contains(q.sizes, i.Size),
			i.Unit != "1 Hour", i.Tier != 0, i.Reservable != "", i.IsPrimary != nil && !*i.IsPrimary,
			i.Since.After(q.at), !i.Until.IsZero() && !i.Until.After(q.at):
			continue
		// The same size runs Windows and the older cloud services at other prices.
		case strings.Contains(i.Product, "Windows"), strings.Contains(strings.ReplaceAll(i.Product, " ", ""), "CloudServices"),
			strings.Contains(i.Product, "Dedicated Host"), strings.HasSuffix(i.SKU, " Low Priority"):
			continue
		case i.Currency != "USD":
			return "", fmt.Errorf("the price of %s is in %q, not in USD", i.Size, i.Currency)
		case !(i.Price > 0 && i.Price <= 10_000):
			return "", fmt.Errorf("%v is no price of an hour of %s", i.Price, i.Size)
		}
		k := what{i.Size, price.OnDemand}
		if strings.HasSuffix(i.SKU, " Spot") {
			k.capacity = price.Spot
		}
		perHour := price.Micros(math.Round(i.Price * float64(price.Dollar)))
		if perHour == 0 {
			return "", fmt.Errorf("%v is no price of an hour of %s", i.Price, i.Size)
		}
		if q.found == nil {
			q.found = make(map[what]answer)
		}
		old, ok := q.found[k]
		switch {
		case !ok || i.Since.After(old.since):
			q.found[k] = answer{perHour: perHour, since: i.Since}
		case i.Since.Equal(old.since) && perHour != old.perHour:
			old.other = perHour
			q.found[k] = old
		}
	}
	return page.NextPageLink, nil
}

// table is what was found. Two prices of the same thing are an error: one of them is
// of something that is not known here.
func (q *question) table() (*price.Table, error) {
	t := new(price.Table)
	for k, a := range q.found {
		if a.other != 0 {
			return nil, fmt.Errorf("reading Azure's prices: two for %s %s in %s, %s and %s", k.size, k.capacity, q.region, min(a.perHour, a.other), max(a.perHour, a.other))
		}
		t.Add(k.size, q.region, "", k.capacity, price.Quote{PerHour: a.perHour, Date: q.at, Source: Source})
	}
	return t, nil
}

func (c *Client) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return download.Do(c.http, req, maxBody)
}
