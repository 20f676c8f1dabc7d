package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

const (
	// staleAfter is how long after its last renewal a Lease of 3 s shows that no
	// controller runs.
	staleAfter = 15 * time.Second
	// keptBack is what is left of the function's time to answer in.
	keptBack = 3 * time.Second
	// look is how often the nodes are asked whether they are empty.
	look = 500 * time.Millisecond
)

// drainer empties nodes where no controller does.
type drainer struct {
	settings settings
	api      kubernetes.Interface
	nodes    *nodeapi.Client
	log      *slog.Logger
}

// run is handler.drain. The loop is the controller's own, started for these nodes'
// sake: it finds their Records, and goes on where one before it has stopped.
func (d *drainer) run(ctx context.Context, nodes []string) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-keptBack))
		defer cancel()
	}
	nodes = slices.DeleteFunc(nodes, func(name string) bool { return d.done(ctx, name) })
	if len(nodes) == 0 {
		return // the notices asked for nothing
	}
	why := d.needed(ctx)
	if why == "" {
		return
	}
	d.log.Info("draining here", "nodes", nodes, "because", why)
	loop, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- controller.New(kube.New(d.api, d.log), nil, controller.Config{
			Policy: d.settings.policy, Log: d.log, Meter: unmetered{},
		}).Run(loop)
	}()
	left := d.wait(ctx, nodes)
	stop()
	if err := <-ended; err != nil {
		d.log.Error("draining ended early", "err", err)
	}
	if len(left) > 0 {
		d.log.Warn("out of time; what is left at their latest start dies with the machines unless somebody else goes on", "nodes", left)
		return
	}
	d.log.Info("drained", "nodes", nodes)
}

// needed says why the function drains; empty if somebody else does.
func (d *drainer) needed(ctx context.Context) string {
	switch d.settings.drain {
	case "always":
		return "DRAIN=always"
	case "never":
		return ""
	}
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	lease, err := d.api.CoordinationV1().Leases(d.settings.namespace).Get(call, kube.LeaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "no controller has ever led"
	case err != nil:
		// Two that drain do no harm, and none does.
		return fmt.Sprintf("whether a controller runs cannot be told: %v", err)
	}
	return abandoned(lease, time.Now())
}

// abandoned says why a Lease shows that nobody leads; empty if somebody does.
func abandoned(lease *coordinationv1.Lease, now time.Time) string {
	switch holder, renewed := lease.Spec.HolderIdentity, lease.Spec.RenewTime; {
	case holder == nil || *holder == "" || renewed == nil:
		return "no controller leads"
	case now.Sub(renewed.Time) > staleAfter:
		return fmt.Sprintf("controller %s has been silent for %s", *holder, now.Sub(renewed.Time).Round(time.Second))
	}
	return ""
}

// wait waits until the nodes are empty or gone, and returns those that are neither
// when ctx ends.
func (d *drainer) wait(ctx context.Context, nodes []string) []string {
	left := slices.Clone(nodes)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for len(left) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return left
		}
		left = slices.DeleteFunc(left, func(name string) bool { return d.done(ctx, name) })
	}
	return nil
}

// done reports whether there is nothing left to do about a node.
func (d *drainer) done(ctx context.Context, name string) bool {
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, err := d.nodes.GetNode(call, name)
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	value := n.Annotations[cluster.RecordAnnotation]
	if value == "" {
		return true // called off
	}
	rec, err := drain.DecodeRecord(value)
	return err == nil && !rec.Emptied.IsZero()
}
