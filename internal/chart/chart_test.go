package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/chart"
)

func drawings(t *testing.T) []*chart.Drawing {
	t.Helper()
	frontier, err := chart.Frontier("Cost and availability", []chart.Strategy{
		{Name: "on-demand", Cost: 1, Bound: 0.35, Enough: 1},
		{Name: "ours", Cost: 0.4, Bound: 0.35, Enough: 0.9999},
		{Name: "worse", Cost: 0.5, Bound: 0.35, Enough: 0.99},
		{Name: "<script>&co", Cost: 0.36, Bound: 0.35, Enough: 0.95},
	}, 0.9995)
	if err != nil {
		t.Fatal(err)
	}
	capacity, err := chart.Capacity("Capacity", []chart.Moment{{0, 3, 3, 0}, {1, 2, 2, 0}, {1.5, 3, 2, 1}, {9, 3, 3, 0}}, 3)
	if err != nil {
		t.Fatal(err)
	}
	savings, err := chart.Savings("Savings", []chart.Month{{40, 100}, {45, 100}, {110, 100}})
	if err != nil {
		t.Fatal(err)
	}
	return []*chart.Drawing{frontier, capacity, savings}
}

func TestEncode(t *testing.T) {
	again := drawings(t)
	for i, d := range drawings(t) {
		svg, err := d.Encode(chart.SVG)
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, svg)
		for _, want := range []string{d.Title, "<svg"} {
			if !bytes.Contains(svg, []byte(want)) {
				t.Errorf("%s: no %q in the SVG", d.Title, want)
			}
		}
		if same, _ := again[i].Encode(chart.SVG); !bytes.Equal(same, svg) {
			t.Errorf("%s is not the same twice", d.Title)
		}
		data, err := d.Encode(chart.PNG)
		if err != nil {
			t.Fatal(err)
		}
		if picture, err := png.Decode(bytes.NewReader(data)); err != nil || picture.Bounds().Dx() < 500 {
			t.Errorf("%s: no picture: %v", d.Title, err)
		}
		if _, err := d.Encode("gif"); err == nil {
			t.Errorf("%s: drawn as gif", d.Title)
		}
	}
}

func wellFormed(t *testing.T, data []byte) {
	t.Helper()
	for decoder := xml.NewDecoder(bytes.NewReader(data)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
	}
}

func TestPage(t *testing.T) {
	p := chart.Page{
		Title: "A <title>", About: "What it is.", Notes: []string{"one & only"},
		Sections: []chart.Section{{Title: "Pool", Columns: []string{"strategy", "cost"}, Rows: [][]string{{"ours", "40"}}, Drawings: drawings(t)}},
	}
	html, err := p.HTML()
	if err != nil {
		t.Fatal(err)
	}
	text := string(html)
	for _, want := range []string{"A &lt;title&gt;", "<td>ours</td>", "one &amp; only"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, not := range []string{"<script", "<?xml", "src=", "@import", "<link"} {
		if strings.Contains(text, not) {
			t.Errorf("%q in the page", not)
		}
	}
	if n := strings.Count(text, "<svg"); n != 3 {
		t.Errorf("%d pictures", n)
	}
}

func TestRefuses(t *testing.T) {
	for name, s := range map[string][]chart.Strategy{
		"nothing":          nil,
		"not a number":     {{Name: "a", Cost: math.NaN(), Enough: 1}},
		"more than always": {{Name: "a", Cost: 1, Enough: 1.5}},
		"endless":          {{Name: "a", Cost: math.Inf(1), Enough: 1}},
	} {
		if _, err := chart.Frontier("x", s, 0.99); err == nil {
			t.Errorf("%s: drawn", name)
		}
	}
	if _, err := chart.Capacity("x", nil, 1); err == nil {
		t.Error("no moments: drawn")
	}
	if _, err := chart.Savings("x", []chart.Month{{math.NaN(), 1}}); err == nil {
		t.Error("a month that is no number: drawn")
	}
}
