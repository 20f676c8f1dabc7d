package handofftest

import (
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/drainbench"
)

// TestManyNodes is `make bench-drain`, small: whether every node is emptied and
// nothing is lost. How fast is for the benchmark to say.
func TestManyNodes(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "../../../cmd/evenkeel-controller").CombinedOutput(); err != nil {
		t.Fatalf("building the controller: %v\n%s", err, out)
	}
	r, err := drainbench.Run(t.Context(), drainbench.Config{
		Bin: bin, Dir: t.TempDir(), Seed: 1, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, drainbench.Short())
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + table.String())
	if !r.Pass() {
		t.Error("a bar is not reached")
	}
}
