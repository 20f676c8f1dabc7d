package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/plan"
)

// TestApplyPlan: only numbers change, where they stand.
func TestApplyPlan(t *testing.T) {
	before, err := os.ReadFile("../../examples/market-intel-brain/platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "platform.yaml")
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	advice := []plan.Advice{{Pool: "gateway", Nodes: 3, Headroom: 9}, {Pool: "engine", Nodes: 3, Headroom: 1}, {Pool: "analytics", Nodes: 2}}
	if err := applyPlan(Streams{Out: io.Discard, Err: &said}, path, advice); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(before), "size: {min: 2, desired: 3, max: 10}", "size: {min: 2, desired: 12, max: 12}", 1)
	want = strings.Replace(want, "size: {min: 2, desired: 3, max: 12}", "size: {min: 2, desired: 4, max: 12}", 1)
	if string(after) != want {
		t.Errorf("the file is now:\n%s", after)
	}
	if !strings.Contains(said.String(), "changed the size of 2 pools") {
		t.Errorf("said %q", said.String())
	}
}
