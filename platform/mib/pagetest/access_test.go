package pagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// thing is a node of the tree that a screen reader gets.
type thing struct{ role, name string }

func (b *tab) accessibility() []thing {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, hung)
	defer cancel()
	tree, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	value := func(v *accessibility.Value) string {
		var s string
		if v != nil {
			_ = json.Unmarshal(v.Value, &s) // what is no string has no name
		}
		return strings.TrimSpace(s)
	}
	var out []thing
	for _, n := range tree.Nodes {
		if !n.Ignored {
			out = append(out, thing{value(n.Role), value(n.Name)})
		}
	}
	return out
}

// What a screen reader needs to find its way: landmarks and headings, a name for
// everything that can be used, headers for the columns.
func TestAccessibilityTree(t *testing.T) {
	b := newTab(t)
	brain := newBrain(t)
	if err := brain.replay(t.Context(), "history", "2008-08", "2008-12", "max"); err != nil {
		t.Fatal(err)
	}
	b.open("http://" + brain.listen)
	b.until("alerts", "document.querySelector('#alerts > li')")
	b.do(chromedp.Focus(chromedp.ID("question")))
	b.key("crude drilling", kb.Enter)
	b.until("passages", "document.querySelector('.passages')")
	eval[bool](b, "document.getElementById('table-details').open = true")
	b.until("the table", "document.querySelector('#table tbody tr')")

	tree := b.accessibility()
	for _, want := range []thing{
		{"banner", ""}, {"main", ""}, {"contentinfo", ""},
		{"heading", "Market Intel Brain"}, {"heading", "Prices"}, {"heading", "WTI"}, {"heading", "Alerts"},
		{"region", "Prices"}, {"region", "WTI"}, {"region", "Alerts"}, {"region", "When did it read like this before?"}, {"region", "When did it behave like this before?"},
		{"search", "When did it read like this before?"},
		{"searchbox", "What to look for in the texts"}, {"combobox", "Feed"}, {"combobox", "Below"}, {"combobox", "Prices after"},
		{"button", "Pause"}, {"button", "Search"}, {"button", "Compare"}, {"button", "Dark colours"},
		{"checkbox", "EMA 20"}, {"columnheader", "Regime"}, {"columnheader", "RSI 14"}, {"rowheader", "WTI"},
		{"link", "Skip to the chart"}, {"status", ""},
	} {
		if !slices.ContainsFunc(tree, func(x thing) bool { return x.role == want.role && strings.HasPrefix(x.name, want.name) }) {
			t.Errorf("there is no %s %q", want.role, want.name)
		}
	}
	needs := []string{"button", "link", "combobox", "searchbox", "textbox", "checkbox", "image", "img", "Date", "region", "search", "form", "table", "heading"}
	for _, x := range tree {
		if slices.Contains(needs, x.role) && x.name == "" {
			t.Errorf("a %s has no name", x.role)
		}
	}
	if !slices.ContainsFunc(tree, func(x thing) bool {
		return (x.role == "image" || x.role == "img") && strings.HasPrefix(x.name, "Chart of WTI in USD/barrel: ")
	}) {
		t.Error("the chart does not say what it shows")
	}
	if got := eval[string](b, "['alerts-said', 'plot-cursor'].map((id) => document.getElementById(id).ariaLive).join() + ',' + document.documentElement.lang"); got != "polite,polite,en" {
		t.Errorf("live regions and language: %s", got)
	}
	if got := eval[[]string](b, `(() => { // ids that are named but are not there, or are there twice
		const all = [...document.querySelectorAll('[id]')].map((e) => e.id);
		const named = [...document.querySelectorAll('[aria-labelledby], [aria-describedby], label[for]')].flatMap((e) =>
			[e.getAttribute('aria-labelledby'), e.getAttribute('aria-describedby'), e.getAttribute('for')].filter(Boolean).flatMap((v) => v.split(' ')));
		return [...all.filter((id, i) => all.indexOf(id) !== i), ...named.filter((id) => !all.includes(id))];
	})()`); len(got) > 0 {
		t.Errorf("ids: %q", got)
	}
	b.clean(false)
}

// New alerts are told to a screen reader, together if many come at once.
func TestAlertsAreSaid(t *testing.T) {
	b := newTab(t)
	brain := newBrain(t)
	b.open("http://" + brain.listen)
	if got := b.text("alerts-said"); got != "" {
		t.Errorf("said before anything came: %q", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- brain.replay(ctx, "live", "2008-08", "2030-01", "5000000x") }()
	b.until("that alerts are said", `/alert/i.test(document.getElementById('alerts-said').textContent)`)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.clean(false)
}

// contrast finds texts that are hard to read: those whose contrast with what is behind
// them is under 4.5, or 3 for large ones (WCAG 2, AA).
const contrast = `(() => {
	const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return {r: m[0], g: m[1], b: m[2], a: m[3] ?? 1}; };
	const over = (top, below) => ({r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1});
	const lum = ({r, g, b}) => { const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
	const behind = (e) => { const stack = []; for (let n = e; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); stack.push(c); if (c.a === 1) break; } return stack.reverse().reduce((below, c) => over(c, below), {r: 255, g: 255, b: 255, a: 1}); };
	const bad = [];
	for (const e of document.querySelectorAll('body *')) {
		const text = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join('');
		if (!text || e.closest('.hidden, .skip, [hidden], noscript, option, script') || e.getClientRects().length === 0) continue;
		const s = getComputedStyle(e), svg = e instanceof SVGElement;
		if (svg && e.classList.contains('flagtext')) continue; // on a shape, not on what is behind the chart
		const back = behind(svg ? e.closest('div') : e), ink = over(parse(svg ? s.fill : s.color), back);
		const [a, b] = [lum(ink), lum(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
		const size = parseFloat(s.fontSize), large = size >= 24 || size >= 18.66 && Number(s.fontWeight) >= 700;
		if (ratio < (large ? 3 : 4.5)) bad.push(text.slice(0, 30) + ' ' + ratio.toFixed(2));
	}
	return bad;
})()`

func TestContrast(t *testing.T) {
	b := newTab(t)
	brain := newBrain(t)
	if err := brain.replay(t.Context(), "history", "2008-08", "2008-12", "max"); err != nil {
		t.Fatal(err)
	}
	for _, theme := range []string{"light", "dark"} {
		b.media("prefers-color-scheme", theme)
		b.open(fmt.Sprintf("http://%s/?q=crude", brain.listen))
		b.until("all of it", "document.querySelector('.passages') && document.querySelector('#alerts > li') && document.documentElement.dataset.theme === '"+theme+"'")
		if bad := eval[[]string](b, contrast); len(bad) > 0 {
			t.Errorf("%s: hard to read: %q", theme, bad)
		}
	}
}
