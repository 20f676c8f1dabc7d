package conform

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// noticeLead is what a copy has between the latest moment at which it has to begin
// to end, and the notice: deadline = notice + grace + noticeLead.
const noticeLead = 3 * time.Second

// stage is one run of copies, balancer and load under the same conditions.
type stage struct {
	cfg     Config
	sc      stageConfig
	index   int
	spawner *spawner

	table    *table
	l7       *l7 // only on layer 7
	records  records
	streams  map[string]*streamStats
	exits    []Exit
	running  []*process // owned by run
	started  time.Time
	overload int // requests that were due and not sent; owned by the load
}

func newStage(c Config, sc stageConfig, s *spawner, index int) *stage {
	return &stage{cfg: c, sc: sc, index: index, spawner: s, table: newTable(c.Seed + uint64(index)), streams: make(map[string]*streamStats)}
}

// run plays the stage. When it returns, nothing that it started is left.
func (s *stage) run(ctx context.Context, progress func(Progress)) (StageResult, error) {
	s.started = time.Now()
	defer s.killAll()
	for range s.cfg.Copies {
		if _, err := s.start(); err != nil {
			return StageResult{}, err
		}
	}
	for _, p := range slices.Clone(s.running) {
		p, err := s.ready(ctx, p)
		if err != nil {
			return StageResult{}, err
		}
		s.table.add(p)
	}

	load := func(context.Context) {}
	if s.sc.protocol != none {
		cl, closeClient, err := s.client()
		if err != nil {
			return StageResult{}, err
		}
		defer closeClient()
		if err := s.tryOut(ctx, cl); err != nil {
			return StageResult{}, err
		}
		load = func(ctx context.Context) { s.load(ctx, cl) }
	}

	loadCtx, stopLoad := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stopLoad()
	loaded := make(chan struct{})
	background.Go(func() {
		defer close(loaded)
		load(loadCtx)
	})
	s.follow(loadCtx, &background)
	background.Go(func() { s.report(loadCtx, progress) })

	if err := s.terminations(loadCtx); err != nil {
		return StageResult{}, err
	}
	stopLoad()
	<-loaded // with the requests in flight
	s.countUnexpected()
	s.killAll()
	if err := ctx.Err(); err != nil {
		return StageResult{}, err
	}
	return s.result(), nil
}

func (s *stage) start() (*process, error) {
	s.table.mu.Lock()
	id := len(s.table.all)
	s.table.mu.Unlock()
	p, err := startProcess(s.spawner, s.cfg, id)
	if err != nil {
		return nil, err
	}
	s.table.mu.Lock()
	s.table.all = append(s.table.all, p)
	s.table.mu.Unlock()
	s.running = append(s.running, p)
	return p, nil
}

// startTries is how often a copy is started that ends before it is ready: somebody
// else may have taken its port between the choice and its listen.
const startTries = 3

// ready waits until the copy is ready, or the one that was started in its place.
func (s *stage) ready(ctx context.Context, p *process) (*process, error) {
	for try := 1; ; try++ {
		err := p.awaitReady(ctx, s.cfg.StartLimit)
		if !errors.Is(err, errEnded) || try == startTries {
			return p, err
		}
		s.running = slices.DeleteFunc(s.running, func(q *process) bool { return q == p })
		if p, err = s.start(); err != nil {
			return nil, err
		}
	}
}

func (s *stage) killAll() {
	for _, p := range s.running {
		p.kill()
	}
	s.running = nil
}

// client returns how requests are sent in this stage.
func (s *stage) client() (cl client, closeAll func(), err error) {
	switch {
	case s.sc.balancer == L7:
		s.l7 = newL7(s.table, s.cfg.retries)
		addrs, closeBalancer, err := s.l7.listen()
		if err != nil {
			return nil, nil, err
		}
		cl = &http1Client{max: s.kept(), dial: dialTo(addrs)}
		return cl, func() { cl.close(); closeBalancer() }, nil
	case s.sc.protocol == http1:
		cl = &http1Client{max: s.kept(), dial: s.table.dial}
	case s.sc.protocol == grpc:
		cl = newHTTP2Client(s.table, s.cfg.Replay, s.cfg.Call)
	default:
		cl = newHTTP2Client(s.table, s.cfg.Replay, "")
	}
	return cl, cl.close, nil
}

// requests is how many are sent, at least.
func (s *stage) requests() int {
	if s.sc.protocol == none {
		return 0
	}
	return s.cfg.Requests
}

// whole is how long that takes.
func (s *stage) whole() time.Duration {
	if s.requests() == 0 {
		return 0
	}
	return time.Duration(float64(s.requests()) / s.sc.rate * float64(time.Second))
}

// kept is how many connections clients keep: enough for the rate, or most requests
// would have one of their own.
func (s *stage) kept() int { return max(s.cfg.Clients, int(s.sc.rate/10)) }

// tryOut sends one request before anything is terminated.
func (s *stage) tryOut(ctx context.Context, cl client) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	for _, k := range []kind{get, post} {
		if k == post && (s.cfg.Post == "" || s.sc.protocol == grpc) {
			break
		}
		r := s.request(-1-int(k), k, nil)
		a, err := cl.do(ctx, r)
		if cause := causeOf(a, err); cause != "" {
			if err == nil {
				err = fmt.Errorf("answered with status %d", a.status)
			}
			what := methodOf(k) + " " + r.path
			if s.sc.protocol == grpc {
				what = s.cfg.Call
			}
			return fmt.Errorf("%w: %s over %s fails before anything is terminated: %w", ErrCommand, what, s.sc.protocol, err)
		}
	}
	return nil
}

// follow opens the streams of the stage.
func (s *stage) follow(ctx context.Context, wg *sync.WaitGroup) {
	if !s.sc.streams {
		return
	}
	open := func(name string, f func() func(context.Context, *streamStats) error) {
		stats := &streamStats{}
		s.streams[name] = stats
		for range s.cfg.Streams {
			one := f()
			wg.Go(func() { follow(ctx, stats, one) })
		}
	}
	if s.sc.protocol == grpc {
		open("gRPC", func() func(context.Context, *streamStats) error { return grpcStream(s.table, s.cfg.Watch) })
		return
	}
	if s.cfg.SSE != "" {
		open("SSE", func() func(context.Context, *streamStats) error { return eventStream(s.table, s.cfg.SSE) })
	}
	if s.cfg.WebSocket != "" {
		open("WebSocket", func() func(context.Context, *streamStats) error { return webSocket(s.table, s.cfg.WebSocket) })
	}
}

// terminations ends one copy after the other, spread over the time that the
// requests take.
func (s *stage) terminations(ctx context.Context) error {
	begin := time.Now()
	whole := s.whole()
	for n := range s.cfg.Terminations {
		// A warm-up, and later time to settle: connections find the new copy.
		next := begin.Add(max(500*time.Millisecond, whole*time.Duration(n)/time.Duration(s.cfg.Terminations)))
		if settle := time.Now().Add(300 * time.Millisecond); next.Before(settle) {
			next = settle
		}
		if !sleepUntil(ctx, next) {
			return ctx.Err()
		}
		if err := s.replace(ctx, s.running[0]); err != nil {
			return err
		}
	}
	for {
		if sent, _ := s.records.counts(); sent >= int64(s.requests()) {
			return nil
		}
		if !sleepUntil(ctx, time.Now().Add(50*time.Millisecond)) {
			return ctx.Err()
		}
	}
}

// replace ends a copy and starts another one in its place.
func (s *stage) replace(ctx context.Context, p *process) error {
	at := time.Now()
	limit := s.cfg.Grace
	if s.sc.notice {
		limit += noticeLead
	}
	unexpected := false
	select {
	case <-p.ended:
		unexpected = true
	default:
	}
	s.table.mu.Lock()
	p.termination = at
	s.table.mu.Unlock()
	if s.sc.notice {
		if err := p.announce(at.Add(limit)); err != nil {
			return err
		}
	} else if !unexpected {
		_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGTERM)
	}

	// The balancer learns of it a while later, whatever becomes of the copy.
	var leaving sync.WaitGroup
	defer leaving.Wait()
	leaving.Go(func() {
		sleepUntil(ctx, at.Add(s.sc.lag))
		s.table.remove(p)
		if s.l7 != nil {
			s.l7.left(p)
		}
	})

	killed := false
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		killed = true
		p.kill()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.running = s.running[1:]
	s.table.mu.Lock()
	s.exits = append(s.exits, Exit{
		Copy: p.id, Code: p.code(), Seconds: p.endedAt.Sub(at).Seconds(), Killed: killed, Unexpected: unexpected,
	})
	s.table.mu.Unlock()

	fresh, err := s.start()
	if err != nil {
		return err
	}
	if fresh, err = s.ready(ctx, fresh); err != nil {
		return err
	}
	if !sleepUntil(ctx, time.Now().Add(s.sc.lag)) {
		return ctx.Err()
	}
	s.table.add(fresh)
	return nil
}

// countUnexpected finds copies that ended although nobody told them to.
func (s *stage) countUnexpected() {
	for _, p := range s.running {
		select {
		case <-p.ended:
			s.exits = append(s.exits, Exit{Copy: p.id, Code: p.code(), Unexpected: true})
		default:
		}
	}
}

// report says from time to time how far the stage is.
func (s *stage) report(ctx context.Context, progress func(Progress)) {
	for {
		sent, failed := s.records.counts()
		s.table.mu.Lock()
		done := len(s.exits)
		s.table.mu.Unlock()
		elapsed := time.Since(s.started)
		total := s.whole()
		if done > 0 { // how long one takes is known by now
			total = max(total, elapsed*time.Duration(s.cfg.Terminations)/time.Duration(done))
		}
		progress(Progress{
			Stage: s.sc.String(), Terminated: done, Terminations: s.cfg.Terminations,
			Sent: sent, Failed: failed, Elapsed: elapsed, Total: total,
		})
		if !sleepUntil(ctx, time.Now().Add(200*time.Millisecond)) {
			return
		}
	}
}

// dialTo connects to one of some addresses, of which it is not known what is behind
// them.
func dialTo(addrs []string) func(context.Context) (*endpointConn, error) {
	t := &table{rng: rand.New(rand.NewPCG(0, 0))}
	for _, addr := range addrs {
		t.add(&process{id: nowhere, addr: addr})
	}
	return t.dial
}
