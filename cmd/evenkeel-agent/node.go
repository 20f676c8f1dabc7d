package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

// node is agent.Node in a cluster.
type node struct {
	api    nodeapi.Marker
	name   string
	policy drain.Policy
	log    *slog.Logger
}

// Mark stores a notice in the node's Record.
func (n *node) Mark(ctx context.Context, notice interruption.Notice) error {
	why, err := controller.Mark(ctx, n.api, n.name, notice, n.policy)
	if err != nil {
		return err
	}
	if why == drain.NotOurs {
		return fmt.Errorf("node %s no longer stands for instance %s", n.name, notice.Instance)
	}
	n.log.Info("notice", "interruption", notice.Instance, "kind", notice.Kind, "action", notice.Action,
		"deadline", notice.Deadline, "node", n.name, "answer", why)
	return nil
}

// Empty reports what the Record says.
func (n *node) Empty(ctx context.Context) (bool, error) {
	o, err := n.api.API.GetNode(ctx, n.name)
	if err != nil {
		return false, err
	}
	value := o.Annotations[cluster.RecordAnnotation]
	if value == "" {
		return false, nil
	}
	rec, err := drain.DecodeRecord(value)
	return err == nil && !rec.Emptied.IsZero(), err
}

// providerID reads which machine the node stands for, for as long as it takes: the
// API server may be away, and a machine may be up before its cloud provider has
// said which one it is.
func (n *node) providerID(ctx context.Context) (string, error) {
	for told := false; ; told = true {
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		o, err := n.api.API.GetNode(call, n.name)
		cancel()
		if err == nil && o.Spec.ProviderID != "" {
			return o.Spec.ProviderID, nil
		}
		if err == nil {
			err = fmt.Errorf("node %s has no spec.providerID yet", n.name)
		}
		if !told {
			n.log.Warn("which machine this is cannot be told yet; trying again", "err", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return "", fmt.Errorf("reading node %s: %w", n.name, err)
		}
	}
}

// cloudOf returns whose machine a providerID names.
func cloudOf(providerID string) string {
	switch provider, _, _ := strings.Cut(providerID, "://"); provider {
	case "gce":
		return "gcp"
	default:
		return provider
	}
}
