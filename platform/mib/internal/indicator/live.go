package indicator

import (
	"math"
	"time"
)

// A Regime says how restless a price is, compared with itself over the years.
type Regime string

const (
	Unknown  Regime = "unknown" // too little history
	Calm     Regime = "calm"
	Normal   Regime = "normal"
	Stressed Regime = "stressed"
)

// Bounds of the ratio of this month's volatility to the usual one. Those to leave a
// regime are nearer to 1 than those to enter it, or it would flicker.
const (
	enterStressed, leaveStressed = 1.8, 1.3
	enterCalm, leaveCalm         = 0.55, 0.75
)

// Next returns the regime that follows at this ratio.
func (r Regime) Next(ratio float64) Regime {
	switch {
	case ratio >= enterStressed || r == Stressed && ratio >= leaveStressed:
		return Stressed
	case ratio <= enterCalm || r == Calm && ratio <= leaveCalm:
		return Calm
	default:
		return Normal
	}
}

// year is in days. How many prices come in one is not assumed: some series are
// daily, without weekends, and some monthly.
const year = 365.25

// Live is everything that is watched of one price.
type Live struct {
	EMA        EMA
	RSI        RSI
	MACD       MACD
	Bollinger  Window
	ATR        Wilder // of closing prices: the data has neither highs nor lows
	Volatility Window // of changes
	Usual      EMA    // of volatility, over years
	Gap        EMA    // days between prices
	Score      Score
	Regime     Regime
	Last       float64
	LastTime   time.Time
	Count      int
}

// NewLive returns a Live that has seen nothing.
func NewLive() *Live {
	return &Live{
		EMA: EMA{N: 20}, RSI: NewRSI(14), MACD: NewMACD(), Bollinger: Window{N: 20},
		ATR: Wilder{EMA{N: 14}}, Volatility: Window{N: 20}, Usual: EMA{N: 500}, Gap: EMA{N: 60},
		Score: Score{Lambda: 0.94}, Regime: Unknown,
	}
}

// A Reading is what is known of a price after a step. What is not known yet is 0.
type Reading struct {
	Price      float64 `json:"price"`
	Change     float64 `json:"change"` // from the price before; see Change
	EMA        float64 `json:"ema20"`
	RSI        float64 `json:"rsi14"`
	MACD       float64 `json:"macd"`
	Signal     float64 `json:"macdSignal"`
	Upper      float64 `json:"bollingerUpper"`
	Lower      float64 `json:"bollingerLower"`
	ATR        float64 `json:"atr14"`
	Volatility float64 `json:"volatility"` // of a year
	Ratio      float64 `json:"volatilityRatio"`
	Score      float64 `json:"score"` // of the change: deviations from what is usual
	Regime     Regime  `json:"regime"`
}

// Add adds a price, which is later than those before it.
func (l *Live) Add(at time.Time, price float64) Reading {
	r := Reading{Price: price}
	if l.Count > 0 {
		r.Change = Change(l.Last, price)
		l.Volatility.Add(r.Change)
		l.ATR.Add(math.Abs(price - l.Last))
		r.Score = l.Score.Add(r.Change)
		l.Gap.Add(at.Sub(l.LastTime).Hours() / 24)
	}
	l.Last, l.LastTime = price, at
	l.Count++
	l.EMA.Add(price)
	l.RSI.Add(price)
	l.MACD.Add(price)
	l.Bollinger.Add(price)

	if l.EMA.Ready() {
		r.EMA = l.EMA.Value
	}
	if l.RSI.Ready() {
		r.RSI = l.RSI.Value()
	}
	if l.MACD.Ready() {
		r.MACD, r.Signal = l.MACD.Value(), l.MACD.Signal.Value
	}
	if l.Bollinger.Ready() {
		mean, d := l.Bollinger.Mean(), l.Bollinger.Deviation()
		r.Upper, r.Lower = mean+2*d, mean-2*d
	}
	if l.ATR.Ready() {
		r.ATR = l.ATR.Value
	}
	if l.Volatility.Ready() && l.Gap.Value > 0 {
		r.Volatility = l.Volatility.Deviation() * math.Sqrt(year/l.Gap.Value)
		if l.Usual.Count >= 60 && l.Usual.Value > 0 {
			r.Ratio = r.Volatility / l.Usual.Value
			l.Regime = l.Regime.Next(r.Ratio)
		}
		l.Usual.Add(r.Volatility)
	}
	r.Regime = l.Regime
	return r
}
