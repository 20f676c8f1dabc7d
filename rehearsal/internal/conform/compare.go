package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
)

// contestant is one way to end.
type contestant struct {
	name    string
	command []string // empty if it cannot be run
	why     string   // if it cannot
}

// contestants are the ways to end that are compared. The service is the same
// throughout, this program in another role; only what it does at SIGTERM differs.
func contestants(self []string, wrapper string) []contestant {
	of := func(end string) []string { return append(append([]string{}, self...), "--end", end) }
	list := []contestant{
		{name: "exit", command: of("exit")},
		{name: "http.Server.Shutdown", command: of("shutdown")},
		{name: "readiness + 3 s + Shutdown", command: of("sleep")},
		{name: "library", command: of("library")},
		{name: "wrapper (child exits)"},
	}
	last := &list[len(list)-1]
	path, err := findWrapper(wrapper)
	if err != nil {
		last.why = err.Error()
		return list
	}
	last.command = append([]string{path, "--listen", "127.0.0.1:{port}", "--health", "127.0.0.1:{health-port}", "--"}, of("exit")...)
	return list
}

func findWrapper(path string) (string, error) {
	if path != "" {
		return exec.LookPath(path)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "evenkeel-run")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("evenkeel-run")
	if err != nil {
		return "", errors.New("evenkeel-run is neither beside this program nor in PATH: build it, or name it with --wrapper")
	}
	return path, nil
}

// runCompare plays the same stages with every contestant and prints them side by
// side. It fails only if it cannot be carried out: that most ways lose requests is
// the point.
func (f *flags) runCompare(ctx context.Context, cc CommandConfig, show *progress) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	c := f.Config
	c.Level = C3
	c.Post = "/orders"
	var names []string
	reports := make(map[string]*Report)
	for _, ct := range contestants([]string{self, "conform", "sample"}, f.wrapper) {
		names = append(names, ct.name)
		if ct.command == nil {
			fmt.Fprintf(cc.Err, "%s is left out: %s\n", ct.name, ct.why)
			continue
		}
		show.name = ct.name
		c.Command = ct.command
		r, err := Run(ctx, c)
		show.done()
		if err != nil {
			return fmt.Errorf("testing %s: %w", ct.name, err)
		}
		reports[ct.name] = r
	}
	if f.output == "json" {
		e := json.NewEncoder(cc.Out)
		e.SetIndent("", "  ")
		return e.Encode(reports)
	}

	t := tabwriter.NewWriter(cc.Out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| set-up\t| at SIGTERM\t| failed / sent\t| rate\t| per termination\t| doubled\t| exit after\t| killed\t|")
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for i := range c.stages() {
		for _, name := range names {
			r := reports[name]
			if r == nil {
				continue
			}
			s := r.Stages[i]
			mean, killed := 0.0, 0
			for _, e := range s.Exits {
				mean += e.Seconds / float64(len(s.Exits))
				if e.Killed {
					killed++
				}
			}
			fmt.Fprintf(t, "| %s\t| %s\t| %d / %d\t| %s\t| %.1f\t| %d\t| %.2f s\t| %d of %d\t|\n",
				s.Name, name, s.Failed, s.Sent, s.Bound(), float64(s.Failed)/float64(len(s.Exits)), s.Doubled, mean, killed, len(s.Exits))
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("writing the comparison: %w", err)
	}
	return nil
}
