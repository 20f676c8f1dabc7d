package lint

import (
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// A directory often holds the same object more than once: a base and what is
// built from it, one copy for each environment, or two unrelated applications
// that call something "frontend". Only one of them is ever in a cluster, so
// joins go to the copy that is meant.

// identity is what the API server tells objects apart by.
type identity struct{ kind, namespace, name string }

func (a *App) identity() identity { return identity{a.Kind, a.Namespace, a.Name} }

// distinct returns apps without those that repeat an earlier one.
func distinct(apps []*App) []*App {
	if len(apps) < 2 {
		return apps
	}
	seen := make(map[identity]bool, len(apps))
	var out []*App
	for _, a := range apps {
		if !seen[a.identity()] {
			seen[a.identity()] = true
			out = append(out, a)
		}
	}
	return out
}

// nearest returns apps without those of which a copy stands nearer to m: in the
// same file, or in a directory that shares more of its path.
func nearest(m *manifest.Meta, apps []*App) []*App {
	if len(apps) < 2 {
		return apps
	}
	best := make(map[identity]int, len(apps))
	for _, a := range apps {
		best[a.identity()] = max(best[a.identity()], nearness(m.File, a.File))
	}
	if len(best) == len(apps) {
		return apps // no copies
	}
	var out []*App
	for _, a := range apps {
		if nearness(m.File, a.File) == best[a.identity()] {
			out = append(out, a)
		}
	}
	return out
}

// nearness counts the leading parts that two paths share.
func nearness(a, b string) int {
	if a == b {
		return strings.Count(a, "/") + 2
	}
	n := 1
	for {
		x, restA, okA := strings.Cut(a, "/")
		y, restB, okB := strings.Cut(b, "/")
		if !okA || !okB || x != y {
			return n
		}
		n, a, b = n+1, restA, restB
	}
}
