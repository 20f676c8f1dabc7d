package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

// freshFor is how long a list of nodes also says which instances are none. A queue
// that is shared brings many such at once.
const freshFor = 2 * time.Second

// handler is the function. One is kept for as long as Lambda keeps the process.
type handler struct {
	settings settings
	nodes    *nodeapi.Client
	// drain empties the marked nodes, if it has to, until they are empty or ctx ends.
	drain func(ctx context.Context, nodes []string)
	log   *slog.Logger

	mu     sync.Mutex
	names  map[interruption.InstanceID]string // as last listed
	listed time.Time
}

// handle takes one call. Messages are taken side by side: a batch holds the notices
// of machines that go together.
func (h *handler) handle(ctx context.Context, payload json.RawMessage) (any, error) {
	all, queued, err := messages(payload)
	if err != nil {
		h.log.Error("event not understood", "err", err, "excerpt", fmt.Sprintf("%.240q", payload))
		return nil, err
	}
	var (
		mu     sync.Mutex
		failed []message
		errs   []error
		marked = make(map[string]bool)
		wg     sync.WaitGroup
	)
	for _, m := range all {
		wg.Go(func() {
			nodes, err := h.take(ctx, m, queued)
			mu.Lock()
			defer mu.Unlock()
			for _, n := range nodes {
				marked[n] = true
			}
			if err != nil {
				h.log.Warn("message not done with", "message", m.id, "err", err)
				failed = append(failed, m)
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	if len(marked) > 0 {
		names := make([]string, 0, len(marked))
		for n := range marked {
			names = append(names, n)
		}
		h.drain(ctx, names)
	}
	if queued {
		return response(failed), nil
	}
	return nil, errors.Join(errs...)
}

// take makes the notices of one message durable, and returns the nodes that they are
// about. An error says that the message must come again: to this function, or
// to whoever else reads the queue, or to rest with the dead letters.
func (h *handler) take(ctx context.Context, m message, queued bool) ([]string, error) {
	notices, err := interruption.DecodeAWS(m.body, h.settings.grace, time.Now().UTC())
	switch {
	case errors.Is(err, interruption.ErrIgnored):
		h.log.Debug("event ignored", "event", err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	var nodes []string
	var foreign []interruption.InstanceID
	for _, n := range notices {
		node, why, err := h.mark(ctx, n)
		if err != nil {
			return nodes, err
		}
		h.log.Info("notice", "interruption", n.Instance, "kind", n.Kind, "node", node, "answer", why, "deadline", n.Deadline)
		if why == drain.NotOurs {
			foreign = append(foreign, n.Instance)
		} else {
			nodes = append(nodes, node)
		}
	}
	if len(foreign) > 0 && queued {
		// A queue may be shared: whoever owns the instance gets the message after us.
		return nodes, fmt.Errorf("%v: %w", foreign, interruption.ErrNotOurs)
	}
	return nodes, nil
}

// mark stores a notice on its node, in as many attempts as it takes. The nodes that
// were listed for an earlier call are good enough if the instance is among them:
// it has one node for as long as it lives.
func (h *handler) mark(ctx context.Context, n interruption.Notice) (node string, why drain.Reason, err error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		node, err = h.nodeOf(ctx, n.Instance)
		if err == nil && node == "" {
			return "", drain.NotOurs, nil
		}
		if err == nil {
			call, cancel := context.WithTimeout(ctx, 5*time.Second)
			why, err = controller.Mark(call, nodeapi.Marker{API: h.nodes}, node, n, h.settings.policy)
			cancel()
		}
		switch {
		case err == nil && why != drain.NotOurs:
			return node, why, nil
		case err == nil, apierrors.IsNotFound(err):
			// Another machine has the node's name by now, or nobody.
			h.forget(n.Instance)
			return "", drain.NotOurs, nil
		}
		h.log.Warn("node not marked; trying again", "interruption", n.Instance, "node", node, "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return node, "", err
		}
	}
}

// nodeOf returns the node of an instance, "" if it is none.
func (h *handler) nodeOf(ctx context.Context, id interruption.InstanceID) (string, error) {
	h.mu.Lock() // held while listing: the messages of a batch share one list
	defer h.mu.Unlock()
	if name, ok := h.names[id]; ok || time.Since(h.listed) < freshFor {
		return name, nil
	}
	call, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	names, err := h.nodes.Instances(call)
	if err != nil {
		return "", err
	}
	h.names, h.listed = names, time.Now()
	return names[id], nil
}

func (h *handler) forget(id interruption.InstanceID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.names, id)
}
