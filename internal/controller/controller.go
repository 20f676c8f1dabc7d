// Package controller runs the one loop that turns notices and watch events into
// effects. It owns the goroutines, the clock and the log; it decides nothing:
// every decision is drain.State's. What it needs from outside it declares here.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Source is where notices come from.
type Source interface {
	// Run emits every notice that it reads, until ctx ends. Emit may be called
	// concurrently. It returns nil only when the notice is durable, or asks for
	// nothing; only then may the source let go of it. It returns an error that
	// matches interruption.ErrNotOurs when the instance is no node of this cluster,
	// and ctx's error when it ends first. Trouble with the outside is the source's
	// to retry: Run returns an error only when it can never work.
	Run(ctx context.Context, emit func(context.Context, interruption.Notice) error) error
}

// Cluster is the Kubernetes API, as far as the loop needs it.
type Cluster interface {
	// Watch sends what the cluster holds and then what changes, until ctx ends. One
	// Update is Synced: it is the first after everything has been listed once.
	Watch(ctx context.Context, updates chan<- cluster.Update) error
	// Do carries out one effect. It is called concurrently, and every effect may be
	// done twice. The error explains an outcome other than drain.Done and
	// drain.Missing.
	Do(ctx context.Context, e drain.Effect) (drain.Outcome, error)
}

// Hooks answers Auto Scaling groups that wait for a node to be emptied. Both
// methods may be called twice for the same hook, and concurrently. They return
// nil also when nobody waits any more: the group has gone on without us.
type Hooks interface {
	// Heartbeat asks for the hook's time to start anew.
	Heartbeat(ctx context.Context, h interruption.Hook) error
	// Complete says that the instance may be terminated.
	Complete(ctx context.Context, h interruption.Hook) error
}

// Meter is told what happened, to count it.
type Meter interface {
	Notice(n interruption.Notice, answer drain.Reason, waited time.Duration)
	Effect(e drain.Effect, o drain.Outcome, sinceNotice time.Duration)
	Step(took time.Duration)
	Synced()
}

// Observer is told what happens to interruptions. Observe is called by the loop
// and must return at once: whoever has something slow to do queues it.
type Observer interface {
	Observe(e drain.Event)
}

// Turn says when this process is the one that acts. Others may run beside it: they
// watch the cluster and wait for their turn.
type Turn interface {
	// Lead calls work whenever a turn begins, with a context that ends with it, and
	// waits for work to return before the turn is given away. It returns nil when ctx
	// ends and an error when there can be no turn, or when work returns one.
	Lead(ctx context.Context, work func(context.Context) error) error
}

// Config holds a Controller's settings.
type Config struct {
	Policy drain.Policy
	// Concurrency bounds the API requests under way: half are kept for storing
	// Records, so that a cordon never waits behind evictions. If zero, defaults to 64.
	Concurrency int
	// Timeout bounds one API request. If zero, defaults to 5 s.
	Timeout time.Duration
	// Hooks answers lifecycle hooks. If nil, they run into their timeouts.
	Hooks Hooks
	Log   *slog.Logger
	Meter Meter
	// Observers are told of every event, in this order.
	Observers []Observer
	// Changes, if set, is told of every change of the cluster, in a standby too. It
	// is called by the loop and must return at once.
	Changes func([]cluster.Change)
	// Turn says when to act. If nil, this process is the only one and always does.
	Turn Turn
}

// Controller is the loop. Use New to make one.
type Controller struct {
	cluster Cluster
	sources []Source
	cfg     Config

	notices chan request
	results chan drain.Result
	updates chan cluster.Update
	turns   chan *turn
	stores  *lane
	others  *lane
}

// turn is one stretch of time in which this process acts.
type turn struct {
	ctx  context.Context
	over chan struct{} // closed by the loop when nothing of the turn is under way any more
}

type request struct {
	notice interruption.Notice
	reply  chan drain.Reason // buffered: the loop never waits for a source
	asked  time.Time
}

// New returns a Controller for a cluster that listens to the sources.
func New(c Cluster, sources []Source, cfg Config) *Controller {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 64
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	half := max(cfg.Concurrency/2, 1)
	return &Controller{
		cluster: c, sources: sources, cfg: cfg,
		notices: make(chan request),
		results: make(chan drain.Result, cfg.Concurrency),
		updates: make(chan cluster.Update, 16),
		turns:   make(chan *turn),
		stores:  &lane{most: half},
		others:  &lane{most: half},
	}
}

// Run works until ctx ends, and returns when everything that it started has. It
// may be stopped at any moment, and killed: see package drain.
func (c *Controller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := c.cluster.Watch(ctx, c.updates); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watching the cluster: %w", err)
		}
		return nil
	})
	g.Go(func() error { c.loop(ctx); return nil })
	g.Go(func() error {
		if c.cfg.Turn == nil {
			return c.act(ctx)
		}
		return c.cfg.Turn.Lead(ctx, c.act)
	})
	return g.Wait()
}

// act is one turn: the sources run, and the loop decides. Until then and
// afterwards the loop only keeps up with the cluster, so that a turn can begin at
// once.
func (c *Controller) act(ctx context.Context) error {
	t := &turn{ctx, make(chan struct{})}
	select {
	case c.turns <- t:
	case <-ctx.Done():
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range c.sources {
		g.Go(func() error {
			if err := s.Run(ctx, c.emit); err != nil && ctx.Err() == nil {
				return fmt.Errorf("reading notices: %w", err)
			}
			return nil
		})
	}
	g.Go(func() error { <-ctx.Done(); return nil })
	if err := g.Wait(); err != nil {
		return err // the whole ends with it, and the loop too
	}
	<-t.over
	return nil
}

// emit is what sources call. It hands the notice to the loop and waits until the
// loop says what became of it.
func (c *Controller) emit(ctx context.Context, n interruption.Notice) error {
	r := request{n, make(chan drain.Reason, 1), time.Now()}
	select {
	case c.notices <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case why := <-r.reply:
		c.cfg.Meter.Notice(n, why, time.Since(r.asked))
		if why == drain.NotOurs {
			return fmt.Errorf("instance %s: %w", n.Instance, interruption.ErrNotOurs)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loop owns the State and the Cluster: nothing else touches them. Four things
// can happen: the cluster changed, a notice came, an effect ended, or it is time;
// and a turn may begin or end. Whatever has come up meanwhile is taken in
// together, so that one Step sees as much as there is to see.
//
// A turn begins with a new State: what the last one remembered is what others may
// have changed since.
func (c *Controller) loop(ctx context.Context) {
	var (
		state   = drain.NewState(c.cfg.Policy)
		in      = drain.Input{Cluster: cluster.New()}
		waiting = make(map[uint64]request)
		token   uint64
		synced  bool
		rests   pace
		timer   = time.NewTimer(time.Hour)
		workers sync.WaitGroup
		now     *turn           // nil while it is not our turn
		ended   <-chan struct{} // of the turn's context
	)
	defer timer.Stop()

	begin := func(t *turn) {
		now, ended = t, t.ctx.Done()
		state = drain.NewState(c.cfg.Policy)
		in.Notices, in.Results = nil, nil
		clear(waiting) // who waited for an answer went with the last turn
		if !synced {
			c.cfg.Log.Info("it is our turn; reading the cluster first")
		}
	}
	end := func() {
		if now == nil {
			return
		}
		workers.Wait() // their context has ended
		for len(c.results) > 0 {
			<-c.results
		}
		close(now.over)
		now, ended = nil, nil
	}
	defer end()

	update := func(u cluster.Update) {
		for _, ch := range u.Changes {
			in.Cluster.Apply(ch)
		}
		if c.cfg.Changes != nil {
			c.cfg.Changes(u.Changes)
		}
		if u.Synced && !synced {
			synced = true
			c.cfg.Meter.Synced()
			c.cfg.Log.Info("the cluster is known; working")
		}
	}
	notice := func(r request) {
		token++
		waiting[token] = r
		in.Notices = append(in.Notices, drain.Received{Token: token, Notice: r.notice})
	}
	result := func(r drain.Result) { in.Results = append(in.Results, r) }

	for {
		select {
		case u := <-c.updates:
			update(u)
		case r := <-c.notices:
			notice(r)
		case r := <-c.results:
			result(r)
		case <-timer.C:
		case t := <-c.turns:
			begin(t)
		case <-ended:
			end()
		case <-ctx.Done():
			return
		}
		for more := 256; more > 0; more-- { // bounded: a busy cluster must not keep a Step from happening
			select {
			case u := <-c.updates:
				update(u)
			case r := <-c.notices:
				notice(r)
			case r := <-c.results:
				result(r)
			default:
				more = 0
			}
		}
		if !synced || now == nil {
			continue // what is not known yet could look as if it were not there
		}
		if left := rests.left(time.Now()); left > 0 && len(in.Notices) == 0 {
			timer.Reset(left)
			continue
		}
		acting := now.ctx
		in.Now = time.Now()
		out := state.Step(in)
		took := time.Since(in.Now)
		rests.stepped(in.Now, took)
		c.cfg.Meter.Step(took)
		in.Notices, in.Results = nil, nil
		for _, err := range out.Problems {
			c.cfg.Log.Error("reading the state of a drain", "err", err)
		}
		for _, e := range out.Events {
			for _, o := range c.cfg.Observers {
				o.Observe(e)
			}
		}
		for _, e := range out.Effects {
			if e.Kind == drain.Answer {
				r := waiting[e.Token]
				delete(waiting, e.Token)
				c.cfg.Log.Info("notice", "interruption", e.ID, "instance", r.notice.Instance, "kind", r.notice.Kind, "node", e.Node,
					"answer", e.Reason, "deadline", r.notice.Deadline, "waited", time.Since(r.asked).Round(time.Millisecond))
				r.reply <- e.Reason
				continue
			}
			l := c.others
			if e.Kind == drain.Store {
				l = c.stores
			}
			l.add(&workers, func() { c.do(acting, e) })
		}
		if out.Wake.IsZero() {
			timer.Reset(time.Hour)
		} else {
			timer.Reset(time.Until(out.Wake))
		}
	}
}

// do carries out one effect and reports how it ended.
func (c *Controller) do(ctx context.Context, e drain.Effect) {
	if ctx.Err() != nil {
		return // its turn ended while it waited for its place
	}
	call, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	began := time.Now()
	outcome, err := c.carryOut(call, e)
	cancel()
	if ctx.Err() != nil {
		return // nobody waits for the result any more
	}
	c.log(e, outcome, err, time.Since(began))
	c.cfg.Meter.Effect(e, outcome, sinceNotice(e))
	select {
	case c.results <- drain.Result{Effect: e, Outcome: outcome, At: time.Now()}:
	case <-ctx.Done():
	}
}

// carryOut gives an effect to the outside system that it is for.
func (c *Controller) carryOut(ctx context.Context, e drain.Effect) (drain.Outcome, error) {
	var err error
	switch e.Kind {
	case drain.Heartbeat, drain.Complete:
		if c.cfg.Hooks == nil {
			return drain.Refused, errors.New("answering a lifecycle hook: there is no client for Auto Scaling groups")
		}
		if e.Kind == drain.Heartbeat {
			err = c.cfg.Hooks.Heartbeat(ctx, *e.Hook)
		} else {
			err = c.cfg.Hooks.Complete(ctx, *e.Hook)
		}
		if err != nil {
			return drain.Unavailable, err
		}
		return drain.Done, nil
	}
	return c.cluster.Do(ctx, e)
}

// log writes one line for an effect. What will be tried again as a matter of
// course is for those who look closely; of other trouble the first line is enough,
// and the one that says that it is over.
func (c *Controller) log(e drain.Effect, o drain.Outcome, err error, took time.Duration) {
	level := slog.LevelInfo
	switch o {
	case drain.Conflict, drain.Blocked:
		level = slog.LevelDebug
	case drain.Unavailable:
		level = slog.LevelWarn
	case drain.Refused:
		level = slog.LevelError
	}
	if e.Again && level > slog.LevelInfo {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{slog.String("interruption", e.ID), slog.String("node", e.Node), slog.String("reason", string(e.Reason)),
		slog.String("outcome", string(o)), slog.Duration("took", took.Round(time.Millisecond))}
	if e.Pod.Name != "" {
		attrs = append(attrs, slog.String("pod", e.Pod.String()))
	}
	if e.Record != nil {
		attrs = append(attrs, slog.String("instance", string(e.Record.Notice.Instance)), slog.Time("deadline", e.Record.Deadline))
	}
	if e.Grace != nil {
		attrs = append(attrs, slog.Duration("grace", *e.Grace))
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	c.cfg.Log.LogAttrs(context.Background(), level, string(e.Kind), attrs...)
}

// sinceNotice is how long ago the notice was sent whose Record an effect
// stores; zero for other effects.
func sinceNotice(e drain.Effect) time.Duration {
	if e.Record == nil {
		return 0
	}
	return time.Since(e.Record.Notice.Sent)
}
