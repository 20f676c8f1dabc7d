// Package drainbench measures how fast a cluster's nodes are emptied when many of
// them are taken away at once, and what it costs.
//
// The control plane is real, and so is the controller: its own process, with the
// arguments of its Deployment and the rights of its Role, reading a stand-in for
// SQS. Nodes and pods are played. What is reported is seen from the outside, in the
// API server's own order of events.
//
// Everything runs on one machine: on a small one the control plane is what takes
// the time. That is why the largest case is run a second time by a client that
// issues the same writes and does nothing else.
package drainbench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// Case is one thing that happens to a cluster.
type Case struct {
	Name  string
	Title string
	// Nodes there are, and Reclaimed of them go at once. Each runs PodsPerNode pods,
	// which belong to Apps Deployments with a budget of MaxUnavailable.
	Nodes, Reclaimed, PodsPerNode, Apps int
	MaxUnavailable                      string
	// Raw lets the yardstick do the work instead of the controller.
	Raw bool
	// Backlog starts the controller when the notices are in the queue already.
	Backlog bool
	// Outage stops the API server just before the notices, for so long.
	Outage time.Duration
	// PodReady is how long after its start a pod is Ready, PodGone how long after
	// it is asked to go it is gone. If not set, they default to 8-12 s and 4-5 s.
	PodReady, PodGone span
	Bars              []Bar
}

// lead is how long before the machine goes AWS says so.
const lead = 2 * time.Minute

// concurrency of the yardstick's requests: the controller's own default.
const concurrency = 64

// Config says how to run.
type Config struct {
	// Bin is the folder with evenkeel-controller.
	Bin string
	// Dir takes everything that is written. Its owner removes it.
	Dir  string
	Seed uint64
	// Executable is a program whose main calls roles.Main. If not set, defaults to
	// this one.
	Executable string
	Log        *slog.Logger
	// Say is told how far it is.
	Say func(string)
}

func (c Config) say(format string, args ...any) {
	if c.Say != nil {
		c.Say(fmt.Sprintf(format, args...))
	}
}

// Measured is what was found in a case.
type Measured struct {
	Case  string `json:"case"`
	Title string `json:"title"`
	Nodes int    `json:"nodes"`
	Pods  int    `json:"pods"`

	Reclaimed int `json:"reclaimed"`
	Cordoned  int `json:"cordoned"`
	Emptied   int `json:"emptiedBeforeDeadline"`
	// From the notice, or from the moment from which it could be heard: the
	// controller's start, the end of the outage.
	ToCordon report.Quantiles `json:"noticeToCordonSeconds"`
	ToEmpty  report.Quantiles `json:"noticeToEmptySeconds"`
	// NeverAsked are pods that were still there at the deadline and had not been
	// asked to leave.
	NeverAsked          int     `json:"podsNeverAsked"`
	LostReadyPodSeconds float64 `json:"lostReadyPodSeconds"`
	MinReadyRatio       float64 `json:"minReadyRatio"`
	MessagesLeft        int     `json:"messagesLeft"`

	// Of the controller's process, from its start until the last node was empty.
	PeakRSSMiB   float64 `json:"peakRSSMiB,omitempty"`
	CPUSeconds   float64 `json:"cpuSeconds,omitempty"`
	IdleRSSMiB   float64 `json:"idleRSSMiB,omitempty"` // before the first notice
	StartupCPU   float64 `json:"startupCPUSeconds,omitempty"`
	RawSeconds   float64 `json:"rawSeconds,omitempty"` // of the yardstick in the same run
	RatioToRaw   float64 `json:"ratioToRaw,omitempty"` // of the whole
	WholeSeconds float64 `json:"wholeSeconds"`         // from the first notice until the last node was empty

	Bars []Judged `json:"bars,omitempty"`
	// Error says why nothing was measured.
	Error string `json:"error,omitempty"`
}

// Run runs cases one after the other, each in a cluster of its own.
func Run(ctx context.Context, cfg Config, cases []Case) (*Report, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := os.Stat(filepath.Join(cfg.Bin, "evenkeel-controller")); err != nil {
		return nil, fmt.Errorf("looking for evenkeel-controller: %w\n'make build' in the project's root builds it", err)
	}
	began := time.Now()
	r := &Report{Seed: cfg.Seed, KubernetesVersion: controlplane.KubernetesVersion, Started: began.UTC().Format(time.RFC3339)}
	var yardstick float64
	for i, c := range cases {
		c.PodReady, c.PodGone = cmp.Or(c.PodReady, podReady), cmp.Or(c.PodGone, podGone)
		w := &world{
			Case: c, cfg: cfg, dir: filepath.Join(cfg.Dir, fmt.Sprintf("%d-%s", i, c.Name)), view: newView(),
			log: cfg.Log.With("case", c.Name),
		}
		m, err := w.run(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil: // the other cases are worth having
			r.Cases = append(r.Cases, Measured{Case: c.Name, Title: c.Title, Error: err.Error()})
			continue
		}
		if c.Raw {
			yardstick = m.WholeSeconds
		} else if yardstick > 0 {
			m.RawSeconds, m.RatioToRaw, yardstick = yardstick, m.WholeSeconds/yardstick, 0
		}
		m.Bars = judge(c.Bars, m)
		r.Cases = append(r.Cases, *m)
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// run plays one case. Whatever it started has ended when it returns.
func (w *world) run(ctx context.Context) (_ *Measured, err error) {
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		if w.controller != nil {
			w.controller.stop()
		}
		cancel()
		if w.plane != nil {
			err = errors.Join(err, w.plane.Close())
		}
		if e := g.Wait(); e != nil && !errors.Is(e, context.Canceled) && !errors.Is(e, controlplane.ErrClosed) {
			err = errors.Join(err, e)
		}
	}()
	if err := w.build(ctx, g); err != nil {
		return nil, err
	}
	w.fleet.quick.Store(false)
	return w.play(ctx)
}

// play takes the nodes away and measures.
func (w *world) play(ctx context.Context) (*Measured, error) {
	m := &Measured{Case: w.Name, Title: w.Title, Nodes: w.Nodes, Pods: w.Nodes * w.PodsPerNode}
	nodes := w.victims()
	var before usage
	if !w.Raw && !w.Backlog {
		if err := w.startController(ctx, true); err != nil {
			return nil, err
		}
		var err error
		if before, err = w.controller.usage(); err != nil {
			return nil, err
		}
	}
	w.cfg.say("%s: %d of %d nodes go", w.Name, w.Reclaimed, w.Nodes)
	heard := time.Now() // from when on a notice can be heard
	if w.Apps > 0 {
		w.view.begin(heard, w.desired())
	}
	deadline := heard.Add(lead)
	var first time.Time
	var err error
	switch {
	case w.Raw:
		first, err = w.playRaw(ctx, nodes, deadline)
	case w.Backlog:
		if first, err = w.notify(nodes); err != nil {
			return nil, err
		}
		err = w.startController(ctx, false)
		if w.controller != nil {
			heard = w.controller.began
		}
	case w.Outage > 0:
		if err := w.plane.Kill(controlplane.APIServer); err != nil {
			return nil, err
		}
		if first, err = w.notify(nodes); err != nil {
			return nil, err
		}
		if !sleep(ctx, w.Outage) {
			return nil, ctx.Err()
		}
		err = w.plane.Start(ctx, controlplane.APIServer)
		heard = time.Now()
	default:
		first, err = w.notify(nodes)
	}
	if err != nil {
		return nil, err
	}
	// What is late is counted as late, and still measured.
	for !w.done() && time.Now().Before(deadline.Add(lead)) {
		if w.controller != nil {
			if err := w.controller.alive(); err != nil {
				return nil, err
			}
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
	return m, w.sum(m, first, heard, before)
}

// done reports whether all nodes are cordoned and empty, and no message is left.
func (w *world) done() bool {
	noticed, recorded, emptied := w.view.progress()
	return recorded == noticed && emptied == noticed && w.messages() == 0
}

// messages returns how many are in the queue, seen by somebody or not.
func (w *world) messages() int {
	s, _ := w.cloud.QueueStats(queueName)
	return s.Visible + s.InFlight + s.Delayed
}

// playRaw lets the yardstick work.
func (w *world) playRaw(ctx context.Context, victims []int, deadline time.Time) (time.Time, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := newRaw(w.client, concurrency)
	all, err := w.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return time.Time{}, fmt.Errorf("listing pods: %w", err)
	}
	pods := make(map[string][]*corev1.Pod)
	for i := range all.Items {
		p := &all.Items[i]
		pods[p.Spec.NodeName] = append(pods[p.Spec.NodeName], p)
	}
	nodes := make([]*corev1.Node, len(victims))
	for i, v := range victims {
		if nodes[i], err = w.client.CoreV1().Nodes().Get(ctx, machine(v, 1).Name, metav1.GetOptions{}); err != nil {
			return time.Time{}, fmt.Errorf("reading a node: %w", err)
		}
	}
	w.view.mu.Lock()
	w.view.onReady = func(app string) { r.ready(ctx, app) }
	w.view.mu.Unlock()
	first := time.Now()
	for _, n := range nodes {
		w.view.notice(n.Name, first)
	}
	r.run(ctx, nodes, pods, deadline)
	if err := w.await(ctx, "the last eviction", func() (string, bool) {
		_, _, emptied := w.view.progress()
		return fmt.Sprintf("%d of %d nodes are empty", emptied, len(nodes)), emptied == len(nodes) || time.Now().After(deadline.Add(lead))
	}); err != nil {
		return first, err
	}
	stop() // evictions that were not to be had in all that time
	return first, errors.Join(r.wait()...)
}

// sum fills in what was found.
func (w *world) sum(m *Measured, first, heard time.Time, before usage) error {
	now := time.Now()
	r := w.view.result(now, heard)
	m.Reclaimed, m.Cordoned, m.Emptied, m.NeverAsked = r.nodes, r.cordoned, r.emptied, r.neverAsked
	m.ToCordon, m.ToEmpty = report.QuantilesOf(r.toCordon), report.QuantilesOf(r.toEmpty)
	m.LostReadyPodSeconds, m.MinReadyRatio = r.lost, r.lowest
	m.WholeSeconds = now.Sub(first).Seconds()
	if w.Raw {
		return nil
	}
	m.MessagesLeft = w.messages()
	after, err := w.controller.usage()
	if err != nil {
		return err
	}
	const mib = 1 << 20
	m.PeakRSSMiB, m.IdleRSSMiB = float64(after.peak)/mib, float64(before.rss)/mib
	m.CPUSeconds, m.StartupCPU = after.cpu.Seconds(), before.cpu.Seconds()
	return nil
}
