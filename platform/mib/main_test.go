package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const hung = 2 * time.Minute

// output is what a command has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits for a line and returns what its group matched.
func (o *output) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(hung); ; time.Sleep(10 * time.Millisecond) {
		if m := re.FindStringSubmatch(o.String()); m != nil {
			return m[len(m)-1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("hung: no %q in\n%s", pattern, o)
		}
	}
}

// everything runs up in a folder until stop is called.
func everything(t *testing.T, dir string) (server, brokers string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var out output
	done := make(chan error, 1)
	go func() {
		done <- up(ctx, upOptions{data: dir, listen: "127.0.0.1:0", broker: "127.0.0.1:0"}, func(string) string { return "" }, &out)
	}()
	server = "http://" + out.await(t, `API at http://(\S+)`)
	if !strings.Contains(out.String(), "all prices and texts are generated") {
		t.Errorf("it does not say that nothing is real:\n%s", &out)
	}
	return server, out.await(t, `development at (\S+);`), func() {
		cancel()
		select {
		case err := <-done:
			if err != nil || !strings.Contains(out.String(), `"cut":0`) {
				t.Errorf("%v\n%s", err, &out)
			}
		case <-time.After(hung):
			t.Fatal("hung: up does not end")
		}
	}
}

func command(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, &out, &errs); code != 0 {
		t.Fatalf("mib %q: %d %s", args, code, &errs)
	}
	return out.String()
}

// The whole program, without data: it plays history, shows alerts, answers, and
// after a restart it answers the same and still has the alerts.
func TestEverything(t *testing.T) {
	t.Setenv("EVENKEEL_DATA", "")
	dir := t.TempDir()
	server, brokers, stop := everything(t, dir)
	if got := command(t, "replay", "--brokers", brokers, "--from", "2008-08", "--to", "2009-06", "--speed", "max", "--feed", "history"); !strings.Contains(got, "as feed history") {
		t.Errorf("replay: %s", got)
	}
	ask := []string{"ask", "--server", server, "crude", "drilling"}
	answer := command(t, ask...)
	for _, want := range []string{"none of it was observed", "synthetic, generated from a seed", "WTI", "It is not a prediction", "Northern Drilling Corp"} {
		if !strings.Contains(answer, want) {
			t.Errorf("ask does not say %q:\n%s", want, answer)
		}
	}
	if got := command(t, "similar", "--server", server, "WTI", "--at", "2008-10-15"); !strings.Contains(got, "of 10 episodes the price was higher") {
		t.Errorf("similar: %s", got)
	}
	watch := func(server string) string {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var out output
		done := make(chan int, 1)
		go func() { done <- run(ctx, []string{"watch", "--server", server, "--all"}, &out, &out) }()
		first := out.await(t, `(?m)^(\d{4}-\d\d-\d\d  (anomaly|mover|regime) .*\[history; synthetic.*\])$`)
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("watch: %d %s", code, &out)
		}
		return first
	}
	watch(server)
	stop()

	server, _, stop = everything(t, dir)
	defer stop()
	ask[2] = server
	if again := command(t, ask...); again != answer {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", again, answer)
	}
	watch(server)
}

func TestMistakesHaveAHint(t *testing.T) {
	t.Setenv("EVENKEEL_DATA", "")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"ask", "--server", "http://127.0.0.1:1", "x"}, "start mib up"},
		{[]string{"replay", "--brokers", "127.0.0.1:1"}, "start mib up"},
		{[]string{"ask"}, "at least 1 arg"},
		{[]string{"replay", "--from", "August"}, "a month like 2008-08"},
		{[]string{"replay", "--speed", "fast"}, "write 5000x, or max"},
		{[]string{"replay", "--from", "1901-01", "--to", "1902-01"}, "no prices"},
		{[]string{"eval"}, "EVENKEEL_DATA"},
		{[]string{"up", "--embed-url", "http://127.0.0.1:1", "--data", t.TempDir(), "--broker-listen", "127.0.0.1:0"}, "--embed-model"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), c.args, &out, &errs); code != 1 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("mib %q: %d %s", c.args, code, &errs)
		}
	}
}
