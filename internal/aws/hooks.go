package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/smithy-go"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Hooks answers lifecycle hooks of Auto Scaling groups. Make one with [NewHooks].
type Hooks struct{ client *autoscaling.Client }

// NewHooks returns a Hooks that speaks to Auto Scaling with a client made from the
// environment, as [NewClient] does.
func NewHooks(ctx context.Context, region string) (*Hooks, error) {
	c, err := load(ctx, region)
	if err != nil {
		return nil, err
	}
	return &Hooks{autoscaling.NewFromConfig(c)}, nil
}

// Heartbeat asks the group to wait for as long again as its hook allows.
func (h *Hooks) Heartbeat(ctx context.Context, hook interruption.Hook) error {
	_, err := h.client.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: &hook.Group,
		LifecycleHookName:    &hook.Name,
		LifecycleActionToken: token(hook),
		InstanceId:           instance(hook),
	})
	return answered("recording a heartbeat", hook, err)
}

// Complete lets the group go on to terminate the instance.
func (h *Hooks) Complete(ctx context.Context, hook interruption.Hook) error {
	_, err := h.client.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName:  &hook.Group,
		LifecycleHookName:     &hook.Name,
		LifecycleActionToken:  token(hook),
		InstanceId:            instance(hook),
		LifecycleActionResult: aws.String("CONTINUE"),
	})
	return answered("completing the action", hook, err)
}

func token(h interruption.Hook) *string {
	if h.Token == "" {
		return nil // the instance names the action, too
	}
	return &h.Token
}

func instance(h interruption.Hook) *string {
	id := string(h.Instance)
	return &id
}

// answered says what became of a call. An action that is no longer active has been
// completed already, by us before a crash or by somebody else, or its time is
// over: nobody waits for the answer, and that is as good as having given it.
func answered(doing string, h interruption.Hook, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok && e.ErrorCode() == "ValidationError" &&
		strings.Contains(strings.ToLower(e.ErrorMessage()), "no active lifecycle action") {
		return nil
	}
	return fmt.Errorf("%s of lifecycle hook %s of group %s: %w", doing, h.Name, h.Group, err)
}
