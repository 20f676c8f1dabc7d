package indicator

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/markcheno/go-talib"
)

func prices(n int) []float64 {
	random := rand.New(rand.NewPCG(1, 2))
	p := []float64{50}
	for len(p) < n {
		p = append(p, p[len(p)-1]*math.Exp(0.02*random.NormFloat64()))
	}
	return p
}

func day(i int) time.Time { return time.Date(2001, 1, 1+i, 0, 0, 0, 0, time.UTC) }

// The same changes once a day and once a month: in a year the daily ones add up to
// more.
func TestVolatilityIsThatOfAYear(t *testing.T) {
	daily, monthly := NewLive(), NewLive()
	var d, m Reading
	for i, x := range prices(200) {
		d = daily.Add(day(i), x)
		m = monthly.Add(day(0).AddDate(0, i, 0), x)
	}
	if ratio := d.Volatility / m.Volatility; math.Abs(ratio-math.Sqrt(year/12)) > 0.1 {
		t.Errorf("daily %.3f, monthly %.3f", d.Volatility, m.Volatility)
	}
}

// The oracle works on whole histories; what is computed step by step has to agree
// with it at every step.
func TestAgreesWithTheOracle(t *testing.T) {
	p := prices(3000)
	ema, rsi, atr := talib.Ema(p, 20), talib.Rsi(p, 14), talib.Atr(p, p, p, 14)
	macd, signal, _ := talib.Macd(p, 12, 26, 9)
	upper, _, lower := talib.BBands(p, 20, 2, 2, talib.SMA)
	changes := make([]float64, len(p))
	for i := 1; i < len(p); i++ {
		changes[i] = math.Log(p[i] / p[i-1])
	}
	deviation := talib.StdDev(changes[1:], 20, 1)

	l := NewLive()
	for i, x := range p {
		r := l.Add(day(i), x)
		for _, c := range []struct {
			name      string
			from      int // where both are defined
			got, want float64
		}{
			{"EMA", 19, r.EMA, ema[i]},
			{"RSI", 14, r.RSI, rsi[i]},
			{"ATR", 14, r.ATR, atr[i]},
			{"upper", 19, r.Upper, upper[i]},
			{"lower", 19, r.Lower, lower[i]},
			{"MACD", 33, r.MACD, macd[i]},
			// The oracle begins the signal with zeros, whose weight is gone after a while.
			{"signal", 200, r.Signal, signal[i]},
			{"volatility", 20, r.Volatility, deviation[max(0, i-1)] * math.Sqrt(year)},
		} {
			if i < c.from {
				if c.name != "signal" && c.got != 0 {
					t.Fatalf("%s has a value after %d prices", c.name, i+1)
				}
				continue
			}
			if math.Abs(c.got-c.want) > 1e-8*max(1, math.Abs(c.want)) {
				t.Fatalf("%s after %d prices: got %v, want %v", c.name, i+1, c.got, c.want)
			}
		}
	}
}

// What is stored in the middle goes on exactly as if it never had been.
func TestGoesOnFromJSON(t *testing.T) {
	p := prices(1500)
	l := NewLive()
	for i, x := range p {
		if i%7 == 0 {
			b, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			l = new(Live)
			if err := json.Unmarshal(b, l); err != nil {
				t.Fatal(err)
			}
		}
		l.Add(day(i), x)
	}
	want := NewLive()
	for i, x := range p {
		want.Add(day(i), x)
	}
	if !reflect.DeepEqual(l, want) {
		t.Errorf("got %+v\nwant %+v", l, want)
	}
}

func TestWindowLosesNoDigits(t *testing.T) {
	w := Window{N: 20}
	random := rand.New(rand.NewPCG(3, 3))
	for range 100_000 {
		w.Add(1e9 + random.NormFloat64())
	}
	var mean, square float64
	for _, v := range w.Values {
		mean += (v - 1e9) / 20
	}
	for _, v := range w.Values {
		square += (v - 1e9 - mean) * (v - 1e9 - mean)
	}
	if want := math.Sqrt(square / 20); math.Abs(w.Deviation()-want) > 1e-6 {
		t.Errorf("deviation %v, want %v", w.Deviation(), want)
	}
}

func TestScore(t *testing.T) {
	s := Score{Lambda: 0.94}
	random := rand.New(rand.NewPCG(4, 4))
	for i := range 500 {
		if z := s.Add(0.01 * random.NormFloat64()); math.Abs(z) > 6 || i < warm && z != 0 {
			t.Errorf("an ordinary change has the score %.1f", z)
		}
	}
	if z := s.Add(-0.2); z > -10 {
		t.Errorf("a fall by 20 %% has the score %.1f", z)
	}
	if z := s.Add(-0.2); z < -10 {
		t.Errorf("after it the same is as unusual: %.1f", z)
	}
}

func TestRegime(t *testing.T) {
	r := Unknown
	for _, step := range []struct {
		ratio float64
		want  Regime
	}{{1, Normal}, {1.7, Normal}, {1.8, Stressed}, {1.4, Stressed}, {1.2, Normal}, {0.5, Calm}, {0.7, Calm}, {0.8, Normal}, {5, Stressed}, {0.1, Calm}} {
		if r = r.Next(step.ratio); r != step.want {
			t.Errorf("at %v: %s, want %s", step.ratio, r, step.want)
		}
	}
}

func TestChange(t *testing.T) {
	for _, c := range []struct{ from, to, want float64 }{
		{10, 20, math.Log(2)}, {20, -40, -3}, {-40, 20, 1.5}, {0, 5, 0}, {5, 0, -1},
	} {
		if got := Change(c.from, c.to); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("from %v to %v: %v", c.from, c.to, got)
		}
	}
}

func BenchmarkLive(b *testing.B) {
	p := prices(4096)
	l := NewLive()
	for i := 0; b.Loop(); i++ {
		l.Add(day(i), p[i%len(p)])
	}
}
