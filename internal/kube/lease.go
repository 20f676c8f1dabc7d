package kube

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// The controller's Lease, unless it is told otherwise.
const (
	LeaseNamespace = "evenkeel-system"
	LeaseName      = "evenkeel-controller"
)

// How long the Lease of a leader that is gone keeps the others waiting, and how
// soon a leader that cannot renew it stops. A notice lasts two minutes at most, so
// these are shorter than what is usual, at the price of a few small writes a second.
// A standby looks every retry, or up to 2.2 times that: it may see the last renewal
// that late, and its end too, so it takes over after leaseFor + 4.4 * retry = 4.8 s
// at the latest.
//
// A leader must have stopped before that. The elector compares the times of renewals
// in whole seconds, so a standby may count from one that is a second older than the
// last: retry + renewUntil + 1 s must be less than leaseFor.
const (
	leaseFor   = 3 * time.Second
	renewUntil = 1500 * time.Millisecond
	retry      = 400 * time.Millisecond
)

// Election says, by a Lease, which of several controllers acts. It saves work and
// keeps messages of a queue in one pair of hands; that everything happens once
// does not depend on it, but on compare-and-swap. Use NewElection to make one.
type Election struct {
	api             kubernetes.Interface
	namespace, name string
	identity        string
	changed         func(leading bool)
	log             *slog.Logger
}

// NewElection returns an Election by the Lease of the given name. The identity
// must be this process's alone. If changed is not nil, it is told whenever a turn
// begins and ends.
func NewElection(api kubernetes.Interface, namespace, name, identity string, changed func(bool), log *slog.Logger) *Election {
	if changed == nil {
		changed = func(bool) {}
	}
	return &Election{api, namespace, name, identity, changed, log}
}

// Lead calls work for as long as this process holds the Lease, and again when it
// holds it again. The Lease is given away when ctx ends, after work has returned,
// so that another one need not wait for it to run out.
func (e *Election) Lead(ctx context.Context, work func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := e.once(ctx, work); err != nil {
			return err
		}
	}
	return nil
}

// once waits for the Lease, and works until it is lost or ctx ends.
func (e *Election) once(ctx context.Context, work func(context.Context) error) error {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: e.namespace, Name: e.name},
		Client:     e.api.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: e.identity},
	}
	const (
		waiting int32 = iota
		leading
		over
	)
	var state atomic.Int32
	done := make(chan error, 1)
	// The Lease is held until work has returned, which may be after ctx has ended.
	// What the elector has to say twice a second while the API is away, others say too.
	holding, letGo := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), klog.Logger{}))
	defer letGo()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: e.name,
		LeaseDuration: leaseFor, RenewDeadline: renewUntil, RetryPeriod: retry,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				if state.CompareAndSwap(waiting, leading) {
					done <- e.work(ctx, held, work)
					letGo()
				}
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != "" && identity != e.identity {
					e.log.Info("another controller leads", "leader", identity)
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("preparing the election of a leader: %w", err)
	}
	// Whoever only waits stops at once; whoever leads stops by way of work.
	defer context.AfterFunc(ctx, func() {
		if state.CompareAndSwap(waiting, over) {
			letGo()
		}
	})()
	elector.Run(holding)
	if state.CompareAndSwap(waiting, over) || state.Load() == over {
		return nil
	}
	err = <-done
	e.release(lock)
	return err
}

// work does one turn's work, until the Lease is lost or ctx ends.
func (e *Election) work(ctx, held context.Context, work func(context.Context) error) error {
	held, cancel := context.WithCancel(held)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	e.log.Info("leading", "lease", e.namespace+"/"+e.name, "identity", e.identity)
	e.changed(true)
	err := work(held)
	e.changed(false)
	e.log.Info("leading no more", "lease", e.namespace+"/"+e.name, "identity", e.identity)
	return err
}

// release gives the Lease away, if it is still ours. That it may fail is why it
// also runs out.
func (e *Election) release(lock *resourcelock.LeaseLock) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	held, _, err := lock.Get(ctx)
	if err != nil || held.HolderIdentity != e.identity {
		return
	}
	now := metav1.Now()
	if err := lock.Update(ctx, resourcelock.LeaderElectionRecord{
		LeaseDurationSeconds: 1, AcquireTime: now, RenewTime: now, LeaderTransitions: held.LeaderTransitions,
	}); err != nil {
		e.log.Info("the Lease could not be given away; it runs out", "err", err)
	}
}

// Leader returns who holds a controller's Lease now, or "" when nobody does. A
// holder that has not renewed it for a while is taken for dead.
func Leader(ctx context.Context, api kubernetes.Interface, namespace, name string, now time.Time) (string, error) {
	l, err := api.CoordinationV1().Leases(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading the Lease %s/%s: %w", namespace, name, err)
	}
	// Clocks differ: the holder gets several times its lease before it counts as dead.
	if l.Spec.HolderIdentity == nil || l.Spec.RenewTime == nil || now.Sub(l.Spec.RenewTime.Time) > 5*leaseFor {
		return "", nil
	}
	return *l.Spec.HolderIdentity, nil
}
