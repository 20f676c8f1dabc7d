package lint

import (
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// Options are what the input does not say and the user may.
type Options struct {
	// AssumeSpot treats every workload whose placement is open as one on spot.
	AssumeSpot bool
	// Cloud is where the workloads run, for those whose own cloud is not told.
	Cloud manifest.Cloud
	// Namespace is where objects without one go; "default" if empty.
	Namespace string
}

// A Target is the input of the rules: what was read, joined.
type Target struct {
	*manifest.Set
	Options Options
	Apps    []*App

	index    podIndex
	budgeted map[*manifest.Budget][]*App
}

// An App is a workload with everything that refers to it.
type App struct {
	*manifest.Workload
	Namespace string // never empty
	Budgets   []*manifest.Budget
	Services  []*manifest.Service
	Scaler    *manifest.Scaler // nil without one
	Placement Placement
}

// Floor returns the fewest replicas that the input allows: those of the scaler
// if there is one, which then owns the number.
func (a *App) Floor() int {
	if a.Scaler != nil {
		return a.Scaler.Floor()
	}
	return a.Workload.Replicas.Or(1)
}

// Ceiling returns the most replicas that the input allows.
func (a *App) Ceiling() int {
	if a.Scaler == nil {
		return a.Workload.Replicas.Or(1)
	}
	def := 1 // HPA has no default: the API server wants it
	if a.Scaler.Kind == "ScaledObject" {
		def = 100
	}
	return max(a.Scaler.Max.Or(def), a.Floor())
}

// ReplicasPos returns the place that decides on the floor.
func (a *App) ReplicasPos() manifest.Pos {
	if a.Workload.Replicas.Set {
		return a.Workload.Replicas.Pos
	}
	return a.Pos
}

// Handoff reports whether the controller can start a replacement of a pod
// before it asks the pod to leave: only the pods of a Deployment that rolls
// and that has not opted out. See docs on handoff.
func (a *App) Handoff() bool {
	return a.Kind == "Deployment" && a.Strategy.Value != "Recreate" && a.Pod.Annotations.Get("evenkeel.dev/handoff") != "false"
}

// Serves reports whether someone calls the workload: a Service stands before it
// for more than the scraping of metrics.
func (a *App) Serves() bool {
	for _, s := range a.Services {
		if len(s.Ports) == 0 || slices.ContainsFunc(s.Ports, func(p manifest.ServicePort) bool { return !forMetrics(p.Name) }) {
			return true // a Service without ports is a headless one
		}
	}
	return false
}

// NewTarget joins what was read.
func NewTarget(set *manifest.Set, opts Options) *Target {
	t := &Target{Set: set, Options: opts}
	if t.Options.Namespace == "" {
		t.Options.Namespace = "default"
	}
	t.Apps = make([]*App, len(set.Workloads))
	for i, w := range set.Workloads {
		t.Apps[i] = &App{Workload: w, Namespace: t.namespace(&w.Meta)}
	}
	t.index = newPodIndex(t.Apps)
	t.joinBudgets()
	t.joinServices()
	t.joinScalers()
	for _, a := range t.Apps {
		a.Placement = t.place(a.Workload)
	}
	return t
}

func (t *Target) namespace(m *manifest.Meta) string {
	if m.Namespace == "" {
		return t.Options.Namespace
	}
	return m.Namespace
}

// Selected returns the apps whose pods a selector in the object's namespace
// selects, without jobs: budgets and services are not for them.
func (t *Target) Selected(m *manifest.Meta, s *manifest.Selector) []*App {
	return nearest(m, t.index.selected(t.namespace(m), s))
}

// Budgeted returns the apps whose pods a budget selects, each once.
func (t *Target) Budgeted(b *manifest.Budget) []*App { return t.budgeted[b] }

func (t *Target) joinBudgets() {
	t.budgeted = make(map[*manifest.Budget][]*App, len(t.Budgets))
	for _, b := range t.Budgets {
		apps := t.Selected(&b.Meta, &b.Selector)
		for _, a := range apps {
			a.Budgets = append(a.Budgets, b)
		}
		t.budgeted[b] = distinct(apps)
	}
}

func (t *Target) joinServices() {
	for _, s := range t.Set.Services {
		if len(s.Selector) == 0 { // endpoints by hand
			continue
		}
		for _, a := range t.Selected(&s.Meta, &manifest.Selector{Set: true, MatchLabels: s.Selector}) {
			a.Services = append(a.Services, s)
		}
	}
}

func (t *Target) joinScalers() {
	type key struct{ namespace, kind, name string }
	apps := make(map[key][]*App, len(t.Apps))
	for _, a := range t.Apps {
		k := key{a.Namespace, a.Kind, a.Name}
		apps[k] = append(apps[k], a)
	}
	for _, s := range t.Scalers {
		for _, a := range nearest(&s.Meta, apps[key{t.namespace(&s.Meta), s.TargetKind, s.TargetName}]) {
			a.Scaler = s
		}
	}
}

// A podIndex finds the apps that a selector selects without looking at all of
// them.
type podIndex struct {
	byNamespace map[string][]*App
	byLabel     map[labelKey][]*App
}

type labelKey struct{ namespace, key, value string }

func newPodIndex(apps []*App) podIndex {
	ix := podIndex{byNamespace: map[string][]*App{}, byLabel: map[labelKey][]*App{}}
	for _, a := range apps {
		if a.Job != nil {
			continue
		}
		ix.byNamespace[a.Namespace] = append(ix.byNamespace[a.Namespace], a)
		for _, l := range a.Pod.Labels {
			k := labelKey{a.Namespace, l.Key, l.Value}
			ix.byLabel[k] = append(ix.byLabel[k], a)
		}
	}
	return ix
}

func (ix podIndex) selected(namespace string, s *manifest.Selector) []*App {
	if !s.Set {
		return nil
	}
	candidates := ix.byNamespace[namespace]
	for _, l := range s.MatchLabels {
		if some := ix.byLabel[labelKey{namespace, l.Key, l.Value}]; len(some) < len(candidates) {
			candidates = some
		}
	}
	var out []*App
	for _, a := range candidates {
		if s.Matches(a.Pod.Labels) {
			out = append(out, a)
		}
	}
	return out
}
