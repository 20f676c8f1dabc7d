package market

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// syntheticSource is the source of all that Generate makes: nothing made up may be
// taken for something that was observed.
const syntheticSource = "synthetic, generated from a seed"

// topics are what generated reports are about, one at a time. The words of a topic
// have vectors near to each other, so a search by meaning has something to find.
var topics = [][]string{
	{"oil", "crude", "drilling", "rigs", "wells", "producers", "barrels", "energy"},
	{"gas", "heating", "storage", "pipeline", "utilities", "cold", "furnace", "burners"},
	{"retail", "shoppers", "stores", "apparel", "sales", "malls", "discounts", "holiday"},
	{"housing", "homes", "mortgage", "builders", "permits", "realtors", "rents", "lots"},
	{"banks", "loans", "credit", "lending", "deposits", "borrowers", "lenders", "standards"},
	{"farmers", "crops", "harvest", "drought", "corn", "soybeans", "cattle", "acres"},
	{"wages", "hiring", "layoffs", "workers", "unemployment", "jobs", "labor", "overtime"},
	{"travel", "hotels", "airlines", "tourists", "restaurants", "flights", "visitors", "bookings"},
}

var fillers = []string{"the", "of", "and", "in", "was", "were", "districts", "reported", "contacts", "activity", "demand", "conditions", "moderate", "weaker", "stronger", "prices"}

// Generate makes a sample that has the shape of the real one and none of its
// facts. The same seed makes the same sample.
func Generate(seed uint64) *Sample {
	s := &Sample{Synthetic: true}
	for i, d := range []struct {
		symbol, name, unit string
		first              int // year
		start, volatility  float64
	}{
		{"WTI", "crude oil", "USD/barrel", 1986, 25, 0.024},
		{"BRENT", "crude oil, another", "USD/barrel", 1987, 18, 0.023},
		{"HENRYHUB", "natural gas", "USD/MMBtu", 1997, 3.8, 0.04},
	} {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		s.Series = append(s.Series, Series{
			Symbol: Symbol(d.symbol), Name: d.name, Unit: d.unit, Source: syntheticSource,
			Points: walk(random, time.Date(d.first, 1, 2, 0, 0, 0, 0, time.UTC), d.start, d.volatility),
		})
	}
	random := rand.New(rand.NewPCG(seed, 100))
	for m := time.Date(1986, 1, 1, 0, 0, 0, 0, time.UTC); m.Year() < 2021; m = m.AddDate(0, 1, 0) {
		s.Reports = append(s.Reports, Report{"generated-" + m.Format("2006-01"), m, essay(random), syntheticSource})
	}
	for i, company := range []string{"Northern Drilling Corp", "Prairie Farms Inc", "Harbor Bank Holdings", "Skyway Airlines Ltd", "Cedar Homes Trust"} {
		s.Filings = append(s.Filings, Filing{
			Date: time.Date(2020, 3, 18, 0, 0, 0, 0, time.UTC), Form: []string{"8-K", "10-K"}[i%2], CIK: fmt.Sprint(1000 + i),
			Company: company, Path: fmt.Sprintf("generated/%d.txt", i), Source: syntheticSource,
		})
	}
	s.Vectors = generateVectors(seed)
	return s
}

// walk generates prices of all weekdays until August 2026: returns whose
// volatility comes in clusters, with a jump now and then, pulled to where they began.
func walk(random *rand.Rand, day time.Time, start, volatility float64) []Point {
	var points []Point
	level, v := math.Log(start), volatility
	for end := time.Date(2026, 8, 18, 0, 0, 0, 0, time.UTC); !day.After(end); day = day.AddDate(0, 0, 1) {
		if day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
			continue
		}
		r := v * random.NormFloat64()
		if random.IntN(400) == 0 {
			r += 6 * volatility * random.NormFloat64()
		}
		v = math.Sqrt(0.05*volatility*volatility + 0.87*v*v + 0.08*r*r)
		level += r + 0.001*(math.Log(start)+0.7-level)
		points = append(points, Point{day, math.Round(math.Exp(level)*100) / 100})
	}
	return points
}

func essay(random *rand.Rand) string {
	var b strings.Builder
	for range 12 {
		topic := topics[random.IntN(len(topics))]
		for i := range 14 {
			word := fillers[random.IntN(len(fillers))]
			if i%3 == 0 {
				word = topic[random.IntN(len(topic))]
			}
			if i == 0 {
				word = strings.ToUpper(word[:1]) + word[1:]
			} else {
				b.WriteByte(' ')
			}
			b.WriteString(word)
		}
		b.WriteString(". ")
	}
	return strings.TrimSpace(b.String())
}

func generateVectors(seed uint64) Vectors {
	const dim = 100
	v := Vectors{Source: syntheticSource, Dim: dim}
	random := rand.New(rand.NewPCG(seed, 200))
	add := func(word string, centre []float32) {
		v.Words = append(v.Words, word)
		for i := range dim {
			x := float32(random.NormFloat64()) * 0.3
			if centre != nil {
				x += centre[i]
			}
			v.Values = append(v.Values, x)
		}
	}
	for _, word := range fillers {
		add(word, nil)
	}
	for _, topic := range topics {
		centre := make([]float32, dim)
		for i := range centre {
			centre[i] = float32(random.NormFloat64()) * 0.5
		}
		for _, word := range topic {
			add(word, centre)
		}
	}
	return v
}
