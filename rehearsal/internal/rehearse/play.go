package rehearse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"golang.org/x/sync/errgroup"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/cloud"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/load"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/scenario"
)

// target is where the load goes: the service's address, as every client of the
// platform has it.
func (s *stage) target() (netip.AddrPort, bool) {
	return s.proxy.Addr(s.Platform.Namespace, s.Platform.FrontDoor, "http")
}

// probe asks the platform once.
func (s *stage) probe(ctx context.Context) error {
	addr, ok := s.target()
	if !ok {
		return errors.New("the service has no address")
	}
	// Each on a connection of its own, and often enough that every replica is asked: one
	// whose breaker is still open from the start of what is behind it would refuse the load.
	for range 8 {
		for _, path := range s.LoadProfile.Gets() {
			if err := get(ctx, "http://"+addr.String()+path); err != nil {
				return err
			}
		}
	}
	return nil
}

func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// play puts load on the platform, plays the plan and returns what was found.
func (s *stage) play(ctx context.Context, g *errgroup.Group) (*report.Handler, error) {
	addr, _ := s.target()
	l := s.Scenario.Load
	s.load = load.New(load.Config{
		Target: "http://" + addr.String(), Rate: l.Rate, Profile: s.LoadProfile, PostShare: l.PostShare, NewConnShare: l.NewConnShare,
		Timeout: l.Timeout, Seed: s.Scenario.Seed, RunID: s.handler,
	})
	s.phase.setLoad(s.load, s.observer, s.Scenario.Real(s.Plan.End))
	s.phase.set("load")
	loading, endLoad := context.WithCancel(ctx)
	defer endLoad()
	done := make(chan error, 1)
	began, err := s.observer.Begin(ctx)
	if err != nil {
		return nil, err
	}
	g.Go(func() error { done <- s.load.Run(loading); return nil })
	if err := s.apply.ApplyAll(ctx, s.Platform.jobs); err != nil {
		return nil, err
	}

	if err := s.playEvents(ctx, g, began); err != nil {
		return nil, err
	}
	if err := s.awaitJobs(ctx); err != nil {
		return nil, err
	}
	endLoad()
	s.phase.set("adding up")
	select {
	case err := <-done:
		if err != nil {
			return nil, fmt.Errorf("generating load: %w", err)
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.collect(ctx)
}

// jobsTime is how long after the plan's end Jobs may go on. Whatever has not been
// done by then is missing.
const jobsTime = 3 * time.Minute

// awaitJobs waits, under load, until all Jobs have ended or their time is over.
func (s *stage) awaitJobs(ctx context.Context) error {
	if len(s.Platform.jobs) == 0 {
		return nil
	}
	s.phase.set("letting Jobs end")
	end := time.Now().Add(jobsTime)
	for time.Now().Before(end) {
		jobs, err := s.client.BatchV1().Jobs(s.Platform.Namespace).List(ctx, metav1.ListOptions{})
		if err == nil && !slices.ContainsFunc(jobs.Items, func(j batchv1.Job) bool { return !ended(&j) }) {
			return nil
		}
		if err := sleepUntil(ctx, time.Now().Add(500*time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}

// ended reports whether a Job has completed or failed.
func ended(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
}

// playEvents plays the plan against the clock, faults with it.
func (s *stage) playEvents(ctx context.Context, g *errgroup.Group, began time.Time) error {
	var faults sync.WaitGroup
	defer faults.Wait()
	reclaimed := time.Duration(-1) // when the last reclaim began: its pools get notice at one moment
	for _, e := range s.Plan.Events {
		if err := sleepUntil(ctx, began.Add(s.Scenario.Real(e.At))); err != nil {
			return err
		}
		switch e.Kind {
		case scenario.Notice:
			if e.At != reclaimed {
				reclaimed = e.At
				if err := s.startFaults(ctx, &faults); err != nil {
					return err
				}
			}
			if err := s.notice(e); err != nil {
				return err
			}
		case scenario.Kill:
			for _, name := range e.Nodes {
				if err := s.kill(name); err != nil {
					return err
				}
			}
		case scenario.Join:
			for _, name := range e.Nodes {
				if err := s.join(ctx, g, scenario.Node{Name: name, Pool: e.Pool}); err != nil {
					return err
				}
			}
		}
	}
	return sleepUntil(ctx, began.Add(s.Scenario.Real(s.Plan.End)))
}

// startFaults makes go wrong what is to go wrong at a reclaim, just before its
// notices are sent.
func (s *stage) startFaults(ctx context.Context, running *sync.WaitGroup) error {
	seed := s.rand.Uint64()
	if f, ok := has(s.Faults, APIServerStop); ok {
		s.observer.Mark("fault", "the API server stops")
		if err := s.plane.Kill(controlplane.APIServer); err != nil {
			return err
		}
		running.Go(func() { s.startAPIServerAfter(ctx, f.Duration) })
	}
	if _, ok := has(s.Faults, ControllerKill); ok && s.handler == Evenkeel {
		running.Go(func() { s.killController(ctx, seed) })
	}
	return nil
}

// notice announces the end of machines as EventBridge does: one event each, all
// in the same second.
func (s *stage) notice(e scenario.Event) error {
	now := time.Now()
	for _, name := range e.Nodes {
		id := fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", s.rand.Uint32(), s.rand.Uint32N(1<<16), s.rand.Uint32N(1<<16), s.rand.Uint32N(1<<16), s.rand.Uint64N(1<<48))
		body := cloud.SpotInterruptionWarning(id, s.Scenario.Region, account, s.instances[name], now)
		s.observer.Noticed(name, now.Add(s.Scenario.Real(s.Scenario.NoticeLead)))
		copies := 1
		if _, ok := has(s.Faults, DuplicateNotices); ok {
			copies = 2
		}
		for range copies {
			if err := s.cloud.Send(queueName, string(body)); err != nil {
				return fmt.Errorf("sending the notice of %s: %w", name, err)
			}
		}
	}
	return nil
}

// kill takes a machine's power away.
func (s *stage) kill(name string) error {
	lost, err := s.kubelet.Reclaim(name)
	if err != nil {
		return fmt.Errorf("taking node %s away: %w", name, err)
	}
	uids := make([]string, 0, len(lost))
	for _, p := range lost {
		uids = append(uids, string(p.UID))
	}
	s.observer.Gone(name, uids)
	s.cloud.Terminate(s.instances[name])
	return nil
}

// join adds a machine. While the API server is away, as a fault may have it, the
// machine keeps trying to register, as a kubelet does.
func (s *stage) join(ctx context.Context, g *errgroup.Group, n scenario.Node) error {
	register, err := s.startMachine(n)
	if err != nil {
		return err
	}
	g.Go(func() error {
		for {
			err := register(ctx)
			if !utilnet.IsConnectionRefused(err) {
				return err
			}
			if sleepUntil(ctx, time.Now().Add(500*time.Millisecond)) != nil {
				return nil
			}
		}
	})
	return nil
}

func (s *stage) startAPIServerAfter(ctx context.Context, d time.Duration) {
	if sleepUntil(ctx, time.Now().Add(d)) != nil {
		return
	}
	if err := s.plane.Start(ctx, controlplane.APIServer); err != nil && ctx.Err() == nil {
		s.log.Error("starting the API server again", "err", err)
		return
	}
	s.observer.Mark("fault", "the API server is back")
}

// killController kills the controller's process twice in a drain: while it works
// through the notices, and while it waits for replacements.
func (s *stage) killController(ctx context.Context, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 4))
	began := time.Now()
	for _, within := range []time.Duration{1500 * time.Millisecond, 6 * time.Second} {
		at := began.Add(time.Duration(random.Int64N(int64(within))))
		if sleepUntil(ctx, at) != nil {
			return
		}
		pods, err := s.client.CoreV1().Pods(s.Platform.Namespace).List(ctx, metav1.ListOptions{LabelSelector: nameLabel + "=" + s.Platform.Controller})
		if err != nil || len(pods.Items) == 0 {
			s.log.Warn("looking for the controller to kill", "err", err)
			continue
		}
		if err := s.kubelet.KillContainer(s.Platform.Namespace, pods.Items[0].Name, s.Platform.Controller); err != nil {
			s.log.Info("the controller was not running when it was to be killed", "err", err)
			continue
		}
		s.observer.Mark("fault", "the controller is killed")
	}
}

func sleepUntil(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
