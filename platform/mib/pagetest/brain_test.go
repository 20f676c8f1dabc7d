package pagetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const hung = 2 * time.Minute

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hung); !ok(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("hung: %s", what)
		}
	}
}

// mib is the program under test.
var mib string

func buildMib(dir string) error {
	mib = filepath.Join(dir, "mib")
	build := exec.Command("go", "build", "-o", mib, ".")
	build.Dir = ".."
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building mib: %w\n%s", err, out)
	}
	return nil
}

// A brain is a mib up, in a process that can be killed and started again.
type brain struct {
	t              *testing.T
	dir, data      string // data is EVENKEEL_DATA
	listen, broker string
	cmd            *exec.Cmd
	out            *os.File
}

// newBrain starts one with generated data.
func newBrain(t *testing.T) *brain { return newBrainWith(t, "") }

func newBrainWith(t *testing.T, data string) *brain {
	b := &brain{t: t, dir: t.TempDir(), data: data, listen: freeAddress(t), broker: freeAddress(t)}
	b.start()
	t.Cleanup(func() { b.end(syscall.SIGTERM) })
	return b
}

// freeAddress returns an address that was free a moment ago: the same one has to be
// listened at again after a restart.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (b *brain) environ() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "EVENKEEL_DATA=") && !strings.HasPrefix(v, "KAFKA_BROKERS=") {
			env = append(env, v)
		}
	}
	return append(env, "EVENKEEL_DATA="+b.data)
}

func (b *brain) start() {
	b.t.Helper()
	out, err := os.CreateTemp(b.dir, "out-")
	if err != nil {
		b.t.Fatal(err)
	}
	b.out = out
	b.cmd = exec.Command(mib, "up", "--data", filepath.Join(b.dir, "data"), "--listen", b.listen, "--broker-listen", b.broker)
	b.cmd.Env, b.cmd.Stdout, b.cmd.Stderr = b.environ(), out, out
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	until(b.t, "mib up", func() bool {
		said, _ := os.ReadFile(out.Name())
		return strings.Contains(string(said), "ready in")
	})
}

func (b *brain) end(signal syscall.Signal) {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Signal(signal)
	if err := b.cmd.Wait(); err != nil && signal != syscall.SIGKILL {
		said, _ := os.ReadFile(b.out.Name())
		b.t.Errorf("mib up: %v\n%s", err, said)
	}
	_ = b.out.Close()
	b.cmd = nil
}

// replay plays prices into a feed until it is done or ctx ends.
func (b *brain) replay(ctx context.Context, feed, from, to, speed string) error {
	c := exec.CommandContext(ctx, mib, "replay", "--brokers", b.broker, "--from", from, "--to", to, "--speed", speed, "--feed", feed)
	c.Env = b.environ()
	if out, err := c.CombinedOutput(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("mib replay: %w: %s", err, out)
	}
	return nil
}

// alerts returns the ids of the alerts that the server keeps, in their order: what a
// client would see that was never cut off.
func (b *brain) alerts() []string {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.listen+"/v1/alerts?after=-1", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	// What is there comes at once; then the stream is quiet.
	quiet := time.AfterFunc(2*time.Second, cancel)
	var ids []string
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a struct{ ID, Kind string }
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && json.Unmarshal([]byte(data), &a) == nil && a.Kind != "" {
			ids = append(ids, a.ID)
			quiet.Reset(time.Second)
		}
	}
	return ids
}

// A line is what lies between the page and the server. It can be cut anywhere, also in
// the middle of an event, and then connects nobody until it is mended.
type line struct {
	ln     net.Listener
	target string
	broken atomic.Bool
	mu     sync.Mutex
	open   map[net.Conn]bool
}

func newLine(t *testing.T, target string) *line {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{ln: ln, target: target, open: make(map[net.Conn]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil || !l.add(in, out) {
				_ = in.Close()
				if out != nil {
					_ = out.Close()
				}
				continue
			}
			wg.Go(func() { _, _ = io.Copy(out, in); l.close(in, out) })
			wg.Go(func() { _, _ = io.Copy(in, out); l.close(in, out) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); l.cut(); wg.Wait() })
	return l
}

func (l *line) url() string { return "http://" + l.ln.Addr().String() }

func (l *line) add(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken.Load() {
		return false
	}
	for _, c := range conns {
		l.open[c] = true
	}
	return true
}

func (l *line) close(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(l.open, c)
	}
}

// cut resets every connection and refuses new ones.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken.Store(true)
	for c := range l.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(l.open)
}

func (l *line) mend() { l.broken.Store(false) }
