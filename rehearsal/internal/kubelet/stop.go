package kubelet

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// minStopWindow is the least time between SIGTERM and SIGKILL, as in a kubelet:
// a container whose preStop hook used up the grace period still gets it. Only a
// pod whose grace period is zero is killed without being asked.
const minStopWindow = 2 * time.Second

// stopPhase is how far the end of a run has come.
type stopPhase int

const (
	inHook   stopPhase = iota // its preStop hook runs
	inTurn                    // a sidecar that waits for those that it serves
	signaled                  // SIGTERM was sent
	killed                    // SIGKILL was sent
)

// stop is the end of a run under way.
type stop struct {
	phase    stopPhase
	deadline time.Time // the grace period's end
	window   time.Time // minStopWindow's end, once signaled
	endHook  context.CancelFunc
}

// next is when the phase is over if nothing happens before.
func (s *stop) next() time.Time {
	if s.deadline.Before(s.window) {
		return s.window
	}
	return s.deadline
}

// stop begins to end the container's run within a grace period. Called again, it
// can only bring the deadline forward.
func (w *worker) stop(c *container, deadline time.Time) {
	r := c.run
	switch {
	case r == nil:
		return
	case r.stop != nil:
		if deadline.Before(r.stop.deadline) {
			r.stop.deadline = deadline
		}
	default:
		r.endChecks() // readiness goes on: it tells when the container stops serving
		r.stop = &stop{phase: inTurn, deadline: deadline, endHook: func() {}}
		w.event(c, "Killing", "Stopping container "+c.spec.Name)
		if l := c.spec.Lifecycle; l != nil && l.PreStop != nil && deadline.After(w.now) {
			var ctx context.Context
			r.stop.phase = inHook
			ctx, r.stop.endHook = context.WithCancel(r.ctx)
			w.task(func() {
				err := r.reach.hook(ctx, l.PreStop)
				w.post(func() { w.hookDone(c, r, err) })
			})
		}
	}
	w.advance(c)
}

func (w *worker) hookDone(c *container, r *run, err error) {
	if c.run != r || r.stop.phase != inHook {
		return // it has ended, or the hook ran out of time
	}
	if err != nil {
		w.warn(c, "FailedPreStopHook", fmt.Sprintf("PreStopHook failed: %v", err))
	}
	r.stop.phase = inTurn
	w.advance(c)
}

// advance takes a run that is being stopped as far as it is time for.
func (w *worker) advance(c *container) {
	if c.run == nil || c.run.stop == nil || c.run.stop.phase == killed {
		return
	}
	s := c.run.stop
	late := !w.now.Before(s.next())
	if w.end != nil && w.end.atOnce || late && s.phase == signaled {
		s.phase = killed
		s.endHook()
		w.log.Debug("container killed", "container", c.spec.Name)
		w.n.signal(c.run.process, syscall.SIGKILL)
		return
	}
	if late && s.phase == inHook {
		w.warn(c, "FailedPreStopHook", "PreStopHook did not complete within the grace period")
		s.endHook()
		s.phase = inTurn
	}
	if s.phase == inTurn && (late || w.turn(c)) {
		s.phase = signaled
		s.window = w.now.Add(minStopWindow)
		w.n.signal(c.run.process, stopSignal(c.spec))
	}
	w.wakeAt(s.next())
}

// turn reports whether the container may be signaled: a sidecar serves the main
// containers and the sidecars after it, so while the pod ends it outlives them.
func (w *worker) turn(c *container) bool {
	if c.kind != sidecar || w.end == nil {
		return true
	}
	after := w.inits[slices.Index(w.inits, c)+1:]
	return !anyAlive(w.mains) && !anyAlive(after)
}

// stopSignal is what asks the container to end.
func stopSignal(c *corev1.Container) syscall.Signal {
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		if sig := unix.SignalNum(string(*c.Lifecycle.StopSignal)); sig != 0 {
			return sig
		}
	}
	return syscall.SIGTERM
}
