package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Nodes is the Kubernetes API, as far as Mark needs it.
type Nodes interface {
	// Node reads one node.
	Node(ctx context.Context, name string) (*cluster.Node, error)
	// Do carries out a drain.Store.
	Do(ctx context.Context, e drain.Effect) (drain.Outcome, error)
}

// Mark makes one notice durable without the loop: it stores the Record with the
// cordon, or whatever else drain.State decides about a cluster that is known to
// have this one node. It is how an agent, or a function that lives for seconds,
// does what a controller does first; a controller finds the Record and does the
// rest. It tries once, and returns an error when the notice is not durable yet.
func Mark(ctx context.Context, api Nodes, node string, n interruption.Notice, policy drain.Policy) (drain.Reason, error) {
	cn, err := api.Node(ctx, node)
	if err != nil {
		return "", fmt.Errorf("reading node %s: %w", node, err)
	}
	known := cluster.New()
	known.Apply(cluster.Change{Object: cn})
	const token = 1
	out := drain.NewState(policy).Step(drain.Input{
		Now: time.Now(), Cluster: known, Notices: []drain.Received{{Token: token, Notice: n}},
	})
	if len(out.Problems) > 0 {
		return "", errors.Join(out.Problems...)
	}
	for _, e := range out.Effects {
		if e.Kind == drain.Answer && e.Token == token {
			return e.Reason, nil // nothing to store
		}
	}
	// The pods of the node are not known here, so nothing is decided about them: of
	// all that is wanted only the answer to the notice counts.
	for _, e := range out.Effects {
		if e.Kind != drain.Store || e.Reason == drain.NodeEmptied {
			continue
		}
		switch outcome, err := api.Do(ctx, e); {
		case outcome == drain.Done:
			return e.Reason, nil
		case outcome == drain.Missing:
			return drain.NodeGone, nil
		case err != nil:
			return "", fmt.Errorf("marking node %s: %w", node, err)
		default:
			return "", fmt.Errorf("marking node %s: %s", node, outcome)
		}
	}
	return "", fmt.Errorf("marking node %s: nothing was decided about a %s", node, n.Kind)
}
