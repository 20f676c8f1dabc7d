// Package runbook reads runbooks: pages for people, whose front matter lists what may
// be done by a command. It decides what each action comes to in a cluster as it is,
// and does nothing: that is its caller's part.
//
// Actions are few, typed and bounded, so that a page can be read by somebody who was
// woken, and cannot do more than it says. What is not an action (deciding, looking,
// buying) is text.
package runbook

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Kinds of actions.
const (
	Query   = "query"   // print a PromQL expression
	Cordon  = "cordon"  // keep new pods away from a node
	Cancel  = "cancel"  // call a node's drain off
	Scale   = "scale"   // change a deployment's replicas by a few, within bounds
	Restart = "restart" // replace a deployment's pods, as its strategy says
)

// Bounds of every page.
const (
	maxActions  = 12
	maxChanges  = 5  // actions of one page that change something
	maxScaleBy  = 5  // replicas
	maxReplicas = 50 // what a page may scale to at most
)

// A Page is a valid runbook: Parse returns no other.
type Page struct {
	Alert    string   `json:"alert"` // and the name of the page
	Severity string   `json:"severity"`
	Summary  string   `json:"summary"`
	Actions  []Action `json:"actions,omitempty"`
	Text     string   `json:"-"` // for people, in Markdown
}

// An Action is one thing that may be done. Its strings may have parameters like
// {{node}}, which the person who runs it gives.
type Action struct {
	ID         string `json:"id"` // unique in the page
	Kind       string `json:"kind"`
	Why        string `json:"why"`
	Query      string `json:"query,omitempty"`      // of Query
	Node       string `json:"node,omitempty"`       // of Cordon and Cancel
	Deployment string `json:"deployment,omitempty"` // namespace/name, of Scale and Restart
	By         int    `json:"by,omitempty"`         // of Scale: replicas more, or fewer
	Min        int    `json:"min,omitempty"`        // of Scale: it never goes below
	Max        int    `json:"max,omitempty"`        // of Scale: nor above
}

// Changes reports whether an action changes something.
func (a Action) Changes() bool { return a.Kind != Query }

var (
	alertName  = regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)
	actionID   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	parameter  = regexp.MustCompile(`\{\{([^{}]*)\}\}`)
	paramName  = regexp.MustCompile(`^[a-z]+$`)
	dnsName    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	severities = []string{"info", "warning", "critical"}
)

// Parse reads a page. The name is that of the alert; errors name the action and field.
func Parse(name string, data []byte) (Page, error) {
	wrong := func(format string, args ...any) (Page, error) {
		return Page{}, fmt.Errorf("runbook %s: %s", name, fmt.Sprintf(format, args...))
	}
	rest, ok := bytes.CutPrefix(data, []byte("---\n"))
	if !ok {
		return wrong("it does not begin with front matter between lines of ---")
	}
	front, text, ok := bytes.Cut(rest, []byte("\n---\n"))
	if !ok {
		return wrong("its front matter does not end")
	}
	var p Page
	if err := yaml.UnmarshalStrict(front, &p); err != nil {
		return wrong("%v", err)
	}
	p.Text = strings.TrimSpace(string(text)) + "\n"
	switch {
	case p.Alert != name || !alertName.MatchString(name):
		return wrong("alert: %q is not the name of the page, or not that of an alert", p.Alert)
	case !slices.Contains(severities, p.Severity):
		return wrong("severity: %q is none of %s", p.Severity, strings.Join(severities, ", "))
	case p.Summary == "":
		return wrong("summary: missing")
	case len(p.Actions) > maxActions:
		return wrong("%d actions are more than %d", len(p.Actions), maxActions)
	}
	seen, changes := make(map[string]bool), 0
	for i, a := range p.Actions {
		if err := a.check(); err != nil {
			return wrong("actions[%d] (%s): %v", i, a.ID, err)
		}
		if seen[a.ID] {
			return wrong("actions[%d]: the id %s is there twice", i, a.ID)
		}
		seen[a.ID] = true
		if a.Changes() {
			changes++
		}
	}
	if changes > maxChanges {
		return wrong("%d actions change something; more than %d is no runbook but a program", changes, maxChanges)
	}
	return p, nil
}

func (a Action) check() error {
	uses := map[string]bool{"query": a.Query != "", "node": a.Node != "", "deployment": a.Deployment != "", "by": a.By != 0, "min": a.Min != 0, "max": a.Max != 0}
	needs, ok := map[string][]string{Query: {"query"}, Cordon: {"node"}, Cancel: {"node"}, Scale: {"deployment", "by", "min", "max"}, Restart: {"deployment"}}[a.Kind]
	switch {
	case !ok:
		return fmt.Errorf("kind: %q is not known", a.Kind)
	case !actionID.MatchString(a.ID):
		return fmt.Errorf("id: %q is not lower-case words with hyphens", a.ID)
	case a.Why == "":
		return fmt.Errorf("why: missing")
	}
	for _, field := range slices.Sorted(maps.Keys(uses)) {
		switch needed := slices.Contains(needs, field); {
		case needed && !uses[field]:
			return fmt.Errorf("%s: missing", field)
		case !needed && uses[field]:
			return fmt.Errorf("%s: means nothing for %s", field, a.Kind)
		}
	}
	if a.Kind == Scale {
		switch {
		case a.By > maxScaleBy || a.By < -maxScaleBy:
			return fmt.Errorf("by: %d is more than %d at once", a.By, maxScaleBy)
		case a.Min < 1 || a.Max > maxReplicas || a.Min > a.Max:
			return fmt.Errorf("min, max: want 1 <= min <= max <= %d", maxReplicas)
		}
	}
	for _, m := range parameter.FindAllStringSubmatch(a.Query+" "+a.Node+" "+a.Deployment, -1) {
		if !paramName.MatchString(m[1]) {
			return fmt.Errorf("{{%s}} is not a parameter like {{node}}", m[1])
		}
	}
	if a.Deployment != "" && strings.Count(a.Deployment, "/") != 1 {
		return fmt.Errorf("deployment: %q is not namespace/name", a.Deployment)
	}
	return nil
}

// Parameters returns the names that the actions want, sorted.
func Parameters(actions []Action) []string {
	names := make(map[string]bool)
	for _, a := range actions {
		for _, m := range parameter.FindAllStringSubmatch(a.Query+" "+a.Node+" "+a.Deployment, -1) {
			names[m[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// With returns an action with its parameters filled in. Values are names of things in
// Kubernetes and nothing else: they cannot add to a query.
func (a Action) With(values map[string]string) (Action, error) {
	var err error
	fill := func(text string) string {
		return parameter.ReplaceAllStringFunc(text, func(p string) string {
			name := strings.Trim(p, "{}")
			v, ok := values[name]
			switch {
			case !ok:
				err = cmp.Or(err, fmt.Errorf("%s needs --set %s=VALUE", a.ID, name))
			case !dnsName.MatchString(v) || len(v) > 253:
				err = cmp.Or(err, fmt.Errorf("--set %s=%q: not the name of anything in Kubernetes", name, v))
			}
			return v
		})
	}
	a.Query, a.Node, a.Deployment = fill(a.Query), fill(a.Node), fill(a.Deployment)
	if err == nil && a.Node != "" && !dnsName.MatchString(a.Node) {
		err = fmt.Errorf("%s: %q is not the name of a node", a.ID, a.Node)
	}
	return a, err
}

// Names lists the pages of a folder, sorted.
func Names(pages fs.FS) ([]string, error) {
	files, err := fs.Glob(pages, "*.md")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if name := strings.TrimSuffix(f, ".md"); alertName.MatchString(name) && name != "README" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Read reads the page of an alert.
func Read(pages fs.FS, name string) (Page, error) {
	if !alertName.MatchString(name) {
		return Page{}, fmt.Errorf("%q is not the name of an alert", name)
	}
	data, err := fs.ReadFile(pages, name+".md")
	if err != nil {
		return Page{}, fmt.Errorf("there is no runbook %s: %w", name, err)
	}
	return Parse(name, data)
}
