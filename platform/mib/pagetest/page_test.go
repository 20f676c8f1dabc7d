package pagetest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Before anything was played the page shows the sample, and where it comes from.
func TestLoad(t *testing.T) {
	b := newTab(t)
	b.open("http://" + newBrain(t).listen)
	for id, want := range map[string]string{
		"chart-title": "WTI", "provenance": "Generated data", "connection-text": "Live", "alerts-empty": "No alert yet.", "sources": "synthetic",
	} {
		if got := b.text(id); !strings.Contains(got, want) {
			t.Errorf("#%s says %q, want %q", id, got, want)
		}
	}
	if title := eval[string](b, "document.title"); title != "Market Intel Brain" {
		t.Errorf("the title is %q", title)
	}
	if label := eval[string](b, "document.getElementById('plot').ariaLabel"); !strings.Contains(label, "Chart of WTI in USD/barrel: 300 prices from ") {
		t.Errorf("the chart says of itself %q", label)
	}
	b.clean(false)
}

// The policy that the page comes with is not only written but kept by the browser.
func TestPolicyIsEnforced(t *testing.T) {
	b := newTab(t)
	b.open("http://" + newBrain(t).listen)
	for what, script := range map[string]string{
		"markup of text":    `(() => { try { document.createElement('p').innerHTML = '<b>x</b>'; return 'done'; } catch (e) { return 'refused'; } })()`,
		"a script in place": `(() => { const s = document.createElement('script'); try { s.textContent = 'window.ran = true'; document.body.append(s); } catch (e) { } return window.ran ? 'done' : 'refused'; })()`,
	} {
		if got := eval[string](b, script); got != "refused" {
			t.Errorf("%s: %s", what, got)
		}
	}
	ctx, cancel := context.WithTimeout(b.ctx, hung)
	defer cancel()
	if got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`fetch('http://127.0.0.2:9/').then(() => 'done', () => 'refused')`, chromedp.EvalAwaitPromise)); err != nil || got != "refused" {
		t.Errorf("another host: %s %v", got, err)
	}
	if got := eval[[]string](b, "violations"); len(got) < 3 {
		t.Errorf("only these were noticed: %q", got)
	}
}

// Prices and alerts come without being asked for; a page that is paused keeps still,
// and has missed nothing afterwards.
func TestLiveUpdate(t *testing.T) {
	b := newTab(t)
	brain := newBrain(t)
	b.open("http://" + brain.listen)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- brain.replay(ctx, "live", "2008-08", "2030-01", "2000000x") }() // 23 days a second
	b.until("the feed that is played", "document.getElementById('feed').value === 'live'")
	for range 3 {
		before := b.text("chart-name")
		b.until("another day", fmt.Sprintf("document.getElementById('chart-name').textContent !== %q", before))
	}
	b.until("a row with the price of the chart", "document.querySelector('#watch tr.chosen td').textContent === document.getElementById('quote-price').textContent")
	b.until("an alert", "document.querySelector('#alerts > li')")
	b.do(chromedp.Click(chromedp.ID("pause")))
	still := b.text("chart-name") + b.text("quote-price") + b.text("alerts-count")
	// The stream goes on meanwhile: the server has newer prices.
	first := len(brain.alerts())
	until(t, "more alerts", func() bool { return len(brain.alerts()) > first })
	if now := b.text("chart-name") + b.text("quote-price") + b.text("alerts-count"); now != still {
		t.Errorf("paused, it went from %q to %q", still, now)
	}
	b.do(chromedp.Click(chromedp.ID("pause")))
	b.until("going on", fmt.Sprintf("document.getElementById('chart-name').textContent + document.getElementById('quote-price').textContent + document.getElementById('alerts-count').textContent !== %q", still))
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := brain.alerts()
	until(t, "all alerts", func() bool { return slices.Equal(b.shown(), lastOf(want, 120)) })
	b.clean(false)
}

func TestSearch(t *testing.T) {
	b := newTab(t)
	b.open("http://" + newBrain(t).listen)
	b.do(chromedp.Focus(chromedp.ID("question")))
	b.key(kb.Enter)
	if got := b.text("ask-status"); got != "Type what the texts should be about." {
		t.Errorf("asked nothing: %q", got)
	}
	b.key("crude drilling", kb.Enter)
	b.until("passages", "document.querySelectorAll('.passages article').length === 8")
	answer := b.text("answer")
	for _, want := range []string{"What prices did in the 60 days after", "Median", "WTI", "Not a prediction.", "synthetic, generated from a seed"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer does not say %q", want)
		}
	}
	// The summary is of the days that are shown, each counted once.
	if got := eval[string](b, `(() => {
		const row = document.querySelector('.summary tbody tr');
		const dots = row.querySelectorAll('circle').length;
		return row.cells[3].textContent.endsWith(' of ' + dots + (dots === 1 ? ' date' : ' dates')) ? '' : row.textContent + dots;
	})()`); got != "" {
		t.Errorf("the summary and its picture disagree: %s", got)
	}
	if got := eval[int](b, "document.querySelectorAll('.passages mark').length"); got == 0 {
		t.Error("no word of the question is marked")
	}
	b.do(chromedp.SetValue(chromedp.ID("days"), "180"))
	eval[bool](b, "document.getElementById('days').dispatchEvent(new Event('change'))")
	b.until("the other horizon", "document.querySelector('#answer caption')?.textContent.includes('180 days')")
	b.do(chromedp.Focus(chromedp.ID("question")))
	b.key(kb.Escape)
	b.until("nothing", "document.getElementById('answer').childElementCount === 0 && document.getElementById('question').value === ''")
	b.clean(false)
}

func TestSimilarDates(t *testing.T) {
	b := newTab(t)
	b.open("http://" + newBrain(t).listen)
	b.do(chromedp.SetValue(chromedp.ID("similar-at"), "2008-10-15"), chromedp.Focus(chromedp.ID("similar-at")))
	b.do(chromedp.Click(chromedp.CSS("#similar button")))
	b.until("episodes", "document.querySelectorAll('.episodes tbody tr').length === 10")
	for _, want := range []string{"Median", "Range", "Not a prediction.", "of 10 episodes", "Correlation"} {
		if got := b.text("likeness"); !strings.Contains(got, want) {
			t.Errorf("it does not say %q: %s", want, got)
		}
	}
	date := eval[string](b, "document.querySelector('.episodes button').textContent")
	b.do(chromedp.Click(chromedp.CSS(".episodes button")))
	at, err := time.Parse(time.DateOnly, date)
	if err != nil {
		t.Fatal(err)
	}
	end := at.AddDate(0, 0, 60).Format(time.DateOnly)
	b.until("the chart around that date", fmt.Sprintf("document.getElementById('to').value === %q && (document.getElementById('plot').ariaLabel.match(/ to (\\d{4}-\\d\\d-\\d\\d),/)?.[1] ?? '') > %q", end, date))
	if label := eval[string](b, "document.getElementById('plot').ariaLabel"); strings.Contains(label, "to "+at.AddDate(0, 0, 61).Format(time.DateOnly)) {
		t.Errorf("the chart shows what came later: %s", label)
	}
	b.clean(false)
}

// The line is cut ten times while alerts come, and the server is killed and started
// again in between: the page shows every alert once, in their order.
func TestNoAlertIsLost(t *testing.T) {
	const interruptions = 10
	b := newTab(t)
	brain := newBrain(t)
	l := newLine(t, brain.listen)
	b.open(l.url())
	if got := b.shown(); len(got) != 0 {
		t.Fatalf("there are alerts already: %v", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- brain.replay(ctx, "long", "2008-08", "2030-01", "5000000x") }() // 58 days a second
	for range interruptions {
		before := b.text("alerts-count")
		b.until("another alert", fmt.Sprintf("document.getElementById('alerts-count').textContent !== %q", before))
		l.cut()
		b.until("that it says so", "document.getElementById('connection').dataset.state === 'waiting'")
		l.mend()
		b.until("the connection", "document.getElementById('connection').dataset.state === 'open'")
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// Now the server itself, with all that it has in memory; and then its ordinary
	// end, which tells clients when to come back.
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		brain.end(signal)
		b.until("that it says so", "document.getElementById('connection').dataset.state === 'waiting'")
		brain.start()
		if err := brain.replay(t.Context(), "after-"+signal.String(), "2008-08", "2008-12", "max"); err != nil {
			t.Fatal(err)
		}
		b.until("the connection", "document.getElementById('connection').dataset.state === 'open'")
	}

	want := brain.alerts()
	if len(want) < interruptions+2 || len(want) > 500 {
		t.Fatalf("%d alerts are too few or too many to say anything", len(want))
	}
	until(t, "all alerts, each once", func() bool {
		return slices.Equal(b.shown(), lastOf(want, 120)) && b.text("alerts-count") == fmt.Sprintf("%d alerts", len(want))
	})
	t.Logf("%d alerts over %d interruptions, each seen once", len(want), interruptions+2)
	b.clean(true)
}

// Everything can be done without a mouse, and it can be seen where one is.
func TestKeyboard(t *testing.T) {
	b := newTab(t)
	b.open("http://" + newBrain(t).listen)
	type stop struct {
		Name    string
		Outline bool // whether it can be seen that it has the focus
		Seen    bool // whether it is in the window
	}
	here := func() stop {
		return eval[stop](b, `(() => {
			const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
			return {Name: e.id || e.dataset.kind || e.textContent.trim().slice(0, 30) || e.getAttribute('aria-labelledby'),
				Outline: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2,
				Seen: r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth && r.width > 0};
		})()`)
	}
	var order []string
	for range 120 {
		b.key(kb.Tab)
		if eval[bool](b, "document.activeElement === document.body") {
			break
		}
		s := here()
		if !s.Outline || !s.Seen {
			t.Errorf("at %q: the focus is marked %v, and in the window %v", s.Name, s.Outline, s.Seen)
		}
		order = append(order, s.Name)
	}
	if !eval[bool](b, "document.activeElement === document.body") {
		t.Fatalf("the keyboard is trapped after %q", order)
	}
	at := -1
	for _, want := range []string{"Skip to the chart", "Skip to the search", "feed", "pause", "theme", "WTI", "show-ema", "pane", "plot", "anomaly", "question", "days", "Search", "similar-symbol", "similar-at", "Compare"} {
		i := slices.IndexFunc(order, func(name string) bool { return strings.HasPrefix(name, want) })
		if i <= at {
			t.Errorf("%q is at %d of %q, not after %d", want, i, order, at)
		}
		at = max(at, i)
	}

	// The first stop leads past the controls.
	b.key(kb.Tab, kb.Enter)
	if got := here().Name; got != "chart-title" {
		t.Errorf("the first link leads to %q", got)
	}
	// The chart is read by arrow keys, and left by Escape.
	b.do(chromedp.Focus(chromedp.ID("plot")))
	b.key(kb.ArrowLeft)
	last := b.text("plot-cursor")
	b.key(kb.ArrowLeft)
	if before := b.text("plot-cursor"); last == "" || before == last || before[:10] >= last[:10] {
		t.Errorf("the arrow went from %q to %q", last, before)
	}
	b.key(kb.Escape)
	if got := b.text("plot-cursor"); got != "" {
		t.Errorf("after Escape: %q", got)
	}
	// A price is chosen by Enter.
	b.do(chromedp.Focus(chromedp.CSS("#watch tr:nth-child(2) button")))
	b.key(kb.Enter)
	b.until("the second price", "document.getElementById('chart-title').textContent === document.querySelector('#watch tr:nth-child(2) button span').textContent")
	if !eval[bool](b, "document.activeElement === document.querySelector('#watch tr:nth-child(2) button')") {
		t.Error("the focus did not stay where it was")
	}
	b.clean(false)
}

// On a phone nothing is cut off or has to be moved sideways; who wants no motion gets none.
func TestNarrowAndStill(t *testing.T) {
	b := newTab(t)
	url := "http://" + newBrain(t).listen
	for _, w := range []int64{320, 390, 800, 1100, width} {
		b.do(chromedp.EmulateViewport(w, 800))
		b.open(url + "/?q=crude")
		b.do(chromedp.Click(chromedp.CSS("#similar button")))
		b.until("both answers", "document.querySelector('.passages') && document.querySelector('.episodes')")
		if got := eval[int64](b, "document.documentElement.scrollWidth"); got > w {
			t.Errorf("at a width of %d it is %d wide", w, got)
		}
	}
	b.media("prefers-reduced-motion", "reduce")
	if got := eval[string](b, "(() => { document.getElementById('connection').dataset.state = 'waiting'; return getComputedStyle(document.querySelector('.dot')).animationName; })()"); got != "none" {
		t.Errorf("the dot moves by %s", got)
	}
	b.clean(false)
}

// TestPictures makes those of the docs; without -update it checks that the theme follows
// the system's and can be chosen.
func TestPictures(t *testing.T) {
	b := newTab(t)
	data := ""
	if *update {
		data = os.Getenv("EVENKEEL_DATA")
	}
	brain := newBrainWith(t, data)
	if err := brain.replay(t.Context(), "replay-2008-08", "2008-08", "2008-12", "max"); err != nil {
		t.Fatal(err)
	}
	b.open("http://" + brain.listen)
	b.until("the feed", "document.getElementById('feed').value === 'replay-2008-08' && document.querySelectorAll('#alerts > li').length > 3")
	settle()
	b.picture("mib-live.png")
	if got := eval[string](b, "document.documentElement.dataset.theme"); got != "light" {
		t.Errorf("the theme is %s", got)
	}
	b.media("prefers-color-scheme", "dark")
	b.until("dark", "document.documentElement.dataset.theme === 'dark'")
	b.do(chromedp.Focus(chromedp.ID("question")))
	b.key("oil producers shutting in wells", kb.Enter)
	b.until("passages", "document.querySelector('.passages')")
	b.do(chromedp.Click(chromedp.CSS("#similar button")))
	b.until("episodes", "document.querySelector('.episodes')")
	settle()
	b.picture("mib-search-dark.png")
	b.do(chromedp.Click(chromedp.ID("theme")))
	b.until("light, because it was chosen", "document.documentElement.dataset.theme === 'light'")
	b.do(chromedp.EmulateViewport(390, 800))
	b.open("http://" + brain.listen)
	if got := eval[string](b, "document.documentElement.dataset.theme"); got != "light" {
		t.Errorf("after loading it again the theme is %s", got)
	}
	settle()
	b.picture("mib-phone.png")
	b.clean(false)
}

// Where a key is wanted the page asks for it, and goes on with it; it is nowhere in an
// address.
func TestKey(t *testing.T) {
	b := newTab(t)
	target, err := url.Parse("http://" + newBrain(t).listen)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string // addresses
	proxy := httputil.NewSingleHostReverseProxy(target)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.URL.String())
		mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/v1/") && r.Header.Get("Authorization") != "Bearer right" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	b.do(chromedp.Navigate(srv.URL))
	b.until("the question for a key", "!document.getElementById('key-form').hidden && document.getElementById('connection-text').textContent.includes('an API key is needed')")
	for _, key := range []string{"wrong", "right"} {
		b.do(chromedp.Focus(chromedp.ID("key")))
		b.key(key, kb.Enter)
		b.until("an answer to it", map[string]string{
			"wrong": "!document.getElementById('key-wrong').hidden",
			"right": "document.getElementById('connection').dataset.state === 'open' && document.querySelector('#plot path.line.price') && document.getElementById('key-form').hidden",
		}[key])
	}
	b.open(srv.URL) // in the same tab it is still known
	mu.Lock()
	defer mu.Unlock()
	for _, address := range seen {
		if strings.Contains(address, "right") || strings.Contains(address, "wrong") {
			t.Errorf("the key is in %s", address)
		}
	}
	b.clean(true) // the answers 401 are failed requests
}
