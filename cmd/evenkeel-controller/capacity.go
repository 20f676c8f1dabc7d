package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/capacity/keeper"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/internal/web"
)

// capacityFlags are the part of the command line about what machines are bought.
type capacityFlags struct {
	mode      string
	objective float64
	lead      time.Duration
	hold      time.Duration
	groups    map[string]string // Auto Scaling groups by pool
	store     string
}

func (c *capacityFlags) add(f *pflag.FlagSet) {
	f.StringVar(&c.mode, "capacity", "advise", "what is done about the machines that spot pools buy: advise (metrics and Events of what the provisioning policy would do), act (change NodePools and Auto Scaling groups too), restore (set back what was changed) or off")
	f.Float64Var(&c.objective, "capacity-objective", 99.95, "percent of the time for which a pool should have enough machines ready")
	f.DurationVar(&c.lead, "capacity-lead", time.Minute, "how long a machine takes from being asked for until its pods are ready")
	f.DurationVar(&c.hold, "capacity-hold", 10*time.Minute, "how long an instance type in a zone is avoided after it was reclaimed; doubled by each further reclaim within a day, up to 6h")
	f.StringToStringVar(&c.groups, "capacity-group", nil, "the Auto Scaling group that buys a pool's machines, as POOL=GROUP; Karpenter's NodePools are found without")
	f.StringVar(&c.store, "capacity-store", kube.LeaseNamespace+"/"+kube.CapacityStore, "namespace/name of the ConfigMap that records what was changed, and how it was before")
}

func (c *capacityFlags) check() error {
	switch {
	case c.mode != "advise" && c.mode != "act" && c.mode != "restore" && c.mode != "off":
		return fmt.Errorf("--capacity=%s: must be advise, act, restore or off", c.mode)
	case !(c.objective > 0 && c.objective <= 100):
		return fmt.Errorf("--capacity-objective=%v: must be a percentage above 0, up to 100", c.objective)
	case c.lead < time.Second || c.lead > 24*time.Hour:
		return fmt.Errorf("--capacity-lead=%v: must be 1s to 24h", c.lead)
	case c.hold < time.Minute || c.hold > 6*time.Hour:
		return fmt.Errorf("--capacity-hold=%v: must be 1m to 6h", c.hold)
	case strings.Count(strings.Trim(c.store, "/"), "/") != 1:
		return fmt.Errorf("--capacity-store=%s: must be namespace/name", c.store)
	case len(c.groups) > 0 && (c.mode == "off" || c.mode == "advise"):
		return fmt.Errorf("--capacity-group goes with --capacity=act or restore")
	}
	return nil
}

// keeper returns what advises and acts; nil if nothing does.
func (c *capacityFlags) keeper(ctx context.Context, all *config, p drain.Policy, api kubernetes.Interface, meter *web.Meter, told *told, log *slog.Logger) (*keeper.Keeper, error) {
	if c.mode == "off" {
		return nil, nil
	}
	counts := meter.CountCapacity()
	k := keeper.Config{
		Capacity: capacity.Config{
			Objective: c.objective / 100, Lead: c.lead, Hold: c.hold, Notice: all.lead, Margin: p.Margin,
		},
		Advised: counts.Advised, Done: counts.Done, Log: log,
	}
	if told.events != nil {
		k.Event = told.events.ObserveCapacity
	}
	if c.mode != "advise" {
		k.Capacity.Mode = capacity.Act
		if c.mode == "restore" {
			k.Capacity.Mode = capacity.Restore
		}
		namespace, name, _ := strings.Cut(c.store, "/")
		k.Store, k.Buyers = kube.NewCapacityRecords(api, namespace, name), []keeper.Buyers{kube.NewNodePools(api)}
		if len(c.groups) > 0 {
			g, err := aws.NewGroups(ctx, all.region, c.groups)
			if err != nil {
				return nil, err
			}
			k.Buyers = append(k.Buyers, g)
		}
	}
	return keeper.New(k), nil
}
