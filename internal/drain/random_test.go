package drain

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// TestRandomSchedules plays seeded random interruptions, in which notices are
// repeated, effects fail or succeed without their result arriving, the cluster
// is seen late, and the controller is killed and started anew, and checks that
// what the package promises holds in all of them.
func TestRandomSchedules(t *testing.T) {
	schedules := 1000
	if testing.Short() {
		schedules = 100
	}
	for seed := range schedules {
		g := newGame(uint64(seed))
		g.thorough = seed%20 == 0
		if seed%5 == 4 {
			g.addRival()
		}
		g.play()
		if len(g.broken) > 0 {
			t.Errorf("seed %d:\n%s\nafter:\n%s", seed, strings.Join(g.broken, "\n"), strings.Join(g.log, "\n"))
			return
		}
	}
}

// game is one random schedule.
type game struct {
	*world
	rand   *rand.Rand
	state  *State
	in     Input
	token  uint64
	flying []arrival // results on their way
	ending map[string]time.Time

	deadline map[string]time.Time // interrupted node -> when it goes
	answered map[uint64]bool
	evicted  map[cluster.UID]int
	crashes  int
	rival    *rival
	asked    int // effects so far
	thorough bool

	log, broken []string
}

type arrival struct {
	at time.Time
	Result
}

func newGame(seed uint64) *game {
	g := &game{
		world: newWorld(), rand: rand.New(rand.NewPCG(seed, 1)), state: NewState(Policy{}),
		ending: make(map[string]time.Time), deadline: make(map[string]time.Time),
		answered: make(map[uint64]bool), evicted: make(map[cluster.UID]int),
	}
	nodes := 4 + g.rand.IntN(6)
	for i := range nodes {
		g.addNode(fmt.Sprintf("n%d", i), false)
	}
	for i := range 1 + g.rand.IntN(4) {
		app := fmt.Sprintf("app%d", i)
		replicas := 1 + g.rand.IntN(5)
		g.addDeployment(app, replicas)
		if g.rand.IntN(2) == 0 {
			g.budgets[app] = replicas - g.rand.IntN(2)
		}
		for j := range replicas {
			grace := time.Duration(1+g.rand.IntN(30)) * time.Second
			g.addPod(fmt.Sprintf("%s-%d", app, j), app, fmt.Sprintf("n%d", g.rand.IntN(nodes)), cluster.Owner{}, grace, true)
		}
	}
	g.lag = true
	return g
}

// rival is another controller that takes itself for the only one: two leaders, for
// as long as the game lasts. It sees the cluster by a watch of its own.
type rival struct {
	state   *State
	in      Input
	flying  []arrival
	view    *cluster.Cluster
	pending []cluster.Change
}

func (g *game) addRival() {
	g.rival = &rival{state: NewState(Policy{}), view: cluster.New()}
	g.lag = false
	for _, n := range g.nodes {
		g.rival.view.Apply(cluster.Change{Object: clone(n)})
	}
	for _, d := range g.deploys {
		g.rival.view.Apply(cluster.Change{Object: clone(&d.Deployment)})
		g.rival.view.Apply(cluster.Change{Object: clone(&d.set)})
	}
	for _, p := range g.pods {
		g.rival.view.Apply(cluster.Change{Object: clone(p)})
	}
	g.lag = true
	g.also = func(ch cluster.Change) { g.rival.pending = append(g.rival.pending, ch) }
}

// swap exchanges the two: each in turn is the one that steps.
func (g *game) swap() {
	r := g.rival
	g.state, r.state = r.state, g.state
	g.in, r.in = r.in, g.in
	g.flying, r.flying = r.flying, g.flying
	g.view, r.view = r.view, g.view
	g.pending, r.pending = r.pending, g.pending
}

func (g *game) fail(format string, args ...any) {
	g.broken = append(g.broken, fmt.Sprintf("%6.2fs ", g.clock())+fmt.Sprintf(format, args...))
}

func (g *game) clock() float64 { return g.now.Sub(newWorld().now).Seconds() }

// play runs the schedule: at most half of the nodes are taken, so that there is
// somewhere to go, and everything that happens takes a random time.
func (g *game) play() {
	start := g.now
	taken := 1 + g.rand.IntN(len(g.nodes)/2)
	notices := make(map[time.Time][]string)
	for i := range taken {
		at := start.Add(time.Duration(g.rand.IntN(20)) * time.Second)
		node := fmt.Sprintf("n%d", i)
		g.deadline[node] = at.Add(120 * time.Second)
		for range 1 + g.rand.IntN(2) { // sometimes it comes twice
			late := at.Add(time.Duration(g.rand.IntN(3)) * time.Second)
			notices[late] = append(notices[late], node)
		}
	}
	end := start.Add(200 * time.Second)
	const tick = 100 * time.Millisecond
	for ; g.now.Before(end); g.now = g.now.Add(tick) {
		for _, node := range notices[g.now] {
			g.token++
			g.in.Notices = append(g.in.Notices, Received{g.token, interruption.Notice{
				ID: fmt.Sprint(g.token), Cloud: interruption.AWS, Kind: interruption.SpotInterruption,
				Instance: interruption.InstanceID("i-" + node), Deadline: g.deadline[node],
			}})
		}
		g.kubelets()
		for node, at := range g.deadline {
			if g.nodes[node] != nil && !g.now.Before(at) {
				g.machineGoes(node)
			}
		}
		g.deliver(g.rand.IntN(8))
		if g.rand.IntN(400) == 0 && g.crashes < 5 {
			g.crash(notices)
		}
		g.step()
		if g.rival != nil {
			g.swap()
			g.deliver(g.rand.IntN(8))
			g.step()
			if g.rand.IntN(2) == 0 { // a notice is read by one of them
				g.swap()
			}
		}
	}
	g.deliver(len(g.pending))
	for name, p := range g.pods {
		if p.ReleasedFrom() != "" {
			g.fail("pod %s was released and never finished", name)
		}
	}
	for name, d := range g.deploys {
		if n := g.readyOf(name); n < d.Replicas {
			g.fail("%s ends with %d of %d", name, n, d.Replicas)
		}
	}
	if g.rival != nil && g.crashes == 0 {
		g.made()
	}
	for token := range g.token {
		if !g.answered[token+1] && g.crashes == 0 {
			g.fail("notice #%d was never answered", token+1)
		}
	}
}

// made checks that two who act at once replace no pod twice.
func (g *game) made() {
	for name, d := range g.deploys {
		if d.made > g.ended[name] {
			g.fail("%s had %d replacements for %d pods that went", name, d.made, g.ended[name])
		}
	}
}

// kubelets make pods Ready 3 s to 12 s after they are scheduled, and end them
// within their grace.
func (g *game) kubelets() {
	for _, name := range sortedKeys(g.pods) {
		p := g.pods[name]
		switch {
		case p.Node == "":
		case p.Terminating:
			if g.ending[name].IsZero() {
				g.ending[name] = g.now.Add(time.Duration(1 + g.rand.Int64N(int64(p.Grace))))
			}
			if !g.now.Before(g.ending[name]) {
				g.gone(name)
			}
		case !p.Ready:
			if g.ending["start "+name].IsZero() {
				g.ending["start "+name] = g.now.Add(3*time.Second + time.Duration(g.rand.Int64N(int64(9*time.Second))))
			}
			if !g.now.Before(g.ending["start "+name]) {
				g.ready(name)
			}
		}
	}
	g.reconcile()
}

// machineGoes checks that nothing is left on a machine that goes.
func (g *game) machineGoes(node string) {
	for name, p := range g.pods {
		if p.Node == node && !p.Terminating {
			g.fail("%s was still on %s at its deadline, and was never asked to leave", name, node)
		}
	}
	g.lose(node)
}

// crash loses the State and every result that is on its way. The notices that
// were not answered come again, as a queue redelivers them.
func (g *game) crash(notices map[time.Time][]string) {
	g.crashes++
	g.log = append(g.log, fmt.Sprintf("%6.2fs crash", g.clock()))
	g.state, g.flying, g.in = NewState(Policy{}), nil, Input{}
	g.deliver(len(g.pending)) // it lists everything anew
	again := g.now.Add(5 * time.Second)
	for node := range g.deadline {
		if g.nodes[node] != nil && g.nodes[node].Record == "" && g.now.After(g.deadline[node].Add(-120*time.Second)) {
			notices[again] = append(notices[again], node)
		}
	}
}

func (g *game) step() {
	g.in.Now, g.in.Cluster = g.now, g.view
	rest := g.flying[:0]
	for _, a := range g.flying {
		if a.at.After(g.now) {
			rest = append(rest, a)
			continue
		}
		g.in.Results = append(g.in.Results, a.Result)
	}
	g.flying = rest
	out := g.state.Step(g.in)
	if g.thorough {
		g.missing(out)
	}
	g.in = Input{}
	for _, e := range out.Effects {
		if e.Kind == Answer {
			g.checkAnswer(e)
			continue
		}
		outcome := Unavailable
		if g.rand.IntN(10) > 0 {
			g.checkBefore(e)
			outcome = g.apply(e)
			g.checkAfter(e, outcome)
			if outcome == Done && g.rand.IntN(20) == 0 {
				outcome = Unavailable // it was done, but the answer got lost
			}
		}
		g.log = append(g.log, fmt.Sprintf("%6.2fs %v: %s", g.clock(), e, outcome))
		g.flying = append(g.flying, arrival{g.now.Add(time.Duration(g.rand.IntN(300)) * time.Millisecond), Result{Effect: e, Outcome: outcome}})
	}
}

// missing looks at every node once more: what a Step has passed over since
// nothing seemed to have changed for it, it must not have overlooked.
func (g *game) missing(out Output) {
	for _, n := range g.state.nodes {
		n.dirty = true
	}
	again := g.state.Step(Input{Now: g.now, Cluster: g.view})
	for _, e := range again.Effects {
		g.fail("a Step that looks at every node asks for more: %v", e)
	}
	if wake := again.Wake; !wake.IsZero() && (out.Wake.IsZero() || wake.Before(out.Wake)) {
		g.fail("a Step that looks at every node wakes at %v, the one before at %v", wake, out.Wake)
	}
}

func (g *game) checkAnswer(e Effect) {
	if g.answered[e.Token] {
		g.fail("notice #%d is answered twice", e.Token)
	}
	g.answered[e.Token] = true
	if n := g.nodes[e.Node]; (e.Reason == NoticeReceived || e.Reason == AlreadyRecorded) && n != nil && (n.Record == "" || !n.Unschedulable) {
		g.fail("notice #%d is answered before %s is cordoned", e.Token, e.Node)
	}
}

func (g *game) checkBefore(e Effect) {
	p := g.pods[e.Pod.Name]
	if p == nil || p.UID != e.UID || p.Terminating {
		return
	}
	if e.ID != "" && !g.nodes[p.Node].Unschedulable { // without an interruption it is one that was called off
		g.fail("%v on a node that is not cordoned", e)
	}
	app := p.Labels["app"]
	// Two who act at once see the cluster at different times: then only budgets hold.
	if e.Kind == Evict && e.Reason == ReplacementReady && g.rival == nil && g.readyOf(app)-1 < g.deploys[app].Replicas {
		g.fail("%v leaves %s with %d of %d", e, app, g.readyOf(app)-1, g.deploys[app].Replicas)
	}
	if deadline := g.deadline[p.Node]; e.Reason == LatestStart || e.Reason == BudgetAtLatest {
		if early := deadline.Add(-2*time.Second - p.Grace); g.now.Before(early) {
			g.fail("%v comes %v before its latest start", e, early.Sub(g.now))
		}
	}
	if e.Kind == Delete && e.Reason != BudgetAtLatest && e.Reason != TwoBudgets {
		g.fail("%v goes past a budget", e)
	}
}

func (g *game) checkAfter(e Effect, o Outcome) {
	if e.Kind != Evict && e.Kind != Delete || o != Done {
		return
	}
	if g.evicted[e.UID]++; g.evicted[e.UID] > 1 && g.crashes == 0 {
		// A lost answer may lead to one more request, which finds the pod terminating.
		if g.evicted[e.UID] > 4 {
			g.fail("%v was asked for %d times", e, g.evicted[e.UID])
		}
	}
}
