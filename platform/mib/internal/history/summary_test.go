package history

import (
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes []float64
		want    Summary
	}{
		{"none", nil, Summary{Symbol: "WTI"}},
		{"one", []float64{-0.25}, Summary{"WTI", 1, 0, -0.25, -0.25, -0.25}},
		{"odd, in no order", []float64{0.5, -0.25, 0.125}, Summary{"WTI", 3, 2, 0.125, -0.25, 0.5}},
		{"even", []float64{0.5, 0, 0.25, -1}, Summary{"WTI", 4, 2, 0.125, -1, 0.5}},
	} {
		if got := Summarize("WTI", c.changes); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestSeveralTextsOfOneMonthCountOnce(t *testing.T) {
	at := func(day int) market.Point {
		return market.Point{Date: time.Date(2008, 10, day, 0, 0, 0, 0, time.UTC), Close: 70}
	}
	got := SummarizeMoves("WTI", []Move{
		{Symbol: "WTI", From: at(1), Change: 0.5}, {Symbol: "BRENT", From: at(2), Change: -1},
		{Symbol: "WTI", From: at(1), Change: 0.5}, {Symbol: "WTI", From: at(3), Change: 0.25},
	})
	if want := (Summary{"WTI", 2, 2, 0.375, 0.25, 0.5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
