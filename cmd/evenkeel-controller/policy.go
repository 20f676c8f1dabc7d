package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// policy is the part of the command line that decides about drains.
type policy struct {
	drain.Policy
	onDeadline, drainer, rebalance string
	drainers, rebalances           map[string]string // by pool
	outOfService                   bool
}

func (p *policy) flags(f *pflag.FlagSet) {
	f.DurationVar(&p.Margin, "margin", 2*time.Second, "time kept free between the end of a pod's grace and the deadline")
	f.DurationVar(&p.Settle, "settle", 300*time.Millisecond, "how long after the latest notice handoffs wait, so that replacements do not start on a node that goes too")
	f.DurationVar(&p.HandoffTime, "handoff-time", 15*time.Second, "what a handoff gets at least, also where a pod's grace is as long as the notice; at most half of the notice")
	f.DurationVar(&p.Deregistration, "deregistration", 15*time.Second, "how long a pod behind a target group lives on after it has left its endpoints; its annotation evenkeel.dev/deregistration decides before this")
	f.StringVar(&p.onDeadline, "on-deadline", "delete", "what becomes of a pod at its latest start if a budget still blocks its eviction: delete or leave")
	f.DurationVar(&p.Expire, "expire", 5*time.Minute, "how long after its deadline a node that is still there is given back")
	f.StringVar(&p.drainer, "drain", string(drain.DrainEvenkeel), "who evicts the pods of a node that goes: evenkeel, karpenter or managed (a node group); with the latter two evenkeel hands off, announces and reports")
	f.StringToStringVar(&p.drainers, "drain-pool", nil, "the same by pool, as POOL=WHO; a node's label evenkeel.dev/drain decides before this")
	f.StringVar(&p.rebalance, "rebalance", string(drain.RebalanceIgnore), "what a rebalance recommendation leads to: ignore, cordon or handoff")
	f.StringToStringVar(&p.rebalances, "rebalance-pool", nil, "the same by pool, as POOL=WHAT; a node's label evenkeel.dev/rebalance decides before this")
	f.DurationVar(&p.RebalanceHold, "rebalance-hold", 30*time.Minute, "how long a node stays cordoned after a rebalance recommendation that no interruption follows")
	f.DurationVar(&p.ScheduledLead, "scheduled-lead", time.Hour, "how long before the announced start of maintenance its machine is emptied")
	f.DurationVar(&p.HookTime, "hook-time", 15*time.Minute, "what a drain may take for which an Auto Scaling lifecycle hook waits")
	f.DurationVar(&p.Heartbeat, "hook-heartbeat", 30*time.Second, "how often an Auto Scaling group that waits is asked for more time; less than the hook's heartbeat timeout")
	f.BoolVar(&p.outOfService, "out-of-service", true, "taint the node of a machine that is gone with node.kubernetes.io/out-of-service where pods with volumes are left, so that the volumes are detached at once")
}

// parse returns the policy, or what is wrong with it.
func (p *policy) parse() (drain.Policy, error) {
	out := p.Policy
	if p.onDeadline != "delete" && p.onDeadline != "leave" {
		return out, fmt.Errorf("--on-deadline=%s: must be delete or leave", p.onDeadline)
	}
	out.Leave, out.KeepVolumes = p.onDeadline == "leave", !p.outOfService
	var err error
	if out.Drainer, err = drain.ParseDrainer(p.drainer); err != nil {
		return out, fmt.Errorf("--drain: %w", err)
	}
	if out.Rebalance, err = drain.ParseRebalance(p.rebalance); err != nil {
		return out, fmt.Errorf("--rebalance: %w", err)
	}
	out.Pools = make(map[string]drain.PoolPolicy)
	for pool, v := range p.drainers {
		pp := out.Pools[pool]
		if pp.Drainer, err = drain.ParseDrainer(v); err != nil {
			return out, fmt.Errorf("--drain-pool=%s=%s: %w", pool, v, err)
		}
		out.Pools[pool] = pp
	}
	for pool, v := range p.rebalances {
		pp := out.Pools[pool]
		if pp.Rebalance, err = drain.ParseRebalance(v); err != nil {
			return out, fmt.Errorf("--rebalance-pool=%s=%s: %w", pool, v, err)
		}
		out.Pools[pool] = pp
	}
	return out, nil
}
