package drain

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into them; a person reads the difference")

// TestScripts plays testdata/*.txt. A script is a list of blocks: commands, a
// line "----", what they print, an empty line. Effects are carried out at once
// unless the script says otherwise, and Step is called until it asks for nothing.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts found (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, world: newWorld(), state: NewState(Policy{}), fails: make(map[string]*failure)}
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
		commands, want, isTest := strings.Cut(block, "----\n")
		if !isTest && !strings.HasSuffix(block, "----") {
			out.WriteString(block + "\n\n") // a comment
			continue
		}
		commands = strings.TrimSuffix(commands, "----")
		s.out.Reset()
		for line := range strings.Lines(commands) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				s.command(strings.Fields(line))
			}
		}
		s.settle()
		got := strings.Trim(s.out.String(), "\n")
		if want = strings.Trim(want, "\n"); got != want && !*rewrite {
			t.Errorf("%s, block %d:\n%s\ngot:\n%s\n\nwant:\n%s", file, i+1, commands, got, want)
		}
		if got != "" {
			got += "\n"
		}
		fmt.Fprintf(&out, "%s----\n%s\n", strings.TrimLeft(commands, "\n"), got)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

type script struct {
	t      *testing.T
	world  *world
	state  *State
	token  uint64
	fails  map[string]*failure // "evict web-1" -> how it fails
	hold   bool                // effects are asked for, but their results never come: the controller dies
	events bool
	in     Input
	wake   time.Time
	out    strings.Builder
}

type failure struct {
	outcome Outcome
	times   int
}

func (s *script) command(f []string) {
	w := s.world
	opts := make(map[string]string)
	var args []string
	for _, a := range f[1:] {
		if k, v, ok := strings.Cut(a, "="); ok {
			opts[k] = v
		} else {
			args = append(args, a)
		}
	}
	switch f[0] {
	case "node":
		for _, name := range args {
			n := w.addNode(name, opts["cordoned"] == "yes")
			n.Pool, n.Drain, n.Rebalance = opts["pool"], opts["drain"], opts["rebalance"]
			w.show(n)
		}
	case "policy": // policy [drainer=karpenter] [rebalance=cordon] [leave=yes] [pool=NAME]
		p := &s.state.policy
		if name := opts["pool"]; name != "" {
			if p.Pools == nil {
				p.Pools = make(map[string]PoolPolicy)
			}
			p.Pools[name] = PoolPolicy{Rebalance: RebalancePolicy(opts["rebalance"]), Drainer: Drainer(opts["drainer"])}
			break
		}
		p.Rebalance, p.Drainer, p.Leave = RebalancePolicy(opts["rebalance"]), Drainer(opts["drainer"]), opts["leave"] == "yes"
	case "statefulset": // its pods have owner=StatefulSet
		w.addStatefulSet(args[0], s.int(opts["replicas"]))
	case "silent", "back": // the node's kubelet
		for _, name := range args {
			n := w.nodes[name]
			n.Ready = f[0] == "back"
			w.show(n)
		}
	case "quota": // no more pods are admitted
		w.quota = args[0] == "on"
	case "pdb": // pdb NAME app=A [min=N] [max=N] [other-min=N] [other-max=N] [allowed=N]
		w.addBudget(s.t, args[0], opts)
	case "rollout": // the Deployment has a new template: pods of it may be added with hash=h2
		w.rollout(args[0])
	case "deployment":
		d := w.addDeployment(args[0], s.int(opts["replicas"]))
		d.Recreate = opts["strategy"] == "Recreate"
		if v := opts["minready"]; v != "" {
			d.MinReady = s.duration(v)
		}
		if v := opts["budget"]; v != "" {
			w.budgets[args[0]] = s.int(v)
		}
	case "budget":
		w.budgets[args[0]] = s.int(args[1])
	case "service":
		set := map[string]string{}
		for k, v := range opts {
			set[k] = v
		}
		w.show(&cluster.Service{Key: cluster.Key{Namespace: ns, Name: args[0]}, Selector: set})
	case "pod": // pod NAME NODE [app=A] [owner=Kind] [grace=10s] [ready=no] [handoff=no]
		app := opts["app"]
		owner := cluster.Owner{Kind: opts["owner"]}
		if owner.Kind != "" {
			owner.Name, owner.UID = app, cluster.UID("uid-"+app)
		}
		grace := 10 * time.Second
		if v := opts["grace"]; v != "" {
			grace = s.duration(v)
		}
		p := w.addPod(args[0], app, args[1], owner, grace, opts["ready"] != "no")
		p.NoHandoff, p.OnDeadline = opts["handoff"] == "no", opts["on-deadline"]
		p.Completed, p.Mirror = opts["completed"] == "yes", opts["mirror"] == "yes"
		p.Volumes, p.Targeted = opts["volumes"] == "yes", opts["targeted"] == "yes"
		if opts["serving"] == "yes" {
			p.Labels[cluster.ServingLabel] = "true"
		}
		if v := opts["deregistration"]; v != "" {
			p.Deregistration = s.duration(v)
		}
		if opts["terminating"] == "yes" {
			p.Terminating, p.Ends = true, w.now.Add(grace)
		}
		w.show(p)
	case "scale":
		d := w.deploys[args[0]]
		d.Replicas = s.int(args[1])
		w.show(&d.Deployment)
		w.reconcile()
	case "undeploy":
		d := w.deploys[args[0]]
		delete(w.deploys, args[0])
		w.view.Apply(cluster.Change{Object: &d.set, Gone: true})
		w.view.Apply(cluster.Change{Object: &d.Deployment, Gone: true})
	case "full":
		w.full = true
	case "notice": // notice NODE... [lead=120s] [kind=K] [cloud=C] [sent=-5s] [skew=10s] [hook=H]
		for _, name := range args {
			s.token++
			n := interruption.Notice{
				ID: fmt.Sprint("n", s.token), Cloud: interruption.AWS, Kind: interruption.SpotInterruption,
				Instance: interruption.InstanceID("i-" + name), Sent: w.now, Seen: w.now,
			}
			if v := opts["kind"]; v != "" {
				n.Kind = interruption.Kind(v)
			}
			if v := opts["cloud"]; v != "" {
				n.Cloud = interruption.Cloud(v)
			}
			if v := opts["sent"]; v != "" {
				n.Sent = w.now.Add(s.duration(v))
			}
			if v := opts["skew"]; v != "" { // our clock is behind the sender's
				n.Sent = w.now.Add(s.duration(v))
			}
			if v := opts["lead"]; v != "" {
				n.Deadline = n.Sent.Add(s.duration(v))
			}
			if v := opts["hook"]; v != "" {
				n.Hook = &interruption.Hook{Group: "workers", Name: v, Token: "t-" + name, Instance: n.Instance}
			}
			s.in.Notices = append(s.in.Notices, Received{s.token, n})
		}
	case "ready":
		for _, name := range args {
			w.ready(name)
		}
	case "gone":
		for _, name := range args {
			w.gone(name)
		}
	case "lost": // the node's object is deleted
		n := w.nodes[args[0]]
		delete(w.nodes, args[0])
		w.send(cluster.Change{Object: clone(n), Gone: true})
	case "uncordon", "cancel":
		n := w.nodes[args[0]]
		n.Unschedulable = false
		if f[0] == "cancel" {
			n.Record = ""
		}
		w.show(n)
	case "annotate":
		n := w.nodes[args[0]]
		n.Record = strings.Join(args[1:], " ")
		w.show(n)
	case "fail": // fail KIND NAME OUTCOME [TIMES]
		times := 1
		if len(args) > 3 {
			times = s.int(args[3])
		}
		s.fails[args[0]+" "+args[1]] = &failure{Outcome(args[2]), times}
	case "lose-results":
		s.hold = true
	case "restart":
		s.state, s.hold, s.wake, s.in = NewState(s.state.policy), false, time.Time{}, Input{}
	case "at": // at +5s: on the way, every wake-up is kept
		end := w.now.Add(s.duration(args[0]))
		for {
			s.settle()
			if s.wake.IsZero() || s.wake.After(end) {
				break
			}
			w.now = s.wake
		}
		w.now = end
	case "events": // from here on, events are printed too
		s.events = true
	case "pods":
		s.settle()
		s.out.WriteString(w.String())
	default:
		s.t.Fatalf("unknown command %q", f[0])
	}
}

// settle steps until nothing more is asked for.
func (s *script) settle() {
	for range 100 {
		s.in.Now, s.in.Cluster = s.world.now, s.world.view
		out := s.state.Step(s.in)
		s.in, s.wake = Input{}, out.Wake
		for _, err := range out.Problems {
			fmt.Fprintf(&s.out, "%s problem: %v\n", s.clock(), err)
		}
		if s.events {
			for _, e := range out.Events {
				fmt.Fprintf(&s.out, "%s   %v\n", s.clock(), e)
			}
		}
		if len(out.Effects) == 0 {
			return
		}
		acted := false
		for _, e := range out.Effects {
			fmt.Fprintf(&s.out, "%s %v", s.clock(), e)
			if e.Kind == Answer {
				s.out.WriteByte('\n')
				continue
			}
			outcome := s.outcome(e)
			if outcome != Done {
				fmt.Fprintf(&s.out, ": %s", outcome)
			}
			s.out.WriteByte('\n')
			if !s.hold {
				s.in.Results = append(s.in.Results, Result{Effect: e, Outcome: outcome, At: s.world.now})
				acted = true
			}
		}
		if !acted {
			return
		}
	}
	s.t.Fatal("Step asks for effects without end")
}

func (s *script) outcome(e Effect) Outcome {
	name := e.Pod.Name
	switch e.Kind {
	case Store:
		name = e.Node
	case Heartbeat, Complete:
		name = e.Hook.Name
	}
	if f := s.fails[string(e.Kind)+" "+name]; f != nil && f.times > 0 {
		f.times--
		return f.outcome
	}
	return s.world.apply(e)
}

func (s *script) clock() string {
	return fmt.Sprintf("%6.2fs", s.world.now.Sub(newWorld().now).Seconds())
}

func (s *script) duration(v string) time.Duration {
	d, err := time.ParseDuration(strings.TrimPrefix(v, "+"))
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *script) int(v string) int {
	n, err := strconv.Atoi(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}
