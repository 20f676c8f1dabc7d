package gcp_test

import (
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/gcp"
	"github.com/evenkeel-dev/evenkeel/internal/gcp/gcptest"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

func TestPreemptionIsHeardWhenItComes(t *testing.T) {
	server := gcptest.New(t)
	preempted := gcp.New("project/zone/vm", 30*time.Second, server.URL).Preempted()
	if got, err := preempted.Next(t.Context()); err != nil || len(got) != 0 {
		t.Fatalf("before: %v, %v", got, err)
	}
	type answer struct {
		notices []interruption.Notice
		err     error
	}
	heard := make(chan answer, 1)
	go func() {
		n, err := preempted.Next(t.Context())
		heard <- answer{n, err}
	}()
	for server.Asked() < 2 {
		time.Sleep(time.Millisecond) // until the second request waits at the server
	}
	server.Set("instance/preempted", "TRUE")
	got := <-heard
	if got.err != nil || len(got.notices) != 1 {
		t.Fatalf("%v, %v", got.notices, got.err)
	}
	n := got.notices[0]
	if n.Kind != interruption.SpotInterruption || n.Instance != "project/zone/vm" || n.Deadline.Sub(n.Seen) != 30*time.Second {
		t.Errorf("%+v", n)
	}
}

func TestMaintenance(t *testing.T) {
	server := gcptest.New(t)
	maintenance := gcp.New("project/zone/vm", 30*time.Second, server.URL).Maintenance()
	for _, step := range []struct {
		value string
		want  int
	}{{"NONE", 0}, {"MIGRATE_ON_HOST_MAINTENANCE", 0}, {"TERMINATE_ON_HOST_MAINTENANCE", 1}, {"NONE", 0}} {
		server.Set("instance/maintenance-event", step.value)
		got, err := maintenance.Next(t.Context())
		if err != nil || len(got) != step.want {
			t.Errorf("%s: %v, %v", step.value, got, err)
		}
	}
}

func TestTrouble(t *testing.T) {
	server := gcptest.New(t)
	preempted := gcp.New("project/zone/vm", 30*time.Second, server.URL).Preempted()
	server.Down(true)
	if _, err := preempted.Next(t.Context()); err == nil {
		t.Error("no error although the server is down")
	}
	server.Down(false)
	server.Set("instance/preempted", "PERHAPS")
	for range 2 { // what cannot be read is not waited for
		if _, err := preempted.Next(t.Context()); err == nil {
			t.Error("no error although the value makes no sense")
		}
	}
}
