// Analyst is a client who depends on the Market Intel Brain while its machines come
// and go. It sends the prices of some months of history through the gateway, follows
// the alerts, asks the same question again and again, and says in the end whether all
// was as if nothing had happened. A rehearsal runs it as a Job.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/analytics"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/client"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/replay"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

const usage = `Usage: analyst --gateway URL --unit NAME [flags]

Sends the prices from --from to --to, and those of the year before, to POST /v1/ticks
in some feeds at once, and each again until it is answered. Follows GET /v1/alerts with
Last-Event-ID. Asks GET /v1/ask the same all the time. When every alert has come that
the prices lead to, each once, and all answers were the same, it writes the unit to
standard output: {"ledger":"unit","id":NAME}. Else it says what was wrong, and ends
with 1.

Flags
`

type options struct {
	gateway, unit, question string
	from, to                time.Time
	feeds                   int
	over, wait              time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings passed in.
func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) int {
	o := options{from: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), to: time.Date(2020, 6, 1, 0, 0, 0, 0, time.UTC)}
	f := flag.NewFlagSet("analyst", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.gateway, "gateway", "", "`URL` of the gateway (required)")
	f.StringVar(&o.unit, "unit", "", "`name` under which the work is written down (required)")
	f.StringVar(&o.question, "question", "oil producers shutting in wells", "what is asked all the time")
	date := func(to *time.Time) func(string) error {
		return func(s string) (err error) { *to, err = time.Parse(time.DateOnly, s); return err }
	}
	f.Func("from", "the first `date` (2020-01-01)", date(&o.from))
	f.Func("to", "the `date` before which it ends (2020-06-01)", date(&o.to))
	f.IntVar(&o.feeds, "feeds", 3, "how many feeds have these prices")
	f.DurationVar(&o.over, "over", time.Minute, "send them evenly over this `time`")
	f.DurationVar(&o.wait, "wait", time.Minute, "how `long` alerts may take that have not come by then")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case o.gateway == "" || o.unit == "" || f.NArg() > 0 || o.feeds < 1 || !o.from.Before(o.to):
		fmt.Fprintln(stderr, "analyst: give --gateway, --unit, at least one feed, a time from before to, and no further argument; see analyst --help")
		return 2
	}
	a := &analyst{options: o, log: slog.New(slog.NewJSONHandler(stderr, nil)).With("unit", o.unit), http: &http.Client{Timeout: 5 * time.Second}, seen: make(map[string]int)}
	if err := a.work(ctx, env("EVENKEEL_DATA")); err != nil {
		fmt.Fprintln(stderr, "analyst:", err)
		return 1
	}
	line, err := json.Marshal(map[string]string{"ledger": "unit", "id": o.unit})
	if err == nil {
		_, err = stdout.Write(append(line, '\n'))
	}
	if err != nil {
		fmt.Fprintln(stderr, "analyst:", err)
		return 1
	}
	return 0
}

type analyst struct {
	options
	log  *slog.Logger
	http *http.Client

	mu      sync.Mutex
	seen    map[string]int // alerts by their id
	strange []string       // what should not have happened
	again   int            // requests that had to be sent again
	asked   int            // questions answered
}

func (a *analyst) wrong(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.strange) < 20 {
		a.strange = append(a.strange, fmt.Sprintf(format, args...))
	}
}

func (a *analyst) work(ctx context.Context, data string) error {
	sample, err := market.LoadPrices(data)
	if err != nil {
		return err
	}
	var all []stream.Tick
	feeds := make([][]stream.Tick, a.feeds)
	for i := range feeds {
		feeds[i] = replay.Ticks(sample, fmt.Sprint(a.unit, "-", i), a.from.AddDate(-1, 0, 0), a.to)
		all = append(all, feeds[i]...)
	}
	slices.SortStableFunc(all, func(x, y stream.Tick) int { return x.Time.Compare(y.Time) })
	state, want := analytics.NewState(), make(map[string]bool)
	for _, t := range all {
		for _, alert := range state.Step(t) {
			want[alert.ID] = true
		}
	}
	a.log.Info("begins", "ticks", len(all), "alerts", len(want), "synthetic", sample.Synthetic)

	watching, stop := context.WithCancel(ctx)
	defer stop()
	var others sync.WaitGroup
	others.Go(func() { a.follow(watching, want) })
	others.Go(func() { a.ask(watching) })
	sending, giveUp := context.WithCancelCause(ctx)
	var senders sync.WaitGroup
	for _, ticks := range feeds {
		senders.Go(func() {
			if err := a.send(sending, ticks); err != nil {
				giveUp(err) // the first one counts
			}
		})
	}
	senders.Wait()
	err = context.Cause(sending)
	giveUp(nil)
	if err == nil {
		a.log.Info("all prices are acknowledged", "ticks", len(all))
		err = a.await(ctx, want)
	}
	stop()
	others.Wait()
	if err != nil {
		return err
	}
	for id := range want {
		if a.seen[id] == 0 {
			a.wrong("lost alert: %s", id)
		}
	}
	if a.asked == 0 {
		a.wrong("no question was answered")
	}
	for _, s := range a.strange {
		a.log.Error(s)
	}
	a.log.Info("ends", "ticks", len(all), "alerts", len(a.seen), "sent again", a.again, "answers", a.asked, "wrong", len(a.strange))
	if len(a.strange) > 0 {
		return errors.New(a.strange[0])
	}
	return nil
}

// await waits until every alert has come, and then a little for more of them.
func (a *analyst) await(ctx context.Context, want map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, a.wait)
	defer cancel()
	all := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for id := range want {
			if a.seen[id] == 0 {
				return false
			}
		}
		return true
	}
	for !all() {
		if err := pause(ctx, 100*time.Millisecond); errors.Is(err, context.DeadlineExceeded) {
			return nil // what is lost is said by name
		} else if err != nil {
			return err
		}
	}
	if err := pause(ctx, 2*time.Second); errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// follow counts the alerts of the analyst's own feeds.
func (a *analyst) follow(ctx context.Context, want map[string]bool) {
	ours := make(map[string]bool)
	for i := range a.feeds {
		ours[fmt.Sprint(a.unit, "-", i)] = true
	}
	err := client.Alerts(ctx, a.gateway, client.All, func(alert stream.Alert) {
		if !ours[alert.Feed] {
			return
		}
		if !want[alert.ID] {
			a.wrong("alert that no undisturbed run has: %s", alert.ID)
		}
		a.mu.Lock()
		a.seen[alert.ID]++
		n := a.seen[alert.ID]
		a.mu.Unlock()
		if n > 1 {
			a.wrong("alert came %d times: %s", n, alert.ID)
		}
	}, func(gap string) { a.wrong("gap in the alerts: %s", gap) })
	if err != nil {
		a.wrong("following the alerts: %v", err)
	}
}

// ask asks the same question and compares the passages with those of the first answer.
func (a *analyst) ask(ctx context.Context) {
	var first string
	for pause(ctx, 500*time.Millisecond) == nil {
		var answer struct {
			Passages json.RawMessage `json:"passages"`
		}
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := client.Get(try, a.gateway+"/v1/ask?k=10&q="+url.QueryEscape(a.question), &answer)
		cancel()
		if err != nil {
			a.repeat()
			continue
		}
		var text bytes.Buffer
		if err := json.Compact(&text, answer.Passages); err != nil || text.Len() <= len("[]") {
			a.wrong("an answer without passages: %.200s", answer.Passages)
			continue
		}
		switch {
		case first == "":
			first = text.String()
		case text.String() != first:
			a.wrong("the same question is answered otherwise: %.200s", text.String())
		}
		a.mu.Lock()
		a.asked++
		a.mu.Unlock()
	}
}

func (a *analyst) repeat() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again++
}

// send sends the prices of one feed in their order, each until it is acknowledged.
func (a *analyst) send(ctx context.Context, ticks []stream.Tick) error {
	begun := time.Now()
	for i, t := range ticks {
		if due := begun.Add(a.over * time.Duration(i) / time.Duration(len(ticks))); time.Until(due) > 0 {
			if err := pause(ctx, time.Until(due)); err != nil {
				return err
			}
		}
		body, err := json.Marshal(t)
		if err != nil {
			return err
		}
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			if err = a.post(ctx, body); err == nil {
				break
			}
			var refused refusal
			if errors.As(err, &refused) {
				return fmt.Errorf("tick %s: %w", t.ID, err)
			}
			a.repeat()
			if err := pause(ctx, wait); err != nil {
				return err
			}
		}
	}
	return nil
}

// refusal is an answer that says that the request is wrong: another try would not help.
type refusal struct{ error }

func (a *analyst) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.gateway+"/v1/ticks", bytes.NewReader(body))
	if err != nil {
		return refusal{err}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	switch {
	case resp.StatusCode/100 == 2:
		return nil // the headers say that it is in the topic, whatever became of the body
	case resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout:
		return refusal{fmt.Errorf("%s: %.300s", resp.Status, text)}
	case err != nil:
		return err
	}
	return errors.New(resp.Status)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
