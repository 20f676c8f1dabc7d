package wrapper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Exit codes of a wrapper whose command did not run, as shells have them.
const (
	exitNotRun   = 126
	exitNotFound = 127
)

// child is the command, in a process group of its own. What it starts and leaves
// behind is adopted, reaped, and killed at the end.
type child struct {
	command []string
	env     []string
	stopSig syscall.Signal
	group   bool // stopSig goes to the whole group
	cfg     Config

	ended chan struct{} // closed when the command itself has ended
	gone  chan struct{} // closed when nothing is left that could be reaped

	mu     sync.Mutex
	pid    int // 0 before start
	status syscall.WaitStatus
	err    error // of starting
}

func newChild(c Config, env []string) *child {
	command := expand(c.Command, c.ChildPort)
	sig := c.StopSignal
	if sig == 0 {
		sig = StopSignal(command)
	}
	return &child{
		command: command, env: env, stopSig: sig, group: c.StopGroup || isShell(command), cfg: c,
		ended: make(chan struct{}), gone: make(chan struct{}),
	}
}

// start starts the command. It may be called once.
func (c *child) start() error {
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that started
		// the child ends. This one does not: it waits here until the last child
		// is gone, and is not given back.
		runtime.LockOSThread()
		adoptOrphans()
		cmd := exec.Command(c.command[0], c.command[1:]...)
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.env, os.Stdin, c.cfg.Stdout, c.cfg.Stderr
		cmd.SysProcAttr = childAttributes()
		err := cmd.Start()
		c.mu.Lock()
		if err != nil {
			c.err = fmt.Errorf("starting %s: %w", c.command[0], err)
			close(c.ended)
			close(c.gone)
		} else {
			c.pid = cmd.Process.Pid
		}
		c.mu.Unlock()
		started <- c.err
		if err == nil {
			c.reap(c.pid)
		}
	}()
	return <-started
}

// reap waits for every child, adopted ones too, until there is none. It is the
// only place that waits.
func (c *child) reap(pid int) {
	defer close(c.gone)
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD: none left
			return
		case got == pid && (status.Exited() || status.Signaled()):
			c.mu.Lock()
			c.status = status
			c.mu.Unlock()
			close(c.ended)
		}
	}
}

func (c *child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// code is the exit code of a command that has ended.
func (c *child) code() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(c.err, exec.ErrNotFound), errors.Is(c.err, os.ErrNotExist):
		return exitNotFound
	case c.err != nil, c.pid == 0:
		return exitNotRun
	case c.status.Signaled():
		return 128 + int(c.status.Signal())
	}
	return c.status.ExitStatus()
}

// signal sends sig to the command, or to its group. A command that has ended gets
// nothing: its number may be somebody else's by now. Its group is still its own.
func (c *child) signal(sig syscall.Signal, group bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.pid == 0:
	case group:
		_ = syscall.Kill(-c.pid, sig)
	case !c.hasEnded():
		_ = syscall.Kill(c.pid, sig)
	}
}

// stop asks the command to end and waits until it has. When ctx ends first, it is
// killed.
func (c *child) stop(ctx context.Context) error {
	if c.hasEnded() {
		return nil
	}
	c.mu.Lock()
	running := c.pid != 0
	c.mu.Unlock()
	if !running {
		return nil
	}
	c.signal(c.stopSig, c.group)
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		c.signal(syscall.SIGKILL, true)
		return fmt.Errorf("%s did not end after %s: killed", c.command[0], SignalName(c.stopSig))
	}
}

// kill makes sure that nothing is left, and returns the exit code of the command.
// Processes that left the group and were adopted end with the container or, where
// the kernel can say who they are, here.
func (c *child) kill() int {
	c.mu.Lock()
	running := c.pid != 0
	c.mu.Unlock()
	if !running {
		return c.code()
	}
	c.signal(syscall.SIGKILL, true)
	<-c.ended
	killAdopted()
	select {
	case <-c.gone:
	case <-time.After(100 * time.Millisecond): // a process in an uninterruptible wait: nobody can end it
	}
	return c.code()
}

// passedOn are the signals that go to the command as they come. SIGTERM and SIGINT
// begin the ending instead.
var passedOn = []os.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}

// forwardSignals passes signals on until ctx ends.
func (c *child) forwardSignals(ctx context.Context) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, passedOn...)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			if s, ok := s.(syscall.Signal); ok {
				c.signal(s, c.group)
			}
		}
	}
}
