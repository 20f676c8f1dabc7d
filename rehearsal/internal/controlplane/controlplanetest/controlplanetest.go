// Package controlplanetest gives tests a real control plane.
//
// Importing it links Kubernetes into the test's executable: a package with such
// tests should have nothing else that needs quick builds.
package controlplanetest

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/roles"
)

// Main is the TestMain of a package whose tests call Start:
//
//	func TestMain(m *testing.M) { controlplanetest.Main(m) }
func Main(m *testing.M) {
	roles.Main()
	os.Exit(m.Run())
}

// Start starts a control plane in a folder of its own and closes it when the
// test is over. Its log lines go to the log of the test.
func Start(t testing.TB) *controlplane.ControlPlane {
	t.Helper()
	return StartConfig(t, controlplane.Config{})
}

// StartConfig is Start with settings. Dir and Log are chosen here if not set.
func StartConfig(t testing.TB, cfg controlplane.Config) *controlplane.ControlPlane {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Log == nil {
		cfg.Log = testLogger(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // means hung
	defer cancel()
	cp, err := controlplane.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Close(); err != nil {
			t.Error(err)
		}
	})
	return cp
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
