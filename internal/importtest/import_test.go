// Package importtest keeps the direction of imports: what may know what is
// checked, not drawn.
package importtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/evenkeel-dev/evenkeel/"

// levels say which packages of the project a package may import: those of lower
// levels, and of its own level only those named. A package that is not listed
// here is an error: where it belongs is decided once, by whoever adds it.
var levels = [][]string{
	// Plain data and pure decoding.
	{"internal/interruption", "internal/cluster", "internal/metrics", "internal/spec", "internal/rows", "internal/price", "internal/download", "deploy", "docs/runbooks", "examples/market-intel-brain"},
	// Pure decisions.
	{"internal/drain", "internal/proof", "internal/trace", "internal/provision", "internal/sim", "internal/plan", "internal/render", "internal/lint", "internal/adopt", "internal/bill", "internal/chart", "internal/runbook", "internal/capacity"},
	// One outside system each, and the loop: they never know each other.
	{"internal/controller", "internal/kube", "internal/aws", "internal/azure", "internal/gcp", "internal/agent", "internal/web", "internal/notify", "internal/proof/journal", "internal/wrapper", "internal/awsprice", "internal/capacity/keeper", "internal/azureprice", "internal/gcpprice"},
	{"internal/cli", "internal/program"},
	// Mains: wiring.
	{"cmd/evenkeel", "cmd/evenkeel-controller", "cmd/evenkeel-agent", "cmd/evenkeel-lambda", "cmd/evenkeel-run"},
}

// within names the imports inside one level that are meant.
var within = map[string][]string{
	"internal/cluster":  {"internal/interruption"},
	"internal/proof":    {"internal/drain"},
	"internal/capacity": {"internal/drain", "internal/provision"},
	"internal/sim":      {"internal/drain", "internal/provision", "internal/trace"},
	"internal/plan":     {"internal/bill", "internal/provision", "internal/sim", "internal/trace"},
	"internal/price":    {"internal/rows"},
}

// pure packages decide: they take time as an argument and start nothing. What
// they may import of the outside is listed; the standard library's clocks and
// networks are not.
var pure = map[string][]string{
	"internal/interruption": {},
	"internal/cluster":      {"k8s.io/apimachinery/pkg/labels"},
	"internal/drain":        {},
	"internal/metrics":      {},
	"internal/proof":        {},
	"internal/provision":    {},
	"internal/capacity":     {},
	"internal/sim":          {"k8s.io/apimachinery/pkg/labels"},
	"internal/trace":        {},
	"internal/rows":         {},
	"internal/price":        {},
	"internal/runbook":      {"sigs.k8s.io/yaml"},
}

// impure is what no pure package imports.
var impure = []string{"net", "net/http", "os", "os/exec", "log", "log/slog", "sync", "math/rand"}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestImports(t *testing.T) {
	pkgs := list(t)
	level := make(map[string]int)
	for i, names := range levels {
		for _, n := range names {
			level[n] = i
		}
	}
	for _, p := range pkgs {
		name := strings.TrimPrefix(p.ImportPath, module)
		if outside(name) {
			continue
		}
		own, ok := levelOf(level, name)
		if !ok {
			t.Errorf("%s has no level: say in levels where it belongs", name)
			continue
		}
		for _, imp := range p.Imports {
			other, ours := strings.CutPrefix(imp, module)
			if !ours || other == "lifecycle" || strings.HasPrefix(other, name+"/") || strings.HasPrefix(name, other+"/") {
				continue
			}
			theirs, ok := levelOf(level, other)
			switch {
			case !ok:
				t.Errorf("%s imports %s, which has no level", name, other)
			case theirs > own:
				t.Errorf("%s imports %s, which is above it", name, other)
			case theirs == own && root(other) != root(name) && !slices.Contains(within[name], other):
				t.Errorf("%s imports %s, which stands beside it", name, other)
			}
		}
		if allowed, ok := pure[name]; ok {
			for _, imp := range p.Imports {
				switch {
				case slices.Contains(impure, imp):
					t.Errorf("%s decides, and imports %s", name, imp)
				case strings.Contains(imp, ".") && !strings.HasPrefix(imp, module) && !slices.Contains(allowed, imp):
					t.Errorf("%s decides, and imports %s", name, imp)
				}
			}
		}
	}
}

// TestServicesKnowOnlyTheLibrary holds the reference platform to what any user's
// services could do: nothing of Evenkeel but its public library.
func TestServicesKnowOnlyTheLibrary(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if !strings.HasPrefix(name, "platform/") {
			continue
		}
		for _, imp := range p.Imports {
			other, ours := strings.CutPrefix(imp, module)
			if ours && !strings.HasPrefix(other, "lifecycle") && !strings.HasPrefix(other, "platform/") {
				t.Errorf("%s imports %s", name, other)
			}
		}
	}
}

// outside reports whether a package is not bound by the levels: those of the
// other modules of the workspace, which nothing here can import but lifecycle,
// services, which have a test of their own or are samples, and this test.
func outside(name string) bool {
	for _, prefix := range []string{"lifecycle", "rehearsal/", "rendertest", "platform/", "examples/conform/", "internal/importtest"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == strings.TrimSuffix(module, "/") // the module's root, which holds no code
}

// levelOf finds the level of a package or of the package that it is part of.
func levelOf(level map[string]int, name string) (int, bool) {
	for n := name; n != "." && n != "/"; n = path.Dir(n) {
		if l, ok := level[n]; ok {
			return l, true
		}
	}
	return 0, false
}

// root is "internal/lint" for "internal/lint/rules".
func root(name string) string {
	parts := strings.SplitN(name, "/", 3)
	return path.Join(parts[:min(2, len(parts))]...)
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("listing packages: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("listing packages: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	return pkgs
}
