package handofftest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/cloud"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/controlplanetest"
)

// crashRow is one thing that the controller does to the outside. It is killed
// before it and after it, on a node of its own each.
type crashRow struct {
	effect string // a drain.Kind, one of its reasons, or acknowledge: see cmd/evenkeel-controller/fault.go
	load   crashLoad
}

// crashTable has every kind of effect, and of the Records that are stored every one
// that something else hangs on. The Answer to a source is the acknowledgement.
var crashTable = []crashRow{
	// Those with a deadline first: they must be read before it.
	{"store/volumes-left", machineGone},
	{"store/machine-gone", machineGone},
	{"delete", blocked},
	{"announce", job},
	{"store/notice-received", single},
	{"acknowledge", single},
	{"handoff", single},
	{"withdraw", balanced},
	{"evict", single},
	{"store/node-emptied", single},
	{"heartbeat", hooked},
	{"complete", hooked},
	{"store/hook-completed", hooked},
	{"store/notice-cancelled", calledOff},
	{"rebudget", twoLimits},
}

// TestCrashTable is internal/drain's TestCrashes with nothing played but machines
// and pods: the controller's program, with the rights that are shipped, a queue that
// it knows only by its protocol, and an API server. It is killed before and after
// each thing that it does to the outside, and started again, thirty times; all rows
// are under way at once. What it did is seen in the API server's own order.
func TestCrashTable(t *testing.T) {
	bin := buildFaulty(t)
	plane := controlplanetest.StartConfig(t, controlplane.Config{NodeMonitorGrace: time.Hour})
	admin, err := kubernetes.NewForConfig(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	shipped(t, plane)
	c := &crash{t: t, admin: admin, kubelets: startKubelets(t, admin), queue: newCrashQueue(t)}
	for i, row := range crashTable {
		for j, when := range []string{"before", "after"} {
			c.cases = append(c.cases, &crashCase{crash: c, crashRow: row, name: fmt.Sprintf("row%02d%c", i, "ba"[j]), when: when})
		}
	}
	c.build()
	c.history = watchHistory(t, admin)

	armed := make(map[string]*crashCase)
	for _, cc := range c.cases {
		armed[cc.point()] = cc
	}
	for _, cc := range c.cases {
		cc.load.notice(cc)
	}
	p := &crashProcess{t: t, bin: bin, kubeconfig: writeKubeconfig(t, plane, admin), queue: c.queue}
	defer p.kill()
	end := time.Now().Add(10 * time.Minute) // means hung
	for began := time.Now(); len(armed) > 0; {
		p.start(slices.Sorted(maps.Keys(armed)))
		for point := ""; point == ""; {
			if time.Now().After(end) {
				t.Fatalf("it was not killed %s\nthe end of its log:\n%s", strings.Join(slices.Sorted(maps.Keys(armed)), ", "), p.tail())
			}
			c.next()
			point = p.killed(100 * time.Millisecond)
			if point != "" && armed[point] == nil {
				t.Fatalf("it was killed %s, which was not asked for", point)
			}
			if point != "" {
				t.Logf("%5.1f s: killed %s", time.Since(began).Seconds(), point)
				armed[point].hit = true
				delete(armed, point)
			}
		}
	}
	p.start(nil)
	for _, cc := range c.cases {
		await(t, cc.point()+": the end that it should come to", func() error { c.next(); return cc.load.ended(cc) })
	}
	await(t, "the queue to be empty", func() error { return c.queue.empty() })
	p.kill()

	for _, cc := range c.cases {
		t.Run(cc.point(), func(t *testing.T) {
			h := c.history.of(cc.name)
			if got, want := h.String(), cc.load.want.String(); got != want {
				t.Errorf("what happened: %s\nwhat should: %s", got, want)
			}
			if h.lowest < cc.load.lowest {
				t.Errorf("ready pods fell to %d, want at least %d", h.lowest, cc.load.lowest)
			}
		})
	}
	c.queue.check(t)
	t.Logf("%d notices, %d crashes", c.queue.sent, len(c.cases))
}

// crash is the table's cluster and queue.
type crash struct {
	t        *testing.T
	admin    kubernetes.Interface
	kubelets *kubelets
	queue    *crashQueue
	history  *history
	cases    []*crashCase
}

// crashCase is a row of the table, before or after.
type crashCase struct {
	*crash
	crashRow
	name string // of its node, its namespace and, after "i-0", its instance
	when string
	hit  bool
	told bool // the second notice has been sent
}

// point names the fault, as the program is told it.
func (c *crashCase) point() string {
	where := c.name
	switch drain.Kind(c.effect) {
	case "acknowledge", drain.Heartbeat, drain.Complete:
		where = instanceOf(c.name)
	}
	return fmt.Sprintf("%s:%s@%s", c.when, c.effect, where)
}

// build makes every case's node and what runs on it; then, each for its own pods,
// another node. Pods are then exactly where they have to be.
func (c *crash) build() {
	for _, cc := range c.cases {
		addNode(c.t, c.admin, cc.name, cc.name)
	}
	for _, cc := range c.cases {
		newNamespace(c.t, c.admin, cc.name)
		cc.load.deploy(cc)
	}
	for _, cc := range c.cases {
		awaitSettled(c.t, c.admin, cc.name, cc.load.pods)
	}
	for _, cc := range c.cases {
		addNode(c.t, c.admin, "room-"+cc.name, cc.name)
		if cc.load.prepare != nil {
			cc.load.prepare(cc)
		}
	}
}

// next does what is to happen during the table.
func (c *crash) next() {
	for _, cc := range c.cases {
		if cc.load.during != nil {
			cc.load.during(cc)
		}
	}
}

// lead is how long before the end the notices of the table are sent, where the time
// does not matter: longer than all of it takes.
const lead = 30 * time.Minute

// warn sends the notice that the case's machine goes in so long.
func (c *crashCase) warn(in time.Duration) {
	at := time.Now().Add(in - lead)
	c.queue.send(cloud.SpotInterruptionWarning("event-"+c.name, region, account, instanceOf(c.name), at))
}

// maintenance announces the case's machine to be stopped, or calls that off.
func (c *crashCase) maintenance(status string) {
	now := time.Now().UTC()
	c.queue.send(mustJSON(c.t, map[string]any{
		"id": "event-" + c.name + "-" + status, "source": "aws.health", "detail-type": "AWS Health Event", "time": now.Format(time.RFC3339),
		"detail": map[string]any{
			"eventArn": "arn:aws:health:us-east-1::event/EC2/AWS_EC2_INSTANCE_STOP_SCHEDULED/" + c.name,
			"service":  "EC2", "eventTypeCode": "AWS_EC2_INSTANCE_STOP_SCHEDULED", "eventTypeCategory": "scheduledChange", "statusCode": status,
			"startTime":        now.Add(lead).Format(time.RFC1123),
			"affectedEntities": []any{map[string]string{"entityValue": instanceOf(c.name)}},
		},
	}))
}

// hook says that an Auto Scaling group waits.
func (c *crashCase) hook() {
	c.queue.cloud.RunInstance(cloud.Instance{ID: instanceOf(c.name), Group: "workers"})
	c.queue.send(mustJSON(c.t, map[string]any{
		"id": "event-" + c.name, "source": "aws.autoscaling", "detail-type": "EC2 Instance-terminate Lifecycle Action",
		"time": time.Now().UTC().Format(time.RFC3339),
		"detail": map[string]string{
			"AutoScalingGroupName": "workers", "LifecycleHookName": "drain", "EC2InstanceId": instanceOf(c.name),
			"LifecycleActionToken": "token", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
		},
	}))
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
