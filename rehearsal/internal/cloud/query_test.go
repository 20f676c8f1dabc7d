package cloud

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// startFleet is a cloud with four instances, two of them in a group.
func startFleet(t *testing.T) (*Cloud, <-chan string) {
	t.Helper()
	asked := make(chan string, 10) // the instances that a client asked to terminate
	c := startCloud(t, Config{OnTerminate: func(id string) { asked <- id }})
	c.RunInstance(Instance{ID: "i-1", Type: "m6i.large", Zone: "us-east-1a", Spot: true, Group: "spot", PrivateIP: "10.0.0.1", Tags: map[string]string{"cluster": "mib", "a": "<&>"}})
	c.RunInstance(Instance{ID: "i-2", Type: "m6i.large", Zone: "us-east-1b", Spot: true, Group: "spot"})
	c.RunInstance(Instance{ID: "i-3", Type: "m6a.large", Zone: "us-east-1a", Tags: map[string]string{"cluster": "other"}})
	c.RunInstance(Instance{ID: "i-4", Type: "m6i.large", Zone: "us-east-1a", Spot: true, State: Pending})
	return c, asked
}

func TestEC2DescribeInstances(t *testing.T) {
	c, _ := startFleet(t)
	client := ec2.NewFromConfig(awsConfig(c))
	where := func(name string, values ...string) types.Filter {
		return types.Filter{Name: aws.String(name), Values: values}
	}
	for _, row := range []struct {
		name    string
		ids     []string
		filters []types.Filter
		want    []string
		code    string
	}{
		{name: "all", want: []string{"i-1", "i-2", "i-3", "i-4"}},
		{name: "by ID", ids: []string{"i-3", "i-1"}, want: []string{"i-1", "i-3"}},
		{name: "spot and running", filters: []types.Filter{where("instance-lifecycle", "spot"), where("instance-state-name", "running")}, want: []string{"i-1", "i-2"}},
		{name: "either zone", filters: []types.Filter{where("availability-zone", "us-east-1a", "us-east-1b"), where("instance-type", "m6i.large")}, want: []string{"i-1", "i-2", "i-4"}},
		{name: "tag", filters: []types.Filter{where("tag:cluster", "mib")}, want: []string{"i-1"}},
		{name: "tag key", filters: []types.Filter{where("tag-key", "cluster")}, want: []string{"i-1", "i-3"}},
		{name: "none", filters: []types.Filter{where("tag:cluster", "none")}},
		{name: "unknown instance", ids: []string{"i-1", "i-9"}, code: "InvalidInstanceID.NotFound"},
		{name: "not an instance", ids: []string{"node-1"}, code: "InvalidInstanceID.Malformed"},
		{name: "unknown filter", filters: []types.Filter{where("colour", "red")}, code: "InvalidParameterValue"},
		{name: "wildcard", filters: []types.Filter{where("instance-type", "m6*")}, code: "InvalidParameterValue"},
	} {
		t.Run(row.name, func(t *testing.T) {
			out, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: row.ids, Filters: row.filters})
			if row.code != "" {
				expectCode(t, err, row.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := instanceIDs(out); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}

	out := must[*ec2.DescribeInstancesOutput](t)(client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"i-1"}}))
	i := out.Reservations[0].Instances[0]
	if i.InstanceType != types.InstanceTypeM6iLarge || *i.Placement.AvailabilityZone != "us-east-1a" || *i.PrivateIpAddress != "10.0.0.1" ||
		i.InstanceLifecycle != types.InstanceLifecycleTypeSpot || i.State.Name != types.InstanceStateNameRunning || *i.State.Code != 16 ||
		len(i.Tags) != 2 || *i.Tags[0].Value != "<&>" || i.LaunchTime.IsZero() {
		t.Errorf("instance %+v", i)
	}

	var paged []string
	pages := ec2.NewDescribeInstancesPaginator(client, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(3)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, instanceIDs(out)...)
	}
	if want := []string{"i-1", "i-2", "i-3", "i-4"}; !slices.Equal(paged, want) {
		t.Errorf("page by page %v, want %v", paged, want)
	}
}

func instanceIDs(out *ec2.DescribeInstancesOutput) (ids []string) {
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			ids = append(ids, *i.InstanceId)
		}
	}
	return ids
}

func expectCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("got %v, want the code %s", err, code)
	}
}

func TestEC2TerminateInstances(t *testing.T) {
	c, asked := startFleet(t)
	client := ec2.NewFromConfig(awsConfig(c))
	terminate := func(ids ...string) (*ec2.TerminateInstancesOutput, error) {
		return client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: ids})
	}
	_, err := terminate("i-1", "i-9")
	expectCode(t, err, "InvalidInstanceID.NotFound")
	if i, _ := c.Instance("i-1"); i.State != Running {
		t.Errorf("a refused request terminated i-1: %s", i.State)
	}

	out := must[*ec2.TerminateInstancesOutput](t)(terminate("i-1"))
	change := out.TerminatingInstances[0]
	if change.PreviousState.Name != types.InstanceStateNameRunning || change.CurrentState.Name != types.InstanceStateNameShuttingDown {
		t.Errorf("change %+v", change)
	}
	c.Terminate("i-1")
	out = must[*ec2.TerminateInstancesOutput](t)(terminate("i-1"))
	if got := out.TerminatingInstances[0].CurrentState.Name; got != types.InstanceStateNameTerminated {
		t.Errorf("terminated again: %s", got)
	}
	if id := <-asked; id != "i-1" || len(asked) != 0 {
		t.Errorf("asked to end %s and %d more, want i-1 once", id, len(asked))
	}
	if c.SetState("i-1", Running); must[Instance](t)(known(c.Instance("i-1"))).State != Terminated {
		t.Error("a terminated instance came back")
	}
}

func known(i Instance, ok bool) (Instance, error) {
	if !ok {
		return i, errors.New("unknown instance")
	}
	return i, nil
}

func TestAutoScaling(t *testing.T) {
	c, _ := startFleet(t)
	client := autoscaling.NewFromConfig(awsConfig(c))
	describe := func() (out []string) {
		t.Helper()
		got := must[*autoscaling.DescribeAutoScalingInstancesOutput](t)(client.DescribeAutoScalingInstances(t.Context(),
			&autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{"i-1", "i-2", "i-3", "i-9"}}))
		for _, i := range got.AutoScalingInstances {
			out = append(out, *i.InstanceId+" "+*i.AutoScalingGroupName+" "+*i.LifecycleState)
		}
		return out
	}
	c.SetState("i-2", ShuttingDown)
	if got, want := describe(), []string{"i-1 spot InService", "i-2 spot Terminating"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c.Terminate("i-2")
	if got, want := describe(), []string{"i-1 spot InService"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	heartbeat := func(ctx context.Context, group, instance string) error {
		_, err := client.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
			AutoScalingGroupName: &group, InstanceId: &instance, LifecycleHookName: aws.String("drain"),
		})
		return err
	}
	complete := func(ctx context.Context, result string) error {
		_, err := client.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
			AutoScalingGroupName: aws.String("spot"), InstanceId: aws.String("i-1"), LifecycleHookName: aws.String("drain"),
			LifecycleActionToken: aws.String("token"), LifecycleActionResult: &result,
		})
		return err
	}
	expectCode(t, heartbeat(t.Context(), "other", "i-1"), "ValidationError")
	expectCode(t, heartbeat(t.Context(), "spot", "i-9"), "ValidationError")
	expectCode(t, complete(t.Context(), "PERHAPS"), "ValidationError")
	if err := heartbeat(t.Context(), "spot", "i-1"); err != nil {
		t.Fatal(err)
	}
	if err := complete(t.Context(), "CONTINUE"); err != nil {
		t.Fatal(err)
	}
	calls := c.LifecycleCalls()
	for i := range calls {
		if calls[i].At.IsZero() {
			t.Errorf("call %d has no time", i)
		}
		calls[i].At = calls[0].At
	}
	want := []LifecycleCall{
		{Action: "RecordLifecycleActionHeartbeat", Hook: "drain", Group: "spot", Instance: "i-1", At: calls[0].At},
		{Action: "CompleteLifecycleAction", Hook: "drain", Group: "spot", Instance: "i-1", Token: "token", Result: "CONTINUE", At: calls[0].At},
	}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %+v, want %+v", calls, want)
	}

	_, err := client.DescribePolicies(t.Context(), &autoscaling.DescribePoliciesInput{})
	expectCode(t, err, "InvalidAction")
}
