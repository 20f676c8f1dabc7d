package cloud

import (
	"slices"
	"testing"

	source "github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// clientEnv makes SDK clients that take their settings from the environment speak
// to c.
func clientEnv(t *testing.T, c *Cloud) {
	t.Helper()
	t.Setenv("AWS_ENDPOINT_URL", c.URL())
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}

// TestHooksAreAnswered runs the controller's client for lifecycle hooks against
// the cloud.
func TestHooksAreAnswered(t *testing.T) {
	c, _ := startFleet(t)
	clientEnv(t, c)
	hooks, err := source.NewHooks(t.Context(), "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	hook := interruption.Hook{Group: "spot", Name: "drain", Token: "token", Instance: "i-1"}
	if err := hooks.Heartbeat(t.Context(), hook); err != nil {
		t.Error(err)
	}
	if err := hooks.Complete(t.Context(), hook); err != nil {
		t.Error(err)
	}
	// Of an action that is over there is nothing to complete, which is fine.
	gone := interruption.Hook{Group: "spot", Name: "drain", Instance: "i-9"}
	if err := hooks.Complete(t.Context(), gone); err != nil {
		t.Errorf("an action that is no longer active: %v", err)
	}
	calls := c.LifecycleCalls()
	for i := range calls {
		calls[i].At = calls[0].At
	}
	want := []LifecycleCall{
		{Action: "RecordLifecycleActionHeartbeat", Hook: "drain", Group: "spot", Instance: "i-1", Token: "token", At: calls[0].At},
		{Action: "CompleteLifecycleAction", Hook: "drain", Group: "spot", Instance: "i-1", Token: "token", Result: "CONTINUE", At: calls[0].At},
	}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %+v, want %+v", calls, want)
	}

	c.Unreachable(true)
	if err := hooks.Complete(t.Context(), hook); err == nil {
		t.Error("no error although the cloud cannot be reached")
	}
}
