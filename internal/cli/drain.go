package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

const drainHelp = `Empty nodes by hand, the same way as after a notice: the node is cordoned, pods of
Deployments are replaced before they are evicted, and what is left at its latest
start is evicted within the budgets, or past them.

The command stores a Record on the node, in one write with the cordon, and the
controller of the cluster does the rest; the command only watches. It may be
stopped at any time: the drain goes on. 'evenkeel cancel' calls it off.

--dry-run changes nothing and says for every pod what would happen, when and why.
Where no controller runs, --run does its work from here, for as long as the command
runs; that takes the rights of the controller.

Exit codes: 0 the nodes are empty (or will be, with --no-wait); 2 wrong usage;
3 a node could not be drained, or was not empty at its deadline; 130 interrupted.`

const drainExamples = `  evenkeel drain ip-10-0-1-17.ec2.internal --dry-run
  evenkeel drain ip-10-0-1-17.ec2.internal --deadline 5m
  kubectl get nodes -l evenkeel.dev/pool=engine -o name | xargs evenkeel drain --no-wait`

type drainOptions struct {
	clusterFlags
	deadline, margin    time.Duration
	onDeadline          string
	output, lease       string
	dryRun, noWait, run bool
}

// NewDrainCommand returns the command "drain".
func NewDrainCommand(s Streams) *cobra.Command {
	var o drainOptions
	c := &cobra.Command{
		Use:     "drain NODE...",
		Short:   "Empty nodes by hand, replacing pods before evicting them",
		Long:    drainHelp,
		Example: drainExamples,
		RunE: func(c *cobra.Command, args []string) error {
			nodes, err := nodeNames(c, args)
			if err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return wrongUsage(c, err)
			}
			d, err := newDrainer(s, &o)
			if err != nil {
				return failed(err)
			}
			return d.do(c.Context(), nodes)
		},
	}
	o.clusterFlags.add(c)
	outputFlag(c, &o.output)
	f := c.Flags()
	f.DurationVar(&o.deadline, "deadline", 2*time.Minute, "when the nodes must be empty, from now")
	f.BoolVar(&o.dryRun, "dry-run", false, "change nothing; say what would happen to each pod, when and why")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait until the nodes are empty")
	f.BoolVar(&o.run, "run", false, "do the controller's work from here, if none runs in the cluster")
	f.DurationVar(&o.margin, "margin", 2*time.Second, "the controller's --margin, for --dry-run and --run")
	f.StringVar(&o.onDeadline, "on-deadline", "delete", "the controller's --on-deadline, for --dry-run and --run: delete or leave")
	f.StringVar(&o.lease, "lease", kube.LeaseNamespace+"/"+kube.LeaseName, "namespace/name of the controller's Lease, by which it is seen whether one runs")
	return c
}

// nodeNames reads the arguments; "node/NAME" is what kubectl -o name prints.
func nodeNames(c *cobra.Command, args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, wrongUsage(c, errors.New("no node is named"))
	}
	var out []string
	for _, a := range args {
		name := strings.TrimPrefix(a, "node/")
		if name == "" || strings.Contains(name, "/") {
			return nil, wrongUsage(c, fmt.Errorf("%q is not the name of a node", a))
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}

func (o *drainOptions) check() error {
	switch {
	case o.deadline <= 0:
		return fmt.Errorf("--deadline=%v: must lie ahead", o.deadline)
	case o.onDeadline != "delete" && o.onDeadline != "leave":
		return fmt.Errorf("--on-deadline=%s: must be delete or leave", o.onDeadline)
	case o.run && o.noWait:
		return errors.New("--run works for as long as the command runs: it cannot go with --no-wait")
	case strings.Count(strings.Trim(o.lease, "/"), "/") != 1:
		return fmt.Errorf("--lease=%s: must be namespace/name", o.lease)
	}
	return checkOutput(o.output)
}

// drainer is one run of the command.
type drainer struct {
	Streams
	*drainOptions
	api    kubernetes.Interface
	nodes  nodeapi.API
	policy drain.Policy
}

func newDrainer(s Streams, o *drainOptions) (*drainer, error) {
	config, err := o.clusterFlags.config()
	if err != nil {
		return nil, err
	}
	if o.run || o.dryRun {
		config.Timeout = 0 // watches last
	}
	d := &drainer{Streams: s, drainOptions: o, policy: drain.Policy{Margin: o.margin, Leave: o.onDeadline == "leave"}}
	d.api, d.nodes, err = clients(config)
	return d, err
}

func clients(config *rest.Config) (kubernetes.Interface, nodeapi.API, error) {
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	nodes, err := nodeapi.NewClient(config)
	return api, nodes, err
}

func (d *drainer) say(format string, args ...any) { fmt.Fprintf(d.Err, format+"\n", args...) }

func (d *drainer) do(ctx context.Context, names []string) error {
	// All of them are looked at before anything is done to the first.
	var nodes []*corev1.Node
	for _, name := range names {
		n, err := d.nodes.GetNode(ctx, name)
		if err != nil {
			return failed(fmt.Errorf("reading node %s: %w", name, err))
		}
		nodes = append(nodes, n)
	}
	now := time.Now()
	deadline := now.Add(d.deadline)
	if d.dryRun {
		return failed(d.explain(ctx, names, deadline, now))
	}
	waits := make([]waited, len(nodes))
	for i, n := range nodes {
		rec, err := d.store(ctx, n, deadline, now)
		if err != nil {
			return failed(err)
		}
		waits[i] = waited{Node: n.Name, Deadline: rec.Deadline}
	}
	namespace, name, _ := strings.Cut(d.lease, "/")
	leader, err := kube.Leader(ctx, d.api, namespace, name, now)
	if err != nil {
		d.say("note: whether a controller runs is not known: %v", err)
	}
	switch {
	case leader != "" && d.run:
		d.say("note: the controller %s runs, and does the work", leader)
		d.run = false
	case leader == "" && err == nil && !d.run:
		d.say("note: no controller is seen: nobody has renewed the Lease %s. The nodes are cordoned, and nothing moves their pods unless one runs without --leader-elect; --run does it from here", d.lease)
	}
	if d.noWait {
		return nil
	}
	stop := func() error { return nil }
	if d.run {
		stop = d.control(ctx)
	}
	err = d.wait(ctx, waits)
	return errors.Join(err, stop())
}

// store writes the Record of a drain by hand to a node, unless one with an
// earlier deadline is there.
func (d *drainer) store(ctx context.Context, n *corev1.Node, deadline, now time.Time) (drain.Record, error) {
	for range 3 {
		v := nodeapi.VersionOf(n)
		instance, ok := interruption.InstanceOfProviderID(n.Spec.ProviderID)
		if !ok {
			instance = interruption.InstanceID(n.Name) // by hand, any machine will do
		}
		rec := drain.Record{
			Notice: interruption.Notice{
				ID: "evenkeel-drain", Cloud: interruption.Manual, Kind: interruption.ManualDrain,
				Instance: instance, Deadline: deadline, Sent: now, Seen: now,
			},
			Deadline: deadline, Stored: now, Cordoned: !v.Unschedulable,
		}
		if old, err := drain.DecodeRecord(v.Record); err == nil {
			if !old.Deadline.IsZero() && !old.Deadline.After(deadline) {
				d.say("node %s is being emptied already, by %s (%s)", n.Name, clock(old.Deadline), old.Notice.Kind)
				return old, nil
			}
			rec.Stored, rec.Cordoned = old.Stored, old.Cordoned
		}
		e := drain.Effect{Kind: drain.Store, Reason: drain.NoticeReceived, Node: n.Name, Old: v.Record, Record: &rec, Cordon: true}
		outcome, err := nodeapi.Store(ctx, d.nodes, &v, e)
		switch outcome {
		case drain.Done:
			d.say("node %s is cordoned, and is to be empty by %s", n.Name, clock(deadline))
			return rec, nil
		case drain.Missing:
			return rec, fmt.Errorf("draining node %s: it has left the cluster", n.Name)
		case drain.Conflict: // somebody else was faster: look again
			if n, err = d.nodes.GetNode(ctx, n.Name); err != nil {
				return rec, fmt.Errorf("reading node: %w", err)
			}
			continue
		}
		return rec, fmt.Errorf("draining node %s: %w", n.Name, err)
	}
	return drain.Record{}, fmt.Errorf("draining node %s: its Record changes faster than it can be written", n.Name)
}

func clock(t time.Time) string { return t.Local().Format("15:04:05") }

// control runs a controller in this process, and returns what stops it.
func (d *drainer) control(ctx context.Context) (stop func() error) {
	log := slog.New(slog.NewTextHandler(d.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctl := controller.New(kube.New(d.api, log), nil, controller.Config{Policy: d.policy, Log: log, Meter: noMeter{}})
	ctx, cancel := context.WithCancel(quietly(ctx))
	done := make(chan error, 1)
	go func() { done <- ctl.Run(ctx) }()
	d.say("no controller is needed: its work is done from here. Other nodes with Records are emptied too")
	return func() error { cancel(); return failed(<-done) }
}

// quietly keeps client-go's own log from what a person reads.
func quietly(ctx context.Context) context.Context { return klog.NewContext(ctx, logr.Discard()) }

// noMeter counts nothing: a command line has nobody who would ask.
type noMeter struct{}

func (noMeter) Notice(interruption.Notice, drain.Reason, time.Duration) {}
func (noMeter) Effect(drain.Effect, drain.Outcome, time.Duration)       {}
func (noMeter) Step(time.Duration)                                      {}
func (noMeter) Synced()                                                 {}

// waited is one node that is being emptied.
type waited struct {
	Node     string    `json:"node"`
	Deadline time.Time `json:"deadline"`
	Emptied  time.Time `json:"emptied,omitzero"`
	Outcome  string    `json:"outcome"` // emptied, gone, called-off or missed
	Left     []string  `json:"podsLeft,omitempty"`

	shown int
}

// wait watches nodes until each is empty, gone, called off, or past its deadline.
func (d *drainer) wait(ctx context.Context, nodes []waited) error {
	for i := range nodes {
		nodes[i].shown = -1
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for open := true; open; {
		open = false
		for i := range nodes {
			if w := &nodes[i]; w.Outcome == "" {
				if err := d.look(ctx, w); err != nil {
					d.say("note: %v", err) // it may pass
				}
				if w.Outcome == "" && time.Now().After(w.Deadline.Add(3*time.Second)) {
					w.Outcome = "missed"
				}
				open = open || w.Outcome == ""
			}
		}
		if !open {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return failed(ctx.Err())
		}
	}
	if err := d.printWaited(nodes); err != nil {
		return failed(err)
	}
	bad := 0
	for _, w := range nodes {
		if w.Outcome == "missed" || w.Outcome == "called-off" {
			bad++
		}
	}
	if bad > 0 {
		return failed(fmt.Errorf("%s of %d not emptied", plural(bad, "node"), len(nodes)))
	}
	return nil
}

// look brings what is known of a node up to date, and tells progress.
func (d *drainer) look(ctx context.Context, w *waited) error {
	n, err := d.nodes.GetNode(ctx, w.Node)
	if apierrors.IsNotFound(err) {
		w.Outcome, w.Left = "gone", nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading node %s: %w", w.Node, err)
	}
	value := n.Annotations[cluster.RecordAnnotation]
	rec, err := drain.DecodeRecord(value)
	switch {
	case value == "":
		w.Outcome = "called-off"
		return nil
	case err != nil:
		return fmt.Errorf("node %s: %w", w.Node, err)
	}
	w.Deadline = rec.Deadline
	pods, err := d.api.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + w.Node})
	if err != nil {
		return fmt.Errorf("listing the pods of node %s: %w", w.Node, err)
	}
	w.Left = nil
	for _, p := range pods.Items {
		if mustLeave(&p) {
			w.Left = append(w.Left, p.Namespace+"/"+p.Name)
		}
	}
	if !rec.Emptied.IsZero() {
		w.Outcome, w.Emptied, w.Left = "emptied", rec.Emptied, nil
		return nil
	}
	if len(w.Left) != w.shown {
		w.shown = len(w.Left)
		d.say("node %s: %s left", w.Node, plural(w.shown, "pod"))
	}
	return nil
}

// mustLeave is for showing progress only: what counts as empty the Record says.
func mustLeave(p *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(p)
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	return !mirror && (owner == nil || owner.Kind != "DaemonSet") && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func (d *drainer) printWaited(nodes []waited) error {
	if d.output != "table" {
		return printData(d.Out, nodes, d.output)
	}
	t := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tOUTCOME\tBEFORE THE DEADLINE\tPODS LEFT")
	for _, w := range nodes {
		before := "-"
		if !w.Emptied.IsZero() {
			before = w.Deadline.Sub(w.Emptied).Round(time.Second).String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", w.Node, w.Outcome, before, dash(strings.Join(w.Left, " ")))
	}
	return t.Flush()
}

// planned is what would become of one pod, as it is printed.
type planned struct {
	Node    string       `json:"node"`
	Pod     string       `json:"pod"`
	Service string       `json:"service,omitempty"`
	Method  string       `json:"method"` // handoff, evict, wait or stays
	Reason  drain.Reason `json:"reason"`
	// Latest is when waiting ends, in seconds from now.
	Latest *float64 `json:"latestStartSeconds,omitempty"`
	Text   string   `json:"text"`
}

// explain prints what a drain would do.
func (d *drainer) explain(ctx context.Context, nodes []string, deadline, now time.Time) error {
	listing, cancel := context.WithTimeout(quietly(ctx), 30*time.Second)
	defer cancel()
	// What keeps the cluster from being listed is found by listing once in the plain way.
	if _, err := d.api.CoreV1().Pods("").List(listing, metav1.ListOptions{Limit: 1}); err != nil {
		return fmt.Errorf("listing pods: %w", err)
	}
	snapshot, err := kube.New(d.api, slog.New(slog.NewTextHandler(io.Discard, nil))).Snapshot(listing)
	if err != nil {
		return err
	}
	fates := drain.Explain(d.policy, snapshot, nodes, deadline, now)
	plan := []planned{}
	for _, n := range nodes {
		for _, f := range fates[n] {
			plan = append(plan, plan1(n, f, now, d.policy.Leave))
		}
	}
	if d.output != "table" {
		return printData(d.Out, plan, d.output)
	}
	t := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tPOD\tOF\tWHAT\tLATEST\tWHY AND HOW")
	for _, p := range plan {
		latest := "-"
		if p.Latest != nil {
			latest = fmt.Sprintf("+%.0fs", *p.Latest)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s: %s\n", p.Node, p.Pod, dash(p.Service), p.Method, latest, p.Reason, p.Text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	d.say("Nothing was changed.")
	return nil
}

// plan1 says one pod's fate in words.
func plan1(node string, f drain.Fate, now time.Time, leave bool) planned {
	p := planned{Node: node, Pod: f.Pod.String(), Service: f.Service, Reason: f.Reason, Method: string(f.Do)}
	end := "deleted then, if a budget still blocks"
	if leave {
		end = "left to end with its machine, if a budget still blocks then"
	}
	if !f.Stays && !f.Latest.IsZero() {
		s := max(f.Latest.Sub(now), 0).Round(time.Second).Seconds()
		p.Latest = &s
	}
	switch {
	case f.Stays:
		p.Method, p.Text = "stays", "it need not leave the node"
	case f.Do == drain.Handoff:
		p.Text = "a replacement starts at once while it serves; it is evicted when that is Ready, or at its latest start; " + end
	case f.Do == drain.Evict && f.Reason == drain.LatestStart:
		p.Text = "it is evicted at once: its grace is longer than the time that is left"
		if f.Grace != nil {
			p.Text = fmt.Sprintf("it is evicted at once, with %v of its grace: there is no time for all of it", f.Grace.Round(time.Second))
		}
	case f.Do == drain.Evict:
		p.Text = "it is evicted at once, if its budgets allow; tried until its latest start; " + end
	case f.Do != "":
		p.Text = "at once"
	case f.Reason == drain.JobMayFinish:
		p.Method, p.Text = "wait", "it may finish until its latest start, and is evicted then"
	default:
		p.Method, p.Text = "wait", "until its latest start at most; "+end
	}
	if f.Reason == drain.TerminatingPod {
		p.Text = "it is on its way already"
	}
	return p
}

const cancelHelp = `Call the drain of nodes off: their Records are removed, and the ones that Evenkeel had
cordoned are made schedulable again. A node that a person had cordoned stays
cordoned. Pods that were released for a handoff are finished by the controller.

A cloud's own notice cannot be taken back: if the drain is because of one, the
machine goes all the same.

Exit codes: 0 no node is being drained any more; 2 wrong usage; 3 a node could not be
changed; 130 interrupted.`

// NewCancelCommand returns the command "cancel".
func NewCancelCommand(s Streams) *cobra.Command {
	var flags clusterFlags
	c := &cobra.Command{
		Use:     "cancel NODE...",
		Short:   "Call the drain of nodes off",
		Long:    cancelHelp,
		Example: "  evenkeel cancel ip-10-0-1-17.ec2.internal",
		RunE: func(c *cobra.Command, args []string) error {
			names, err := nodeNames(c, args)
			if err != nil {
				return err
			}
			config, err := flags.config()
			if err != nil {
				return failed(err)
			}
			_, nodes, err := clients(config)
			if err != nil {
				return failed(err)
			}
			for _, name := range names {
				if err := cancelDrain(c.Context(), s, nodes, name); err != nil {
					return failed(fmt.Errorf("calling off the drain of node %s: %w", name, err))
				}
			}
			return nil
		},
	}
	flags.add(c)
	return c
}

// cancelDrain removes a node's Record, and the cordon if it is ours.
func cancelDrain(ctx context.Context, s Streams, nodes nodeapi.API, name string) error {
	for range 3 {
		n, err := nodes.GetNode(ctx, name)
		if err != nil {
			return err
		}
		v := nodeapi.VersionOf(n)
		if v.Record == "" {
			fmt.Fprintf(s.Out, "node %s is not being drained\n", name)
			return nil
		}
		e := drain.Effect{Kind: drain.Store, Reason: drain.RecordRemoved, Node: name, Old: v.Record}
		rec, unreadable := drain.DecodeRecord(v.Record)
		if unreadable == nil {
			e.Uncordon, e.Untaint = rec.Cordoned, rec.OutOfService
		}
		switch outcome, err := nodeapi.Store(ctx, nodes, &v, e); outcome {
		case drain.Conflict:
			continue
		case drain.Done:
		default:
			return cmp.Or(err, errors.New("it has left the cluster"))
		}
		what := "stays cordoned, as it was before"
		switch {
		case unreadable != nil:
			what = "stays as it is, since its Record could not be read"
		case e.Uncordon:
			what = "is schedulable again"
		}
		fmt.Fprintf(s.Out, "node %s: the drain is called off; it %s\n", name, what)
		if unreadable == nil && rec.Notice.Kind != interruption.ManualDrain {
			fmt.Fprintf(s.Err, "note: the drain of node %s was because of a notice of the cloud's (%s): the machine may go all the same\n", name, rec.Notice.Kind)
		}
		return nil
	}
	return errors.New("its Record changes faster than it can be removed")
}
