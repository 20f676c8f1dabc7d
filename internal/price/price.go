// Package price knows what machines cost and what they hold: the on-demand and
// the spot price of an instance type, each with its date and its source, and how
// much of the machine Kubernetes can give to pods.
//
// A Table is plain data. The package carries a small one, so that everything
// works without a network; bigger ones are read from files. Asking a cloud is
// the business of adapters, which fill a Table too. A price never comes without
// saying how old it is and where it is from.
package price

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Capacity is how a machine is bought. Its values are those of platform.yaml.
type Capacity string

// The ways to buy a machine.
const (
	Spot     Capacity = "spot"
	OnDemand Capacity = "on-demand"
)

// A Quote is a price with what is needed to judge it.
type Quote struct {
	PerHour Micros
	Date    time.Time // the day the price was true, UTC
	Source  string    // who published it
	Note    string    // how it was derived; empty if it was published as it is
}

// Age returns how old the quote is.
func (q Quote) Age(now time.Time) time.Duration { return now.Sub(q.Date) }

// A Band is the class of AWS's Spot Instance Advisor for how many instances were
// reclaimed in the trailing month.
type Band int

// The bands.
const (
	Under5 Band = iota
	Under10
	Under15
	Under20
	Over20
)

// bands says for each what it is called and which share of instances a month
// stands for it: the middle of the band, and for the open one 27 %, so that the
// hazards span 0.08 to 1.05 % a node-day.
var bands = [...]struct {
	text   string
	hazard float64 // reclaims a node-day: -ln(1-share)/30
}{
	{"<5%", 0.000844},
	{"5-10%", 0.002599},
	{"10-15%", 0.004451},
	{"15-20%", 0.006412},
	{">20%", 0.010490},
}

// Valid reports whether the band is one of the five.
func (b Band) Valid() bool { return b >= Under5 && b <= Over20 }

func (b Band) String() string {
	if !b.Valid() {
		return fmt.Sprintf("band %d", int(b))
	}
	return bands[b].text
}

// Hazard returns the rate of reclaims of a node of the band, a day. An invalid
// band counts as the worst.
func (b Band) Hazard() float64 {
	if !b.Valid() {
		b = Over20
	}
	return bands[b].hazard
}

// Advice is what AWS's advisor says of an instance type in a region: the saving
// against on-demand, mean of thirty days and all zones, and the Band.
type Advice struct {
	SavingPercent int
	Band          Band
	Date          time.Time
	Source        string
}

// place names what a price is for. Zone is empty for a price of a whole region.
type place struct {
	instanceType, region, zone string
	capacity                   Capacity
}

// Table holds prices, advice and instance types. The zero value is empty and
// ready to be filled. A Table that is no longer filled may be read by any number
// of goroutines.
type Table struct {
	quotes    map[place]Quote
	advice    map[place]Advice // by type and region
	instances map[string]Instance
}

// Add puts in a price; zone is empty if it holds for the whole region. Of two
// prices for the same thing the later one stays.
func (t *Table) Add(instanceType, region, zone string, c Capacity, q Quote) {
	if t.quotes == nil {
		t.quotes = make(map[place]Quote)
	}
	put(t.quotes, place{instanceType, region, zone, c}, q, q.Date, func(old Quote) time.Time { return old.Date })
}

// AddAdvice puts in what the advisor says. The later advice stays.
func (t *Table) AddAdvice(instanceType, region string, a Advice) {
	if t.advice == nil {
		t.advice = make(map[place]Advice)
	}
	put(t.advice, place{instanceType: instanceType, region: region}, a, a.Date, func(old Advice) time.Time { return old.Date })
}

func put[V any](m map[place]V, key place, v V, date time.Time, dateOf func(V) time.Time) {
	if old, ok := m[key]; ok && dateOf(old).After(date) {
		return
	}
	m[key] = v
}

// AddInstance puts in an instance type.
func (t *Table) AddInstance(i Instance) {
	if t.instances == nil {
		t.instances = make(map[string]Instance)
	}
	t.instances[i.Type] = i
}

// Merge adds everything of another table; the later price stays, and the other's
// instance types replace those of the same name.
func (t *Table) Merge(o *Table) {
	for k, q := range o.quotes {
		t.Add(k.instanceType, k.region, k.zone, k.capacity, q)
	}
	for k, a := range o.advice {
		t.AddAdvice(k.instanceType, k.region, a)
	}
	for _, i := range o.instances {
		t.AddInstance(i)
	}
}

// Lookup returns the price of a machine. Zone may be empty.
//
// On-demand prices hold for a region. A spot price is that of the zone, else
// that of the region, else what the advisor's saving leaves of the on-demand
// price; but a later one of these comes before an earlier one. An empty zone
// takes the mean of the region's zones.
func (t *Table) Lookup(instanceType, region, zone string, c Capacity) (Quote, bool) {
	var best Quote
	found := false
	consider := func(q Quote, ok bool) {
		if ok && (!found || q.Date.After(best.Date)) {
			best, found = q, true
		}
	}
	get := func(zone string) (Quote, bool) {
		q, ok := t.quotes[place{instanceType, region, zone, c}]
		return q, ok
	}
	if zone != "" {
		consider(get(zone))
	}
	consider(get(""))
	if c == Spot {
		if zone == "" {
			consider(t.meanOfZones(instanceType, region))
		}
		consider(t.derived(instanceType, region))
	}
	return best, found
}

// OnDemand returns the on-demand price of a machine.
func (t *Table) OnDemand(instanceType, region string) (Quote, bool) {
	return t.Lookup(instanceType, region, "", OnDemand)
}

// Spot returns the spot price of a machine; zone may be empty.
func (t *Table) Spot(instanceType, region, zone string) (Quote, bool) {
	return t.Lookup(instanceType, region, zone, Spot)
}

// meanOfZones is what a machine costs whose zone is not known yet. It is as old
// as the oldest price in it.
func (t *Table) meanOfZones(instanceType, region string) (Quote, bool) {
	var sum, n Micros
	var oldest Quote
	for k, q := range t.quotes {
		if k.instanceType != instanceType || k.region != region || k.zone == "" || k.capacity != Spot {
			continue
		}
		sum += q.PerHour
		n++
		if n == 1 || q.Date.Before(oldest.Date) || q.Date.Equal(oldest.Date) && q.Source < oldest.Source {
			oldest = q
		}
	}
	if n == 0 {
		return Quote{}, false
	}
	oldest.PerHour = (sum + n/2) / n
	oldest.Note = fmt.Sprintf("mean of %d zones", n)
	return oldest, true
}

// derived is the on-demand price less the advisor's saving.
func (t *Table) derived(instanceType, region string) (Quote, bool) {
	a, ok := t.Advice(instanceType, region)
	if !ok {
		return Quote{}, false
	}
	od, ok := t.OnDemand(instanceType, region)
	if !ok {
		return Quote{}, false
	}
	return Quote{
		PerHour: od.PerHour.Less(a.SavingPercent),
		Date:    a.Date,
		Source:  a.Source,
		Note:    fmt.Sprintf("on-demand of %s less the advisor's %d%%", od.Date.Format(time.DateOnly), a.SavingPercent),
	}, true
}

// Advice returns what the advisor says of a type in a region.
func (t *Table) Advice(instanceType, region string) (Advice, bool) {
	a, ok := t.advice[place{instanceType: instanceType, region: region}]
	return a, ok
}

// Instance returns an instance type.
func (t *Table) Instance(instanceType string) (Instance, bool) {
	i, ok := t.instances[instanceType]
	return i, ok
}

// Instances returns all instance types, by name.
func (t *Table) Instances() []Instance {
	return slices.SortedFunc(maps.Values(t.instances), func(a, b Instance) int { return strings.Compare(a.Type, b.Type) })
}

// Newest returns the date of the newest price or advice; zero if there is none.
func (t *Table) Newest() time.Time {
	var newest time.Time
	for _, q := range t.quotes {
		if q.Date.After(newest) {
			newest = q.Date
		}
	}
	for _, a := range t.advice {
		if a.Date.After(newest) {
			newest = a.Date
		}
	}
	return newest
}

// Regions returns the regions for which the table has a price of a type, sorted.
func (t *Table) Regions(instanceType string) []string {
	seen := make(map[string]bool)
	for k := range t.quotes {
		if k.instanceType == instanceType {
			seen[k.region] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// RegionOf returns the region of a zone: AWS's us-east-1a lies in us-east-1,
// Google's us-central1-a in us-central1. A name that is no zone's is returned as
// it is.
func RegionOf(zone string) string {
	n := len(zone)
	if n < 3 || zone[n-1] < 'a' || zone[n-1] > 'z' {
		return zone
	}
	switch c := zone[n-2]; {
	case c == '-':
		return zone[:n-2]
	case c >= '0' && c <= '9':
		return zone[:n-1]
	}
	return zone
}

// sortedPlaces is for whoever writes a table out: the same order every time.
func sortedPlaces[V any](m map[place]V) []place {
	return slices.SortedFunc(maps.Keys(m), func(a, b place) int {
		return cmp.Or(strings.Compare(a.region, b.region), strings.Compare(a.zone, b.zone),
			strings.Compare(a.instanceType, b.instanceType), strings.Compare(string(a.capacity), string(b.capacity)))
	})
}
