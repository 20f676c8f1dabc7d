package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/load"
)

// What is replaced in the arguments of a copy.
const (
	portMark       = "{port}"
	healthPortMark = "{health-port}"
)

// process is one copy of the command, from its start to its end.
type process struct {
	id     int
	addr   string // of the service
	dir    string // of its notice file
	notice string // path of it; the file does not exist before there is a notice
	ready  string // URL, or empty

	cmd    *exec.Cmd
	ended  chan struct{}  // closed when the process has ended and its output is read
	ledger map[string]int // complete once ended is closed

	// Written by the stage's loop before others may look, guarded by table.mu.
	termination time.Time // when it was told to end; zero before

	endedAt time.Time // valid once ended is closed
}

// startProcess starts a copy on ports of its own.
func startProcess(s *spawner, c Config, id int) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	health, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "evenkeel-conform-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for a copy: %w", err)
	}
	p := &process{
		id: id, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		dir: dir, notice: filepath.Join(dir, "deadline"),
		ended: make(chan struct{}), ledger: make(map[string]int),
	}
	expand := strings.NewReplacer(portMark, strconv.Itoa(port), healthPortMark, strconv.Itoa(health)).Replace
	args := make([]string, len(c.Command))
	for i, a := range c.Command {
		args[i] = expand(a)
	}
	switch ready := expand(c.Ready); {
	case strings.HasPrefix(ready, "/"):
		p.ready = "http://" + p.addr + ready
	default:
		p.ready = ready
	}

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(),
		"PORT="+strconv.Itoa(port), "HEALTH_PORT="+strconv.Itoa(health),
		"EVENKEEL_GRACE_SECONDS="+strconv.FormatFloat(c.Grace.Seconds(), 'f', -1, 64),
		"EVENKEEL_DEADLINE_FILE="+p.notice,
		"TMPDIR="+dir) // what a copy leaves behind when it is killed goes with its folder
	cmd.Stderr = c.Log
	cmd.WaitDelay = time.Second // for standard error, which what the copy leaves behind may hold open
	cmd.SysProcAttr = childAttributes()
	pr, pw, err := os.Pipe()
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("making a pipe for a copy: %w", err)
	}
	cmd.Stdout = pw
	p.cmd = cmd
	err = s.start(cmd)
	_ = pw.Close()
	if err != nil {
		_ = pr.Close()
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%w: starting %s: %w", ErrCommand, args[0], err)
	}
	exited := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer pr.Close()
		out := &output{pipe: pr, exited: exited}
		for e, err := range load.ReadLedger(out, load.Orders) {
			if err != nil {
				break // unreachable: output ends without an error
			}
			p.ledger[e.ID]++
		}
		_, _ = io.Copy(io.Discard, out)
	})
	go func() {
		_ = cmd.Wait() // its error is in ProcessState
		p.endedAt = time.Now()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
		close(exited)
		reading.Wait()
		_ = os.RemoveAll(dir)
		close(p.ended)
	}()
	return p, nil
}

// output is what a copy writes. It ends when the copy has ended and everything has
// been read, even if what the copy left behind holds the pipe open: nothing comes
// for a while then, or more than a pipe holds. However busy this machine is, what
// the copy wrote is read.
type output struct {
	pipe   *os.File
	exited <-chan struct{}
	after  int // bytes that were read after the end of the copy
}

const (
	outputPause = 500 * time.Millisecond
	pipeHolds   = 1 << 20 // bytes, at most, unless root has raised it
)

func (o *output) Read(p []byte) (int, error) {
	for {
		gone := false
		select {
		case <-o.exited:
			gone = true
		default:
		}
		if err := o.pipe.SetReadDeadline(time.Now().Add(outputPause)); err != nil {
			return 0, err // unreachable: pipes have deadlines
		}
		n, err := o.pipe.Read(p)
		if gone {
			o.after += n
		}
		switch {
		case o.after > pipeHolds:
			return 0, io.EOF
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case gone:
			return 0, io.EOF
		}
	}
}

var errEnded = errors.New("it ended before it was ready")

// awaitReady returns when the copy is ready.
func (p *process) awaitReady(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: not ready after %s", ErrCommand, limit))
	defer cancel()
	for {
		if p.askReady(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ended:
			return fmt.Errorf("%w: %w: %s", ErrCommand, errEnded, p.cmd.ProcessState)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) askReady(ctx context.Context) bool {
	if p.ready == "" {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ready, nil)
	if err != nil {
		return false
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode >= 200 && resp.StatusCode <= 299
}

// announce writes the notice file.
func (p *process) announce(deadline time.Time) error {
	temp := p.notice + ".new"
	if err := os.WriteFile(temp, []byte(deadline.UTC().Format(time.RFC3339Nano)+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the notice of a copy: %w", err)
	}
	if err := os.Rename(temp, p.notice); err != nil {
		return fmt.Errorf("writing the notice of a copy: %w", err)
	}
	return nil
}

// kill ends the copy and all of its group, and waits for that.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// code is the exit code of a copy that has ended, as Kubernetes shows it.
func (p *process) code() int {
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// spawner starts processes from one thread that lives as long as it does: the
// kernel kills a process with a parent-death signal when the thread that started
// it ends.
//
// Only one goroutine may use it at a time.
type spawner struct {
	work chan func()
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		for f := range s.work {
			f()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	err := make(chan error, 1)
	s.work <- func() { err <- cmd.Start() }
	return <-err
}

func (s *spawner) close() {
	close(s.work)
	<-s.done
}

// Ports below the range from which the kernel takes those of outgoing connections
// cannot be taken by one of the load's between the choice and the copy's listen.
const firstPort, lastPort = 20000, 32000

// ports is process-wide, so that runs that go on at the same time do not choose the
// same one between the choice and the copy's listen.
var ports struct {
	mu   sync.Mutex
	last int // given out
}

// freePort returns a port on which nobody listens. It goes round, so that no copy
// gets the port of one that has only just ended.
func freePort() (int, error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.last == 0 {
		ports.last = firstPort + rand.IntN(lastPort-firstPort)
	}
	for range lastPort - firstPort {
		if ports.last++; ports.last > lastPort {
			ports.last = firstPort
		}
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(ports.last))
		if err == nil {
			return ports.last, ln.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
	}
	return 0, errors.New("looking for a free port: all are taken")
}
