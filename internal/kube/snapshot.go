package kube

import (
	"context"
	"fmt"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

// Snapshot returns the cluster as it is now, for a decision that is only to be
// explained. What cannot be listed is tried again until ctx ends.
func (c *Client) Snapshot(ctx context.Context) (*cluster.Cluster, error) {
	watching, cancel := context.WithCancel(ctx)
	updates := make(chan cluster.Update, 16)
	done := make(chan error, 1)
	go func() { done <- c.Watch(watching, updates) }()
	defer func() { cancel(); <-done }()
	out := cluster.New()
	for {
		select {
		case u := <-updates:
			for _, ch := range u.Changes {
				out.Apply(ch)
			}
			if u.Synced {
				return out, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("listing the cluster: %w", ctx.Err())
		}
	}
}
