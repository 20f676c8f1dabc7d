package main

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sync"
)

const (
	points    = 2048 // length of a series
	emaPeriod = 20   // points over which the moving average weighs
)

// listed are the symbols whose series are built before the engine is ready. The
// generator defines a series for every other symbol, too.
var listed = [...]string{"WTI", "BRENT", "NATGAS", "GOLD", "EURUSD", "GBPUSD", "USDJPY", "USDCAD", "SPX", "XOM", "CVX", "COP"}

// quote is the end of a series.
type quote struct {
	Symbol string  `json:"symbol"`
	Price  float64 `json:"price"`
	EMA    float64 `json:"ema"`    // exponential moving average over emaPeriod points
	Change float64 `json:"change"` // of the price against the EMA, as a fraction
	Points int     `json:"points"`
	Source string  `json:"source"` // so that nobody takes it for a market price
}

// book holds the series. It is safe for concurrent use.
type book struct {
	seed uint64

	mu     sync.RWMutex
	series map[string]quote
}

func newBook(seed uint64) *book { return &book{seed: seed, series: make(map[string]quote)} }

// add builds the series of a symbol.
func (b *book) add(symbol string) {
	q := b.build(symbol)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.series[symbol] = q
}

// quote returns the end of a symbol's series. One that is not in the book is
// built anew each time: clients choose symbols, so keeping them would let clients
// choose how much memory the engine needs.
func (b *book) quote(symbol string) quote {
	b.mu.RLock()
	q, ok := b.series[symbol]
	b.mu.RUnlock()
	if ok {
		return q
	}
	return b.build(symbol)
}

// build walks a symbol's series: geometric, with 1 % per step, from a start
// between 10 and 200. It depends on the seed and the symbol only.
func (b *book) build(symbol string) quote {
	h := fnv.New64a()
	_, _ = h.Write([]byte(symbol)) // never fails
	random := rand.New(rand.NewPCG(b.seed, h.Sum64()))

	price := 10 + 190*random.Float64()
	average := newEMA(emaPeriod, price)
	for range points - 1 {
		price *= math.Exp(0.01 * random.NormFloat64())
		average.add(price)
	}
	return quote{
		Symbol: symbol, Price: round(price), EMA: round(average.value), Change: round(price/average.value - 1),
		Points: points, Source: "generated random walk, not a market price",
	}
}

// ema is an exponential moving average in constant time and space.
type ema struct{ alpha, value float64 }

func newEMA(period int, first float64) *ema {
	return &ema{alpha: 2 / (float64(period) + 1), value: first}
}

func (e *ema) add(x float64) { e.value += e.alpha * (x - e.value) }

func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }
