// Package keeper runs capacity.State beside the controller's loop: it looks every few
// seconds at the nodes, at what buys them and at what is recorded, and carries out
// what is decided, one effect after the other. It decides nothing.
package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

// Buyers are what buys machines, of one kind.
type Buyers interface {
	// Groups lists them as they are set now.
	Groups(ctx context.Context) ([]capacity.Group, error)
	// Change sets a group to other settings if it is set to from; otherwise it returns
	// an error that matches capacity.ErrChanged. It may be called twice.
	Change(ctx context.Context, g capacity.Group, from, to capacity.Settings) error
	// Kind says which groups are theirs.
	Kind() capacity.Kind
}

// Store keeps Records.
type Store interface {
	// Records reads all of them.
	Records(ctx context.Context) (map[string]capacity.Record, error)
	// Put writes one, or takes it away if it is nil, and fails if anything has been
	// written by others since the last call of Records.
	Put(ctx context.Context, key string, r *capacity.Record) error
}

// Config holds a Keeper's settings. Without Buyers and Store there is only advice.
type Config struct {
	Capacity capacity.Config
	Buyers   []Buyers
	Store    Store
	// Every is how often it looks. Defaults to 15 s. Nodes that change are looked at
	// within a second.
	Every time.Duration
	// Timeout bounds one request. Defaults to 10 s.
	Timeout time.Duration
	// Advised is told what is advised, after each look; nil when this process stops
	// to act. Event is told what happens, and Done how effects end. They return at
	// once. Event and Done may be nil.
	Advised func([]capacity.Advice)
	Event   func(capacity.Event)
	Done    func(capacity.Effect, error)
	Log     *slog.Logger
}

// Keeper is the loop. Use New to make one.
type Keeper struct {
	c Config

	mu      sync.Mutex
	nodes   map[string]*cluster.Node
	listed  bool // the nodes are known: they come together in one update
	leading bool
	changed chan struct{} // has room for one word
}

// New returns a Keeper that does not act until it is told that it leads.
func New(c Config) *Keeper {
	c.Every, c.Timeout = cmp.Or(c.Every, 15*time.Second), cmp.Or(c.Timeout, 10*time.Second)
	if c.Event == nil {
		c.Event = func(capacity.Event) {}
	}
	if c.Done == nil {
		c.Done = func(capacity.Effect, error) {}
	}
	return &Keeper{c: c, nodes: make(map[string]*cluster.Node), changed: make(chan struct{}, 1)}
}

// Changed takes in changes of the cluster. It returns at once.
func (k *Keeper) Changed(changes []cluster.Change) {
	any := false
	k.mu.Lock()
	for _, ch := range changes {
		n, ok := ch.Object.(*cluster.Node)
		if !ok {
			continue
		}
		any, k.listed = true, true
		if ch.Gone {
			delete(k.nodes, n.Name)
		} else {
			k.nodes[n.Name] = n
		}
	}
	k.mu.Unlock()
	if any {
		k.wake()
	}
}

// Leading tells whether this process is the one that acts.
func (k *Keeper) Leading(leading bool) {
	k.mu.Lock()
	k.leading = leading
	k.mu.Unlock()
	k.wake()
}

func (k *Keeper) wake() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// soon is how long a look waits for more changes to come.
const soon = time.Second

// Run looks and acts until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	var state *capacity.State
	failing := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-k.changed:
			// A pool that goes brings many changes at once.
			timer.Reset(soon)
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
		}
		nodes, act := k.seen()
		if !act {
			if state != nil {
				state = nil // what it remembers is what others may have changed since
				k.c.Advised(nil)
			}
			timer.Reset(k.c.Every)
			continue
		}
		if state == nil {
			state = capacity.NewState(k.c.Capacity)
		}
		wake, err := k.look(ctx, state, nodes)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			k.c.Log.Warn("keeping capacity; more failures are not logged until it works again", "err", err)
		case err == nil && failing:
			k.c.Log.Info("keeping capacity works again")
		}
		failing = err != nil
		pause := k.c.Every
		if !wake.IsZero() {
			pause = max(min(pause, time.Until(wake)), soon)
		}
		timer.Reset(pause)
	}
}

// seen returns the nodes, and whether there is anything to be done by this process.
func (k *Keeper) seen() ([]*cluster.Node, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var nodes []*cluster.Node
	for _, n := range k.nodes {
		nodes = append(nodes, n)
	}
	return nodes, k.leading && k.listed
}

// look makes Steps until nothing more is to be done at once.
func (k *Keeper) look(ctx context.Context, state *capacity.State, nodes []*cluster.Node) (wake time.Time, err error) {
	for range 8 { // an effect leads to the next: record, change, mark
		in := capacity.Input{Nodes: nodes}
		if in.Groups, in.Records, err = k.read(ctx); err != nil {
			return wake, err
		}
		in.Now = time.Now()
		out := state.Step(in)
		k.c.Advised(out.Advice)
		for _, e := range out.Events {
			k.c.Log.Info("capacity", "event", e.Kind, "pool", e.Group.Pool, "group", e.Group.Name, "reason", e.Reason, "what", e.Text)
			k.c.Event(e)
		}
		wake = out.Wake
		if len(out.Effects) == 0 {
			return wake, nil
		}
		for _, e := range out.Effects {
			err := k.do(ctx, e)
			k.c.Done(e, err)
			if err != nil {
				return wake, fmt.Errorf("%s of %s: %w", e.Kind, e.Key, err)
			}
		}
	}
	return wake, nil
}

func (k *Keeper) read(ctx context.Context) (groups []capacity.Group, records map[string]capacity.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
	defer cancel()
	for _, b := range k.c.Buyers {
		g, err := b.Groups(ctx)
		if err != nil {
			return nil, nil, err
		}
		groups = append(groups, g...)
	}
	if k.c.Store != nil {
		records, err = k.c.Store.Records(ctx)
	}
	return groups, records, err
}

func (k *Keeper) do(ctx context.Context, e capacity.Effect) error {
	ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
	defer cancel()
	if e.Kind == capacity.Store {
		if k.c.Store == nil {
			return errors.New("there is nowhere to record it")
		}
		return k.c.Store.Put(ctx, e.Key, e.Record)
	}
	for _, b := range k.c.Buyers {
		if b.Kind() == e.Group.Kind {
			return b.Change(ctx, e.Group, e.From, e.To)
		}
	}
	return fmt.Errorf("nobody changes a %s", e.Group.Kind)
}
