package controller

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	began := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var fresh pace
	if left := fresh.left(began); left > 0 {
		t.Errorf("the first Step waits for %v", left)
	}
	for _, tt := range []struct{ took, left time.Duration }{
		{0, 0},
		{50 * time.Microsecond, 950 * time.Microsecond},
		{2 * ms, 38 * ms}, // a twentieth of a processor
		{5 * ms, 95 * ms},
		{20 * ms, 80 * ms}, // no longer than 100 ms from one to the next
		{100 * ms, 0},
	} {
		var p pace
		p.stepped(began, tt.took)
		if got := p.left(began.Add(tt.took)); got != tt.left {
			t.Errorf("after a Step of %v: %v left, want %v", tt.took, got, tt.left)
		}
	}
	var p pace
	p.stepped(began, time.Second)
	if left := p.left(began.Add(time.Second)); left > 0 {
		t.Errorf("after a Step of a second: %v left", left)
	}
}
