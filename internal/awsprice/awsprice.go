// Package awsprice asks AWS what machines cost: the Pricing API for on-demand
// prices, EC2 for spot prices, and the Spot Instance Advisor's public feed for
// savings and interruption bands.
//
// It signs the three requests itself instead of using EC2's SDK client: that
// client takes minutes to compile and tens of megabytes, for one call.
package awsprice

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/evenkeel-dev/evenkeel/internal/download"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// The sources of quotes, as reports name them.
const (
	SourceOnDemand = "AWS Pricing API"
	SourceSpot     = "AWS DescribeSpotPriceHistory"
	SourceAdvisor  = "AWS Spot Instance Advisor"
)

// advisorURL is where AWS publishes what its Spot Instance Advisor shows.
const advisorURL = "https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json"

// maxBody bounds one response. The advisor's feed, the largest, has 3 MB.
const maxBody = 64 << 20

// Client asks AWS. Use New to make one.
type Client struct {
	config aws.Config
	http   *http.Client
	signer *v4.Signer
	now    func() time.Time
}

// New returns a client with the credentials of the environment.
func New(ctx context.Context) (*Client, error) {
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	return &Client{config: c, http: &http.Client{Timeout: 30 * time.Second}, signer: v4.NewSigner(), now: time.Now}, nil
}

// Prices returns the prices of instance types in a region, as of now.
func (c *Client) Prices(ctx context.Context, region string, types []string) (*price.Table, error) {
	q := question{region: region, types: types, at: c.now().UTC().Truncate(time.Second), table: new(price.Table)}
	for _, ask := range []func(context.Context, question) error{c.onDemand, c.spot, c.advisor} {
		if err := ask(ctx, q); err != nil {
			return nil, err
		}
	}
	return q.table, nil
}

// A question is what is asked for, and where answers go. All of them are as of one
// moment, so that none is later than another.
type question struct {
	region string
	types  []string
	at     time.Time
	table  *price.Table
}

// onDemand asks the Pricing API, which is served from us-east-1 for all regions.
func (c *Client) onDemand(ctx context.Context, q question) error {
	for _, instanceType := range q.types {
		filter := func(field, value string) map[string]string {
			return map[string]string{"Type": "TERM_MATCH", "Field": field, "Value": value}
		}
		body, err := json.Marshal(map[string]any{
			"ServiceCode": "AmazonEC2", "FormatVersion": "aws_v1", "MaxResults": 100,
			"Filters": []map[string]string{
				filter("instanceType", instanceType), filter("regionCode", q.region), filter("operatingSystem", "Linux"),
				filter("tenancy", "Shared"), filter("preInstalledSw", "NA"), filter("capacitystatus", "Used"),
			},
		})
		if err != nil {
			return err
		}
		answer, err := c.post(ctx, "pricing", "us-east-1", "https://api.pricing.us-east-1.amazonaws.com/", body, http.Header{
			"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"AWSPriceListService.GetProducts"},
		})
		if err != nil {
			return fmt.Errorf("asking for the on-demand price of %s: %w", instanceType, err)
		}
		perHour, ok, err := decodeProducts(answer)
		if err != nil {
			return fmt.Errorf("reading the on-demand price of %s: %w", instanceType, err)
		}
		if ok {
			q.table.Add(instanceType, q.region, "", price.OnDemand, price.Quote{PerHour: perHour, Date: q.at, Source: SourceOnDemand})
		}
	}
	return nil
}

// decodeProducts returns the hourly price in GetProducts' answer; not ok if it
// lists none.
func decodeProducts(answer []byte) (perHour price.Micros, ok bool, err error) {
	var list struct{ PriceList []string }
	if err := json.Unmarshal(answer, &list); err != nil {
		return 0, false, err
	}
	for _, text := range list.PriceList {
		var product struct {
			Terms struct {
				OnDemand map[string]struct {
					PriceDimensions map[string]struct {
						Unit         string            `json:"unit"`
						PricePerUnit map[string]string `json:"pricePerUnit"`
					} `json:"priceDimensions"`
				}
			} `json:"terms"`
		}
		if err := json.Unmarshal([]byte(text), &product); err != nil {
			return 0, false, err
		}
		for _, term := range product.Terms.OnDemand {
			for _, d := range term.PriceDimensions {
				if d.Unit != "Hrs" || d.PricePerUnit["USD"] == "" {
					continue
				}
				m, err := price.ParseUSD(d.PricePerUnit["USD"])
				switch {
				case err != nil:
					return 0, false, err
				case m > 0 && ok && m != perHour:
					return 0, false, fmt.Errorf("two prices, %s and %s", perHour, m)
				case m > 0: // reserved capacity is listed at 0
					perHour, ok = m, true
				}
			}
		}
	}
	return perHour, ok, nil
}

// spot asks EC2 for what is paid now: with a start of now, the history has one
// price a zone.
func (c *Client) spot(ctx context.Context, q question) error {
	form := url.Values{
		"Action": {"DescribeSpotPriceHistory"}, "Version": {"2016-11-15"},
		"StartTime": {q.at.Format(time.RFC3339)}, "ProductDescription.1": {"Linux/UNIX"},
	}
	for i, instanceType := range q.types {
		form.Set("InstanceType."+strconv.Itoa(i+1), instanceType)
	}
	for page := 0; ; page++ {
		answer, err := c.post(ctx, "ec2", q.region, "https://ec2."+q.region+".amazonaws.com/", []byte(form.Encode()), http.Header{
			"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"},
		})
		if err != nil {
			return fmt.Errorf("asking for spot prices: %w", err)
		}
		next, err := decodeSpot(answer, q)
		if err != nil {
			return fmt.Errorf("reading spot prices: %w", err)
		}
		if next == "" {
			return nil
		}
		if page == 100 {
			return errors.New("asking for spot prices: more than 100 pages")
		}
		form.Set("NextToken", next)
	}
}

// decodeSpot puts the prices of one page into the table. They hold now, whenever
// they last changed.
func decodeSpot(answer []byte, q question) (next string, err error) {
	var page struct {
		Items []struct {
			InstanceType     string    `xml:"instanceType"`
			AvailabilityZone string    `xml:"availabilityZone"`
			SpotPrice        string    `xml:"spotPrice"`
			Timestamp        time.Time `xml:"timestamp"`
		} `xml:"spotPriceHistorySet>item"`
		NextToken string `xml:"nextToken"`
	}
	if err := xml.Unmarshal(answer, &page); err != nil {
		return "", err
	}
	type pool struct{ instanceType, zone string }
	latest := make(map[pool]time.Time)
	for _, i := range page.Items {
		perHour, err := price.ParseUSD(i.SpotPrice)
		if err != nil || perHour == 0 || i.InstanceType == "" || price.RegionOf(i.AvailabilityZone) != q.region {
			return "", fmt.Errorf("%q is no price of %q in %q", i.SpotPrice, i.InstanceType, i.AvailabilityZone)
		}
		k := pool{i.InstanceType, i.AvailabilityZone}
		if i.Timestamp.Before(latest[k]) {
			continue
		}
		latest[k] = i.Timestamp
		q.table.Add(i.InstanceType, q.region, i.AvailabilityZone, price.Spot, price.Quote{PerHour: perHour, Date: q.at, Source: SourceSpot})
	}
	return page.NextToken, nil
}

func (c *Client) advisor(ctx context.Context, q question) error {
	at := advisorURL
	if c.config.BaseEndpoint != nil {
		at = strings.TrimSuffix(*c.config.BaseEndpoint, "/") + "/spot-advisor-data.json"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	data, err := download.Do(c.http, req, maxBody)
	if err != nil {
		return fmt.Errorf("asking the spot advisor: %w", err)
	}
	return price.ReadAdvisorFeed(bytes.NewReader(data), q.region, q.types, q.at, SourceAdvisor, q.table)
}

// post signs and sends a request. A BaseEndpoint, as AWS_ENDPOINT_URL gives it,
// goes before the service's own.
func (c *Client) post(ctx context.Context, service, region, endpoint string, body []byte, header http.Header) ([]byte, error) {
	if c.config.BaseEndpoint != nil {
		endpoint = *c.config.BaseEndpoint
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	credentials, err := c.config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding AWS credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), service, region, c.now()); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return download.Do(c.http, req, maxBody)
}
