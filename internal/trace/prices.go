package trace

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/rows"
)

// A PriceHistory is what one instance type cost in one place over time, in
// price.Micros an hour. Zone is empty where prices hold for a region, OnDemand is
// empty where the source has spot prices only.
type PriceHistory struct {
	Region, Zone, InstanceType string
	Spot, OnDemand             Series
}

// Prices are the histories of one source on one time axis.
type Prices struct {
	Name      string
	Start     time.Time // what zero is
	Span      time.Duration
	Histories []PriceHistory // by region, zone, type
}

// Changes returns how often a day a series changes, and the median size of a
// change relative to the price.
func Changes(s Series, span time.Duration) (perDay, medianStep float64) {
	if len(s) < 2 || span <= 0 {
		return 0, 0
	}
	var steps []float64
	for i := 1; i < len(s); i++ {
		if s[i-1].Value != 0 {
			steps = append(steps, math.Abs(float64(s[i].Value)/float64(s[i-1].Value)-1))
		}
	}
	slices.Sort(steps)
	return float64(len(steps)) / (span.Hours() / 24), steps[len(steps)/2]
}

// ReadPriceEvents reads change events: date,machine_type,region,on_demand_usd_h,
// spot_usd_h with a row at the first sight of a machine type in a region and at
// each change, dates ascending. It is the form of the published GCP prices.
func ReadPriceEvents(r io.Reader, name string) (*Prices, error) {
	c := newCollector(name)
	columns := []string{"date", "machine_type", "region", "on_demand_usd_h", "spot_usd_h"}
	err := rows.File{Name: name, Columns: columns, Exact: true}.Each(r, func(f []string) error {
		date, err := time.Parse(time.DateOnly, f[0])
		if err != nil {
			return fmt.Errorf("%q is not a date such as 2026-07-20", f[0])
		}
		onDemand, err := perHour(f[3])
		if err != nil {
			return err
		}
		spot, err := perHour(f[4])
		if err != nil {
			return err
		}
		if f[1] == "" || f[2] == "" {
			return errors.New("no machine type or region")
		}
		k := priceKey{region: f[2], instanceType: f[1]}
		return c.add(k, observation{date, spot, onDemand}, false)
	})
	if err != nil {
		return nil, err
	}
	return c.prices()
}

func perHour(s string) (price.Micros, error) {
	m, err := price.ParseUSD(s)
	if err == nil && (m == 0 || m > 10_000*price.Dollar) {
		err = fmt.Errorf("%q is not a price of a machine-hour", s)
	}
	return m, err
}

// ReadSpotHistory reads what `aws ec2 describe-spot-price-history` prints: JSON
// documents, one or several after each other, whose SpotPriceHistory lists what
// was paid from a time on. Only Linux prices are taken. The order does not matter
// (AWS gives the latest first), but two prices of a pool at one moment are an
// error.
//
// The input is read a price at a time. Errors name the line.
func ReadSpotHistory(r io.Reader, name string) (*Prices, error) {
	lines := &lineReader{r: r}
	decoder := json.NewDecoder(lines)
	c := newCollector(name)
	fail := func(err error) error {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s:%d: %w", name, lines.lineOf(decoder.InputOffset()), err)
	}
	for {
		lines.element(decoder.InputOffset())
		switch err := expect(decoder, json.Delim('{')); {
		case errors.Is(err, io.EOF):
			return c.prices()
		case err != nil:
			return nil, fail(err)
		}
		for decoder.More() {
			field, err := decoder.Token()
			if err != nil {
				return nil, fail(err)
			}
			if field != "SpotPriceHistory" { // NextToken and what may come
				var ignored json.RawMessage
				if err := decoder.Decode(&ignored); err != nil {
					return nil, fail(err)
				}
				continue
			}
			if err := expect(decoder, json.Delim('[')); err != nil {
				return nil, fail(err)
			}
			for decoder.More() {
				lines.element(decoder.InputOffset())
				var p spotPrice
				if err := decoder.Decode(&p); err != nil {
					return nil, fail(err)
				}
				if err := c.spot(p); err != nil {
					return nil, fail(err)
				}
			}
			if err := expect(decoder, json.Delim(']')); err != nil {
				return nil, fail(err)
			}
		}
		if err := expect(decoder, json.Delim('}')); err != nil {
			return nil, fail(err)
		}
	}
}

type spotPrice struct {
	AvailabilityZone, InstanceType, ProductDescription, SpotPrice string
	Timestamp                                                     time.Time
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err == nil && got != want {
		err = fmt.Errorf("%v where %v belongs", got, want)
	}
	return err
}

// maxElement bounds the JSON of one price: a decoder keeps one in memory.
const maxElement = 1 << 20

// lineReader counts lines, so that errors can name one, and refuses an element
// that does not end. It keeps the places of line ends only as far as the decoder
// reads ahead.
type lineReader struct {
	r      io.Reader
	offset int64
	since  int64   // bytes since the last element
	line   int     // lines that end before breaks
	breaks []int64 // offsets of later line ends
}

func (l *lineReader) Read(p []byte) (int, error) {
	if l.since > maxElement {
		return 0, fmt.Errorf("an element is larger than %d bytes", maxElement)
	}
	n, err := l.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			l.breaks = append(l.breaks, l.offset+int64(i))
		}
	}
	l.offset += int64(n)
	l.since += int64(n)
	if len(l.breaks) > maxElement { // blank lines without end
		return n, errors.New("too many empty lines")
	}
	return n, err
}

// element notes that a new element begins at an offset.
func (l *lineReader) element(offset int64) {
	l.since = 0
	l.lineOf(offset)
}

// lineOf returns the line of an offset, which never falls from call to call.
func (l *lineReader) lineOf(offset int64) int {
	n := 0
	for n < len(l.breaks) && l.breaks[n] < offset {
		n++
	}
	l.line += n
	l.breaks = append(l.breaks[:0], l.breaks[n:]...)
	return l.line + 1
}

// collector gathers prices of one file.
type collector struct {
	name  string
	pools map[priceKey][]observation
	n     int
}

type priceKey struct{ region, zone, instanceType string }

type observation struct {
	at             time.Time
	spot, onDemand price.Micros // zero if not known
}

// maxObservations bounds what is kept of one file.
const maxObservations = rows.MaxRows

func newCollector(name string) *collector {
	return &collector{name: name, pools: make(map[priceKey][]observation)}
}

func (c *collector) spot(p spotPrice) error {
	if p.ProductDescription != "" && !strings.HasPrefix(p.ProductDescription, "Linux/UNIX") {
		return nil
	}
	if p.AvailabilityZone == "" || p.InstanceType == "" {
		return errors.New("a price without AvailabilityZone or InstanceType")
	}
	spot, err := perHour(p.SpotPrice)
	if err != nil {
		return err
	}
	k := priceKey{price.RegionOf(p.AvailabilityZone), p.AvailabilityZone, p.InstanceType}
	return c.add(k, observation{at: p.Timestamp, spot: spot}, true)
}

// add takes in a price. Without anyOrder it must be later than the one before.
func (c *collector) add(k priceKey, o observation, anyOrder bool) error {
	if o.at.Year() < 2006 || o.at.Year() > 2100 {
		return fmt.Errorf("%s is not a time at which there were spot prices", o.at.Format(time.RFC3339))
	}
	if c.n == maxObservations {
		return fmt.Errorf("more than %d prices", maxObservations)
	}
	known, ok := c.pools[k]
	if !ok && len(c.pools) == maxPools*10 {
		return fmt.Errorf("more than %d pools", maxPools*10)
	}
	if n := len(known); n > 0 && !anyOrder && !o.at.After(known[n-1].at) {
		return fmt.Errorf("%s of %s is not after its previous date, %s", o.at.Format(time.DateOnly), k.instanceType, known[n-1].at.Format(time.DateOnly))
	}
	c.pools[k] = append(known, o)
	c.n++
	return nil
}

func (c *collector) prices() (*Prices, error) {
	if c.n == 0 {
		return nil, fmt.Errorf("%s: no prices", c.name)
	}
	out := &Prices{Name: c.name}
	var end time.Time
	for _, all := range c.pools {
		slices.SortFunc(all, func(a, b observation) int { return a.at.Compare(b.at) })
		if first := all[0].at; out.Start.IsZero() || first.Before(out.Start) {
			out.Start = first
		}
		if last := all[len(all)-1].at; last.After(end) {
			end = last
		}
	}
	out.Span = end.Sub(out.Start)
	for _, k := range slices.Collect(maps.Keys(c.pools)) {
		h := PriceHistory{Region: k.region, Zone: k.zone, InstanceType: k.instanceType}
		for i, o := range c.pools[k] {
			if i > 0 && o.at.Equal(c.pools[k][i-1].at) && o.spot != c.pools[k][i-1].spot {
				return nil, fmt.Errorf("%s: %s in %s%s has two prices at %s: %s and %s", c.name, k.instanceType, k.region, k.zone,
					o.at.Format(time.RFC3339), c.pools[k][i-1].spot, o.spot)
			}
			at := o.at.Sub(out.Start)
			h.Spot = h.Spot.set(at, int64(o.spot))
			if o.onDemand > 0 {
				h.OnDemand = h.OnDemand.set(at, int64(o.onDemand))
			}
		}
		out.Histories = append(out.Histories, h)
	}
	slices.SortFunc(out.Histories, func(a, b PriceHistory) int {
		return cmp.Or(strings.Compare(a.Region, b.Region), strings.Compare(a.Zone, b.Zone), strings.Compare(a.InstanceType, b.InstanceType))
	})
	return out, nil
}

// Table returns the last prices of each history, as of a source.
func (p *Prices) Table(source string) *price.Table {
	t := new(price.Table)
	for _, h := range p.Histories {
		add := func(s Series, c price.Capacity) {
			if n := len(s); n > 0 {
				t.Add(h.InstanceType, h.Region, h.Zone, c, price.Quote{PerHour: price.Micros(s[n-1].Value), Date: p.Start.Add(p.Span), Source: source})
			}
		}
		add(h.Spot, price.Spot)
		add(h.OnDemand, price.OnDemand)
	}
	return t
}

// SetPrices gives the market's pools the spot prices of these histories, of the
// zone or of the region, from the market's zero on, which is taken for the
// histories' own if either has no clock. It returns how many pools got one.
func (p *Prices) SetPrices(m *Market) int {
	offset := time.Duration(0)
	if !m.Start.IsZero() && !p.Start.IsZero() {
		offset = m.Start.Sub(p.Start)
	}
	n := 0
	for i := range m.Pools {
		o := &m.Pools[i]
		var best *PriceHistory
		for j := range p.Histories {
			h := &p.Histories[j]
			if h.InstanceType == o.InstanceType && h.Region == o.Region && (h.Zone == o.Zone || h.Zone == "" && best == nil) {
				best = h
			}
		}
		if best == nil {
			continue
		}
		s := best.Spot.Window(offset, offset+m.Span)
		if len(s) > 0 && s[0].At > 0 { // the history begins later: its first price holds before, too
			s[0].At = 0
		}
		if len(s) > 0 {
			o.Spot = s
			n++
		}
	}
	return n
}

// A Ratio is a spot price relative to on-demand, of a source whose currency is
// not known.
type Ratio struct {
	Region, Zone, InstanceType string
	SpotToOnDemand             float64
}

// ReadRatios reads a snapshot of prices for their ratios only: columns region,
// zone, instance_type, on_demand_h, spot_h. It is the form of the published
// Alibaba prices, whose currency the source does not state. Rows whose on-demand
// price is 0, as of types that are no longer sold so, are left out.
func ReadRatios(r io.Reader, name string) ([]Ratio, error) {
	var out []Ratio
	columns := []string{"region", "zone", "instance_type", "on_demand_h", "spot_h"}
	err := rows.File{Name: name, Columns: columns, MaxRows: 1 << 20}.Each(r, func(f []string) error {
		onDemand, err := price.ParseUSD(f[3]) // an amount, of whatever
		if err != nil {
			return fmt.Errorf("on-demand price %q is not a price", f[3])
		}
		spot, err := price.ParseUSD(f[4])
		if err != nil || spot == 0 {
			return fmt.Errorf("spot price %q is not a price", f[4])
		}
		if f[0] == "" || f[1] == "" || f[2] == "" {
			return errors.New("no region, zone or instance type")
		}
		if onDemand == 0 {
			return nil // not sold on demand: there is no ratio
		}
		out = append(out, Ratio{f[0], f[1], f[2], float64(spot) / float64(onDemand)})
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s: no prices", name)
	}
	return out, err
}
