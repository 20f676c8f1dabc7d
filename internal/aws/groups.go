package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
)

// Groups reads and changes Auto Scaling groups with a mixed instances policy. Make one
// with [NewGroups].
type Groups struct {
	client *autoscaling.Client
	pools  map[string]string // by group
}

// NewGroups returns the Auto Scaling groups that buy the machines of pools: pools has
// the name of the group by that of the pool. The client is made from the environment,
// as [NewClient] does.
func NewGroups(ctx context.Context, region string, pools map[string]string) (*Groups, error) {
	c, err := load(ctx, region)
	if err != nil {
		return nil, err
	}
	byGroup := make(map[string]string)
	for pool, group := range pools {
		if other, twice := byGroup[group]; twice {
			return nil, fmt.Errorf("group %s cannot buy the machines of two pools, %s and %s", group, other, pool)
		}
		byGroup[group] = pool
	}
	return &Groups{autoscaling.NewFromConfig(c), byGroup}, nil
}

// Kind says that they are Auto Scaling groups.
func (g *Groups) Kind() capacity.Kind { return capacity.ScalingGroup }

// Groups reads the groups. One that does not exist is an error: its name was given by
// a person.
func (g *Groups) Groups(ctx context.Context) ([]capacity.Group, error) {
	if len(g.pools) == 0 {
		return nil, nil
	}
	found, err := g.describe(ctx, slices.Sorted(maps.Keys(g.pools))...)
	if err != nil {
		return nil, err
	}
	var out []capacity.Group
	for _, name := range slices.Sorted(maps.Keys(g.pools)) {
		i := slices.IndexFunc(found, func(a types.AutoScalingGroup) bool { return aws.ToString(a.AutoScalingGroupName) == name })
		if i < 0 {
			return nil, fmt.Errorf("reading Auto Scaling group %s: there is none of that name", name)
		}
		out = append(out, groupOf(g.pools[name], &found[i]))
	}
	return out, nil
}

func (g *Groups) describe(ctx context.Context, names ...string) ([]types.AutoScalingGroup, error) {
	var out []types.AutoScalingGroup
	// A page has at most 100 groups, and so has a list of names.
	for part := range slices.Chunk(names, 100) {
		p := autoscaling.NewDescribeAutoScalingGroupsPaginator(g.client, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: part, MaxRecords: aws.Int32(100)})
		for p.HasMorePages() {
			page, err := p.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("reading Auto Scaling groups: %w", err)
			}
			out = append(out, page.AutoScalingGroups...)
		}
	}
	return out, nil
}

// groupOf is what the decisions need of a group.
func groupOf(pool string, a *types.AutoScalingGroup) capacity.Group {
	out := capacity.Group{
		Pool: pool, Kind: capacity.ScalingGroup, Name: aws.ToString(a.AutoScalingGroupName),
		Zones: slices.Clone(a.AvailabilityZones), Spot: true, OnDemand: true, Desired: int(aws.ToInt32(a.DesiredCapacity)),
	}
	for _, tag := range a.Tags {
		if strings.HasPrefix(aws.ToString(tag.Key), "eks:nodegroup-name") {
			out.Fixed = "it belongs to an EKS managed node group, which sets it itself"
		}
	}
	m := a.MixedInstancesPolicy
	if m == nil || m.LaunchTemplate == nil || m.InstancesDistribution == nil {
		out.Fixed = "it has no mixed instances policy"
		return out
	}
	out.Set.Base = int(aws.ToInt32(m.InstancesDistribution.OnDemandBaseCapacity))
	if len(m.InstancesDistribution.DistributionSegments) > 0 {
		out.Fixed = "it is set by distribution segments"
	}
	for i := range m.LaunchTemplate.Overrides {
		o := &m.LaunchTemplate.Overrides[i]
		if o.InstanceType == nil || o.LaunchTemplateSpecification != nil || o.InstanceRequirements != nil || o.ImageId != nil {
			// What is left out must be put back as it was.
			out.Fixed = "its overrides have more than a type and a weight"
			continue
		}
		offer := *o.InstanceType
		if w := aws.ToString(o.WeightedCapacity); w != "" {
			offer += "=" + w
			if w != "1" {
				out.Fixed, out.Desired = "its capacity is counted in units, not in machines", 0
			}
		}
		out.Types, out.Set.Offers = append(out.Types, *o.InstanceType), append(out.Set.Offers, offer)
	}
	return out
}

// Change sets the on-demand base and the overrides of a group. Auto Scaling has no
// compare-and-swap: the group is read just before, and a change that somebody else
// makes in between is overwritten.
func (g *Groups) Change(ctx context.Context, group capacity.Group, from, to capacity.Settings) error {
	found, err := g.describe(ctx, group.Name)
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("reading Auto Scaling group %s: there is none of that name", group.Name)
	}
	now := groupOf(group.Pool, &found[0])
	switch {
	case now.Fixed != "":
		return fmt.Errorf("changing Auto Scaling group %s: %s", group.Name, now.Fixed)
	case now.Set.Equal(to):
		return nil // by us, and the answer was lost
	case !now.Set.Equal(from):
		return fmt.Errorf("changing Auto Scaling group %s: %w", group.Name, capacity.ErrChanged)
	}
	// What is not named would be set to its default, so all of it is sent back.
	m := found[0].MixedInstancesPolicy
	d := *m.InstancesDistribution
	d.OnDemandBaseCapacity = aws.Int32(int32(to.Base))
	t := *m.LaunchTemplate
	t.Overrides = nil
	for _, offer := range to.Offers {
		name, weight, weighted := strings.Cut(offer, "=")
		o := types.LaunchTemplateOverrides{InstanceType: &name}
		if weighted {
			if _, err := strconv.Atoi(weight); err != nil {
				return fmt.Errorf("changing Auto Scaling group %s: %q is no override", group.Name, offer)
			}
			o.WeightedCapacity = &weight
		}
		t.Overrides = append(t.Overrides, o)
	}
	_, err = g.client.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: &group.Name,
		MixedInstancesPolicy: &types.MixedInstancesPolicy{InstancesDistribution: &d, LaunchTemplate: &t},
	})
	if err != nil {
		return fmt.Errorf("changing Auto Scaling group %s: %w", group.Name, err)
	}
	return nil
}
