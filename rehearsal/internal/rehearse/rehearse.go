// Package rehearse puts a whole rehearsal together: for each handler it starts a
// Kubernetes control plane, nodes, a cloud, the platform's services and the load
// on them, takes nodes away as the plan says, and reports what was lost.
// It owns every goroutine and folder of a rehearsal; what it started is gone when
// Run returns.
package rehearse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/load"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/scenario"
)

// The handlers of interruptions.
const (
	Evenkeel = "evenkeel" // the controller of this project, as its own process, with its shipped Role
	Drain    = "drain"    // cordon, and evict everything at once, as other tools do
	None     = "none"     // machines just die
)

// Handlers lists them in the order of a comparison.
var Handlers = []string{None, Drain, Evenkeel}

// Config says what to rehearse.
type Config struct {
	Scenario *scenario.Scenario
	Platform *Platform
	Plan     *scenario.Plan
	Handlers []string
	Faults   []Fault
	// LoadProfile stands for the scenario's rate; nil: a constant one.
	LoadProfile *load.Profile
	// Bin is the folder with the programs that the scenario's images name.
	Bin string
	// Dir takes everything that is written: it exists, and its owner removes it.
	Dir      string
	Progress *report.Progress
	Log      *slog.Logger
}

// Check reports what is missing before anything is started.
func (c *Config) Check() error {
	for _, h := range c.Handlers {
		if !slices.Contains(Handlers, h) {
			return fmt.Errorf("handler %q is not known: it is one of %s", h, strings.Join(Handlers, ", "))
		}
	}
	for image, program := range c.Scenario.Images {
		path := filepath.Join(c.Bin, program)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the program for image %s is missing: %s\n'make build' in the project's root builds it; --bin names another folder", image, path)
		} else if err != nil {
			return fmt.Errorf("looking for the program for image %s: %w", image, err)
		}
	}
	return nil
}

// Run rehearses with each handler in turn and returns the report.
func Run(ctx context.Context, c Config) (*report.Report, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	began := time.Now()
	r := &report.Report{
		Scenario: c.Scenario.Name, Seed: c.Scenario.Seed, Trace: c.Plan.Trace, TimeScale: c.Scenario.TimeScale,
		KubernetesVersion: controlplane.KubernetesVersion, Started: began.UTC().Format(time.RFC3339),
		Handlers: make(map[string]*report.Handler),
	}
	for _, f := range c.Faults {
		r.Faults = append(r.Faults, f.String())
	}
	for _, h := range c.Handlers {
		s := &stage{Config: c, handler: h, dir: filepath.Join(c.Dir, h), log: c.Log.With("handler", h)}
		out, err := s.run(ctx)
		if err != nil {
			return nil, fmt.Errorf("rehearsing with %s: %w", h, err)
		}
		r.Handlers[h] = out
	}
	r.DurationSeconds = time.Since(began).Seconds()
	r.Verdict, r.Reasons = report.Judge(r.Handlers)
	return r, nil
}
