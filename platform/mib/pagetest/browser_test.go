package pagetest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var update = flag.Bool("update", false, "write docs/images/mib-*.png anew; with EVENKEEL_DATA they show what was observed")

var (
	browser context.Context // nil without a browser
	why     string          // why there is none
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		path := ""
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if p, err := exec.LookPath(name); err == nil {
				path = p
				break
			}
		}
		if path == "" {
			why = "there is no Chromium here (Debian: apt-get install chromium): the page is not tested in a browser"
			fmt.Println("SKIP:", why)
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "pagetest-")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := buildMib(dir); err != nil {
			fmt.Println(err)
			return 1
		}
		// Nothing of the browser asks the network for anything of its own.
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU,
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "en-US"))
		if os.Getuid() == 0 {
			options = append(options, chromedp.NoSandbox) // root has none
		}
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		defer stop()
		var cancel context.CancelFunc
		browser, cancel = chromedp.NewContext(allocator)
		defer cancel()
		if err := chromedp.Do(browser); err != nil {
			fmt.Println("starting", path, "failed:", err)
			return 1
		}
		return m.Run()
	}())
}

// A tab is a page in a browser context of its own, with what went wrong in it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	wrong   []string // exceptions, and errors and warnings in the console
	network []string // requests that failed
}

const width, height = 1440, 900

func newTab(t *testing.T) *tab {
	t.Helper()
	if browser == nil {
		t.Skip(why)
	}
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.hear))
	t.Cleanup(cancel)
	b.ctx = ctx
	// The tab lives as long as the context that it is first used with.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if _, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{
			Source: `window.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample));`,
		})
		return err
	}), chromedp.EmulateViewport(width, height))
	b.media("prefers-color-scheme", "light")
	return b
}

func (b *tab) hear(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		b.wrong = append(b.wrong, text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			b.wrong = append(b.wrong, fmt.Sprintf("console %s %v", e.Type, e.Args))
		}
	case *cdplog.EventEntryAdded:
		switch {
		case e.Entry.Source == cdplog.EntrySourceNetwork:
			b.network = append(b.network, e.Entry.Text+" "+e.Entry.URL)
		case e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning:
			b.wrong = append(b.wrong, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// clean fails if anything went wrong in the page. Where the network was cut, requests
// that failed are what was to be expected.
func (b *tab) clean(cut bool) {
	b.t.Helper()
	violations := eval[[]string](b, "violations")
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.wrong) > 0 {
		b.t.Errorf("went wrong in the page: %q", b.wrong)
	}
	if len(b.network) > 0 && !cut {
		b.t.Errorf("requests failed: %q", b.network)
	}
	if len(violations) > 0 {
		b.t.Errorf("its policy was violated: %q", violations)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, hung)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%d steps in the browser: %v", len(steps), err)
	}
}

// eval evaluates an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, hung)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (b *tab) text(id string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("document.getElementById(%q).textContent", id))
}

func (b *tab) until(what, condition string) {
	b.t.Helper()
	until(b.t, what, func() bool { return eval[bool](b, "!!("+condition+")") })
}

func (b *tab) media(name, value string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: name, Value: value}}})
		return err
	}))
}

// open loads the page and waits until it is connected and shows a price.
func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
	b.until("the page", "document.getElementById('connection')?.dataset.state === 'open' && document.querySelector('#plot path.line.price')")
}

// shown returns the alerts in the page, the oldest first.
func (b *tab) shown() []string {
	b.t.Helper()
	ids := eval[[]string](b, "[...document.querySelectorAll('#alerts > li')].map((li) => li.dataset.id)")
	slices.Reverse(ids)
	return ids
}

// key presses keys, one after the other.
func (b *tab) key(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.do(chromedp.KeyEvent(k))
	}
}

// picture writes a screenshot of the whole page, with -update.
func (b *tab) picture(name string) {
	b.t.Helper()
	if !*update {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, hung)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join("../../../docs/images", name), png, 0o666)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func lastOf(ids []string, n int) []string { return ids[max(0, len(ids)-n):] }

// settle gives animations and frames the time that people would give them before a
// picture is taken. Nothing is checked by it.
func settle() { time.Sleep(2 * time.Second) }
