package controller

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// oneNode is an API with one node.
type oneNode struct {
	node    cluster.Node
	err     error // of reading it
	outcome drain.Outcome
	done    []drain.Effect
}

func (o *oneNode) Node(context.Context, string) (*cluster.Node, error) {
	n := o.node
	return &n, o.err
}

func (o *oneNode) Do(_ context.Context, e drain.Effect) (drain.Outcome, error) {
	o.done = append(o.done, e)
	switch o.outcome {
	case "", drain.Done:
		o.node.Record, o.node.Unschedulable = "", false
		if e.Record != nil {
			o.node.Record, o.node.Unschedulable = e.Record.Encode(), e.Cordon
		}
		return drain.Done, nil
	case drain.Missing:
		return drain.Missing, nil
	}
	return o.outcome, errors.New("no luck")
}

func TestMark(t *testing.T) {
	now := time.Now().UTC()
	notice := interruption.Notice{
		ID: "a", Cloud: interruption.AWS, Instance: "i-1", Kind: interruption.SpotInterruption,
		Sent: now, Seen: now, Deadline: now.Add(2 * time.Minute),
	}
	recorded := drain.Record{Notice: notice, Deadline: notice.Deadline, Cordoned: true, Stored: now}.Encode()
	maintenance := notice
	maintenance.Kind = interruption.ScheduledChange
	announced := drain.Record{Notice: maintenance, Deadline: notice.Deadline, Cordoned: true, Stored: now}.Encode()
	cancelled := interruption.Notice{ID: "a", Cloud: interruption.AWS, Instance: "i-1", Kind: interruption.Cancelled, Sent: now, Seen: now}
	hook := interruption.Notice{
		ID: "b", Cloud: interruption.AWS, Instance: "i-1", Kind: interruption.LifecycleHook, Sent: now, Seen: now,
		Hook: &interruption.Hook{Group: "g", Name: "h", Token: "t", Instance: "i-1"},
	}
	rebalance := interruption.Notice{ID: "c", Cloud: interruption.AWS, Instance: "i-1", Kind: interruption.Rebalance, Sent: now, Seen: now}
	tighter := notice
	tighter.Deadline = now.Add(30 * time.Second)
	for _, row := range []struct {
		name   string
		api    oneNode
		notice interruption.Notice
		want   drain.Reason // empty for an error
		writes int
	}{
		{"the first notice", oneNode{node: cluster.Node{Name: "n", Instance: "i-1"}}, notice, drain.NoticeReceived, 1},
		{"another source was first", oneNode{node: cluster.Node{Name: "n", Instance: "i-1", Unschedulable: true, Record: recorded}}, notice, drain.AlreadyRecorded, 0},
		{"less time than was said", oneNode{node: cluster.Node{Name: "n", Instance: "i-1", Unschedulable: true, Record: recorded}}, tighter, drain.TighterDeadline, 1},
		{"maintenance is called off", oneNode{node: cluster.Node{Name: "n", Instance: "i-1", Unschedulable: true, Record: announced}}, cancelled, drain.NoticeCancelled, 1},
		{"what cannot be called off", oneNode{node: cluster.Node{Name: "n", Instance: "i-1", Unschedulable: true, Record: recorded}}, cancelled, drain.NothingToCancel, 0},
		{"a group waits", oneNode{node: cluster.Node{Name: "n", Instance: "i-1"}}, hook, drain.NoticeReceived, 1},
		{"a group waits, too", oneNode{node: cluster.Node{Name: "n", Instance: "i-1", Unschedulable: true, Record: recorded}}, hook, drain.HookNoted, 1},
		{"a recommendation", oneNode{node: cluster.Node{Name: "n", Instance: "i-1"}}, rebalance, drain.Ignored, 0},
		{"a recommendation that counts", oneNode{node: cluster.Node{Name: "n", Instance: "i-1", Rebalance: "cordon"}}, rebalance, drain.NoticeReceived, 1},
		{"another machine", oneNode{node: cluster.Node{Name: "n", Instance: "i-2"}}, notice, drain.NotOurs, 0},
		{"the node is gone", oneNode{node: cluster.Node{Name: "n", Instance: "i-1"}, outcome: drain.Missing}, notice, drain.NodeGone, 1},
		{"the node has changed", oneNode{node: cluster.Node{Name: "n", Instance: "i-1"}, outcome: drain.Conflict}, notice, "", 1},
		{"we may not", oneNode{node: cluster.Node{Name: "n", Instance: "i-1"}, outcome: drain.Refused}, notice, "", 1},
		{"the API does not answer", oneNode{err: errors.New("connection refused")}, notice, "", 0},
		{"a Record of another release", oneNode{node: cluster.Node{Name: "n", Instance: "i-1", Record: `{"version":99}`}}, notice, "", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Mark(t.Context(), &row.api, "n", row.notice, drain.Policy{})
			if got != row.want || (err == nil) != (row.want != "") {
				t.Errorf("%q, %v; want %q", got, err, row.want)
			}
			if len(row.api.done) != row.writes {
				t.Errorf("%d writes, want %d", len(row.api.done), row.writes)
			}
			if row.want == drain.NoticeReceived && row.notice.Kind == interruption.SpotInterruption {
				rec, err := drain.DecodeRecord(row.api.node.Record)
				if err != nil || !rec.Deadline.Equal(notice.Deadline) || !rec.Cordoned || !row.api.node.Unschedulable || !rec.Emptied.IsZero() {
					t.Errorf("stored %+v, %v, cordoned %t", rec, err, row.api.node.Unschedulable)
				}
			}
		})
	}
}
