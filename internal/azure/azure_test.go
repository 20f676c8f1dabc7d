package azure_test

import (
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/azure"
	"github.com/evenkeel-dev/evenkeel/internal/azure/azuretest"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

func TestEvents(t *testing.T) {
	server := azuretest.New(t, "vmss_0")
	m := azure.New("/subscriptions/1", false, server.URL)
	events := func() []interruption.Notice {
		t.Helper()
		got, err := m.Events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := events(); len(got) != 0 {
		t.Errorf("nothing is scheduled: %v", got)
	}
	at := time.Now().Add(30 * time.Second).Truncate(time.Second)
	server.Schedule("e1", "Preempt", at, "vmss_0")
	server.Schedule("e2", "Reboot", at, "vmss_0", "vmss_1")
	server.Schedule("e3", "Preempt", at, "vmss_1")
	server.Schedule("e4", "Freeze", at, "vmss_0")
	got := events()
	if len(got) != 2 || got[0].Kind != interruption.SpotInterruption || got[1].Kind != interruption.ScheduledChange || !got[0].Deadline.Equal(at) {
		t.Fatalf("%+v", got)
	}
	// The event of two machines is left to start at its time.
	for _, n := range got {
		if err := m.Approve(t.Context(), n); err != nil {
			t.Error(err)
		}
	}
	if got := server.Approved(); !slices.Equal(got, []string{"e1"}) {
		t.Errorf("approved %v, want e1", got)
	}
	if got := events(); len(got) != 2 || got[0].Deadline.After(time.Now()) {
		t.Errorf("after it has started: %+v", got)
	}
	if err := m.Approve(t.Context(), interruption.Notice{ID: "gone"}); err == nil {
		t.Error("no error although there is no such event")
	}
}
