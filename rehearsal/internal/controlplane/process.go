package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is one life of a role.
type process struct {
	role Role
	cmd  *exec.Cmd

	asked bool          // its end was asked for; owned by ControlPlane.mu
	done  chan struct{} // closed once the process is gone and waited for
}

// startRole starts a role's process and returns when the role is ready.
// When it returns an error the process may still run: Stop or Close ends it.
func (c *ControlPlane) startRole(ctx context.Context, role Role) error {
	begin := time.Now()
	if role == Etcd { // left by its last life
		if err := os.Remove(filepath.Join(c.layout.run(), EtcdReadyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	p, err := c.spawn(role)
	if err != nil {
		return fmt.Errorf("starting %s: %w", role, err)
	}
	if err := c.await(ctx, func(ctx context.Context) error { return c.ready(ctx, role) }); err != nil {
		return fmt.Errorf("waiting for %s to be ready: %w", role, err)
	}
	c.log.Info("role ready", "role", string(role), "pid", p.cmd.Process.Pid, "after", time.Since(begin).Round(time.Millisecond))
	return nil
}

// spawn starts a role's process and the goroutine that waits for its end.
func (c *ControlPlane) spawn(role Role) (*process, error) {
	log, err := os.OpenFile(c.layout.log(role), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own

	cmd := exec.Command(c.cfg.Executable, append([]string{roleWord + string(role)}, c.args(role)...)...)
	cmd.Dir = c.layout.run()
	cmd.Stdout, cmd.Stderr = log, log
	if err := c.nursery.start(cmd); err != nil {
		return nil, err
	}
	p := &process{role: role, cmd: cmd, done: make(chan struct{})}
	c.mu.Lock()
	c.procs[role] = p
	c.mu.Unlock()
	go func() {
		cmd.Wait() // ProcessState says it all
		c.mu.Lock()
		asked := p.asked
		c.mu.Unlock()
		if !asked {
			c.end(fmt.Errorf("%s ended by itself: %s; the end of %s:\n%s",
				role, cmd.ProcessState, c.layout.log(role), tail(c.layout.log(role))))
		}
		close(p.done)
	}()
	return p, nil
}

// await asks probe until it answers something else than errNotYet. It gives up
// when ctx ends, when any role ends by itself, and when it has taken so long
// that something must hang.
func (c *ControlPlane) await(ctx context.Context, probe func(context.Context) error) error {
	hung := fmt.Errorf("nothing happened for %v; the logs are in %s", readyTimeout, c.layout.logs())
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, hung)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != errNotYet {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.done:
			return c.Err()
		case <-tick.C:
		}
	}
}

// PID returns the process id of a role, or 0 while it is stopped.
func (c *ControlPlane) PID(role Role) int {
	if p := c.running(role); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// running returns a role's process, or nil if there is none.
func (c *ControlPlane) running(role Role) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.procs[role]
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
		return p
	}
}

// Stop asks a role to end, as an orderly restart of its machine does, kills it
// if that takes more than five seconds, and returns when it is gone. Its port stays
// reserved: connections to it are refused until Start. Stopping a role that
// does not run does nothing.
func (c *ControlPlane) Stop(role Role) error {
	c.opMu.Lock()
	defer c.opMu.Unlock()
	return c.stop(role, syscall.SIGTERM)
}

// Kill is Stop without asking: the role dies as in a crash.
func (c *ControlPlane) Kill(role Role) error {
	c.opMu.Lock()
	defer c.opMu.Unlock()
	return c.stop(role, syscall.SIGKILL)
}

func (c *ControlPlane) stop(role Role, sig syscall.Signal) error {
	p := c.running(role)
	if p == nil {
		return nil
	}
	c.mu.Lock()
	p.asked = true
	c.mu.Unlock()
	// An error means that it ended at this very moment.
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", role, err)
	}
	kill := time.AfterFunc(c.grace, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	<-p.done
	return nil
}

// Start starts a stopped role again, at the same address, with the same
// certificates and data, and returns when it is ready. Starting a role that
// runs does nothing. When Start fails the role is stopped.
func (c *ControlPlane) Start(ctx context.Context, role Role) error {
	c.opMu.Lock()
	defer c.opMu.Unlock()
	if c.closed {
		return fmt.Errorf("starting %s: %w", role, ErrClosed)
	}
	if c.running(role) != nil {
		return nil
	}
	if err := c.startRole(ctx, role); err != nil {
		return errors.Join(err, c.stop(role, syscall.SIGKILL))
	}
	return nil
}

// Close ends all roles, in the reverse order of their start, and returns when
// they are gone. It leaves the files. Closing twice is harmless.
func (c *ControlPlane) Close() error {
	c.opMu.Lock()
	defer c.opMu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true

	// These two are equals, as in startAll.
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, role := range []Role{Scheduler, ControllerManager} {
		wg.Go(func() { errs[i] = c.stop(role, syscall.SIGTERM) })
	}
	wg.Wait()
	for _, role := range []Role{APIServer, Etcd} {
		errs = append(errs, c.stop(role, syscall.SIGTERM))
	}
	// Not before: a child dies with the thread of the nursery that started it.
	if c.nursery != nil {
		c.nursery.close()
	}
	for _, p := range c.ports {
		if p != nil {
			p.release()
		}
	}
	c.end(ErrClosed)
	return errors.Join(errs...)
}
