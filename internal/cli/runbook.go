package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/docs/runbooks"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
	"github.com/evenkeel-dev/evenkeel/internal/runbook"
)

const runbookHelp = `Run the actions of a runbook. Every alert of Evenkeel links to one; its name is the
alert's. Without a name, list them.

An action is of one of five kinds: query (print a PromQL expression), cordon, cancel (a
node's drain), scale (a deployment, by a few replicas and within the page's bounds) and
restart (a deployment). What a page names in {{braces}} is given by --set.

Before anything is done the cluster is asked what each action comes to, and you are
asked whether to do it; --yes answers for you, --dry-run stops there. The first action
that fails ends the run. Each step is one line of JSON, on standard error or at the end
of the file of --audit, written before and after what it is about; what was changed
carries the annotation evenkeel.dev/runbook.

Exit codes: 0 done, or nothing had to be; 2 wrong usage; 3 something could not be done;
130 interrupted.`

const runbookExamples = `  evenkeel runbook
  evenkeel runbook EvenkeelNoLeader --text
  evenkeel runbook EvenkeelNoLeader --dry-run
  evenkeel runbook EvenkeelDrainMissedDeadline --set node=ip-10-0-1-17.ec2.internal --only keep-pods-away --audit audit.jsonl`

type runbookOptions struct {
	clusterFlags
	set               map[string]string
	only              []string
	dryRun, yes, text bool
	audit, pages      string
}

// NewRunbookCommand returns the command "runbook".
func NewRunbookCommand(s Streams) *cobra.Command {
	var o runbookOptions
	c := &cobra.Command{
		Use:     "runbook [NAME]",
		Short:   "Run the bounded actions of an alert's runbook",
		Long:    runbookHelp,
		Example: runbookExamples,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return wrongUsage(c, fmt.Errorf("one runbook at a time, not %d", len(args)))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var pages fs.FS = runbooks.Pages
			if o.pages != "" {
				pages = os.DirFS(o.pages)
			}
			if len(args) == 0 {
				return failed(listRunbooks(s.Out, pages))
			}
			page, err := runbook.Read(pages, args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return wrongUsage(c, fmt.Errorf("there is no runbook %s; 'evenkeel runbook' lists them", args[0]))
			}
			if err != nil {
				return &ExitError{ExitUsage, err}
			}
			if o.text {
				_, err := io.WriteString(s.Out, page.Text)
				return failed(err)
			}
			actions, err := chosenActions(page, &o)
			if err != nil {
				return wrongUsage(c, err)
			}
			return runRunbook(c.Context(), s, &o, page, actions)
		},
	}
	o.clusterFlags.add(c)
	f := c.Flags()
	f.StringToStringVar(&o.set, "set", nil, "what stands for a parameter of the page: `name=value`")
	f.StringSliceVar(&o.only, "only", nil, "run only the actions with these `ids`")
	f.BoolVar(&o.dryRun, "dry-run", false, "change nothing; say what each action would come to")
	f.BoolVar(&o.yes, "yes", false, "do not ask before each change")
	f.BoolVar(&o.text, "text", false, "print the page and run nothing")
	f.StringVar(&o.audit, "audit", "", "append the audit lines to this `file` instead of standard error")
	f.StringVar(&o.pages, "pages", "", "read the pages from this `folder` instead of those that are built in")
	return c
}

func listRunbooks(w io.Writer, pages fs.FS) error {
	names, err := runbook.Names(pages)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RUNBOOK\tSEVERITY\tACTIONS\tSUMMARY")
	for _, name := range names {
		p, err := runbook.Read(pages, name)
		if err != nil {
			return err
		}
		var ids []string
		for _, a := range p.Actions {
			ids = append(ids, a.ID)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Alert, p.Severity, dash(strings.Join(ids, " ")), p.Summary)
	}
	return t.Flush()
}

// chosenActions returns those that are wanted, with their parameters. Where nothing is
// going to be done, a parameter may be missing.
func chosenActions(p runbook.Page, o *runbookOptions) ([]runbook.Action, error) {
	var out []runbook.Action
	for _, id := range o.only {
		if !slices.ContainsFunc(p.Actions, func(a runbook.Action) bool { return a.ID == id }) {
			return nil, fmt.Errorf("--only=%s: %s has no such action", id, p.Alert)
		}
	}
	for _, a := range p.Actions {
		if len(o.only) == 0 || slices.Contains(o.only, a.ID) {
			out = append(out, a)
		}
	}
	known := runbook.Parameters(p.Actions)
	for name := range o.set {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("--set %s: the parameters of %s are: %s", name, p.Alert, dash(strings.Join(known, ", ")))
		}
	}
	for i, a := range out {
		filled, err := a.With(o.set)
		switch {
		case err == nil:
			out[i] = filled
		case !o.dryRun || !missing(a, o.set):
			return nil, err
		}
	}
	return out, nil
}

func missing(a runbook.Action, set map[string]string) bool {
	return slices.ContainsFunc(runbook.Parameters([]runbook.Action{a}), func(name string) bool { _, ok := set[name]; return !ok })
}

// runner is one run of a page.
type runner struct {
	Streams
	*runbookOptions
	page    runbook.Page
	audit   io.Writer
	api     kubernetes.Interface
	nodes   nodeapi.API
	cluster string
	user    string
	answers *bufio.Reader
}

func runRunbook(ctx context.Context, s Streams, o *runbookOptions, page runbook.Page, actions []runbook.Action) error {
	r := &runner{Streams: s, runbookOptions: o, page: page, audit: s.Err, answers: bufio.NewReader(s.In), user: "unknown"}
	if u, err := user.Current(); err == nil {
		r.user = u.Username
	}
	if o.audit != "" {
		f, err := os.OpenFile(o.audit, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return failed(err)
		}
		defer f.Close()
		r.audit = f
	}
	fmt.Fprintf(s.Out, "%s (%s): %s\n", page.Alert, page.Severity, page.Summary)
	if len(actions) == 0 {
		fmt.Fprintln(s.Out, "This page has no actions: 'evenkeel runbook "+page.Alert+" --text' prints it.")
	}
	for i, a := range actions {
		fmt.Fprintf(s.Out, "\n%d. %s: %s\n", i+1, a.ID, a.Why)
		if err := r.action(ctx, a); err != nil {
			return failed(err)
		}
	}
	if o.dryRun {
		fmt.Fprintln(s.Out, "\nNothing was changed.")
	}
	return nil
}

// note writes a line of the audit log. What cannot be noted is not done.
func (r *runner) note(a runbook.Action, outcome string, v runbook.Verdict) error {
	line, err := json.Marshal(runbook.Line{
		Time: time.Now().UTC().Truncate(time.Millisecond), Runbook: r.page.Alert, Action: a.ID, Kind: a.Kind, Object: a.Object(),
		User: r.user, Cluster: r.cluster, Outcome: outcome, Before: v.Before, After: v.After, Why: v.Why,
	})
	if err == nil {
		_, err = r.audit.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the audit line of %s: %w", a.ID, err)
	}
	return nil
}

func (r *runner) action(ctx context.Context, a runbook.Action) error {
	if missing(a, r.set) && r.dryRun && len(runbook.Parameters([]runbook.Action{a})) > 0 {
		fmt.Fprintf(r.Out, "   %s %s: needs --set %s\n", a.Kind, dash(a.Object()), strings.Join(runbook.Parameters([]runbook.Action{a}), "=NAME --set ")+"=NAME")
		return nil
	}
	if a.Kind == runbook.Query {
		fmt.Fprintf(r.Out, "   %s\n", a.Query)
		return r.note(a, runbook.Printed, runbook.Verdict{})
	}
	if err := r.connect(); err != nil {
		return err
	}
	verdict, do, err := r.look(ctx, a)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", a.ID, err), r.note(a, runbook.Failed, runbook.Verdict{Why: err.Error()}))
	}
	if !verdict.Do {
		fmt.Fprintf(r.Out, "   %s %s: nothing is done: %s\n", a.Kind, a.Object(), verdict.Why)
		return r.note(a, runbook.Skipped, verdict)
	}
	fmt.Fprintf(r.Out, "   %s %s: %s -> %s\n", a.Kind, a.Object(), verdict.Before, verdict.After)
	if r.dryRun {
		return r.note(a, runbook.Would, verdict)
	}
	if !r.yes && !r.agreed() {
		fmt.Fprintln(r.Out, "   not done")
		return r.note(a, runbook.Declined, verdict)
	}
	if err := r.note(a, runbook.Begun, verdict); err != nil {
		return err
	}
	if err := do(); err != nil {
		verdict.Why = err.Error()
		return errors.Join(fmt.Errorf("%s: %w", a.ID, err), r.note(a, runbook.Failed, verdict))
	}
	fmt.Fprintln(r.Out, "   done")
	return r.note(a, runbook.Done, verdict)
}

// agreed asks, and takes anything but yes, and the end of the input, for no.
func (r *runner) agreed() bool {
	fmt.Fprint(r.Out, "   Do it? [y/N] ")
	answer, _ := r.answers.ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// connect reaches the cluster, once and only if an action needs it.
func (r *runner) connect() error {
	if r.api != nil {
		return nil
	}
	config, err := r.clusterFlags.config()
	if err != nil {
		return err
	}
	r.cluster = config.Host
	r.api, r.nodes, err = clients(config)
	return err
}

// look reads what an action is about, decides what it comes to, and returns what does
// it. The write is refused by the API server if somebody else has changed the object
// since it was read.
func (r *runner) look(ctx context.Context, a runbook.Action) (v runbook.Verdict, do func() error, err error) {
	switch a.Kind {
	case runbook.Cordon, runbook.Cancel:
		n, err := r.nodes.GetNode(ctx, a.Node)
		if err != nil {
			return v, nil, err
		}
		version := nodeapi.VersionOf(n)
		record, err := drain.DecodeRecord(version.Record)
		v = runbook.DecideNode(a, runbook.Node{
			Unschedulable: version.Unschedulable, Record: version.Record != "", ByHand: err == nil && record.Notice.Kind == interruption.ManualDrain,
		})
		if a.Kind == runbook.Cancel {
			return v, func() error { return cancelDrain(ctx, Streams{Out: io.Discard, Err: r.Err}, r.nodes, a.Node) }, nil
		}
		return v, func() error {
			patch, err := r.patch(a, version.ResourceVersion, map[string]any{"unschedulable": true})
			if err != nil {
				return err
			}
			return r.nodes.PatchNode(ctx, a.Node, patch)
		}, nil
	}
	namespace, name, _ := strings.Cut(a.Deployment, "/")
	d, err := r.api.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return v, nil, err
	}
	state := runbook.Deployment{
		Replicas: 1, Updated: int(d.Status.UpdatedReplicas), Ready: int(d.Status.ReadyReplicas),
		Observed: d.Status.ObservedGeneration >= d.Generation, Paused: d.Spec.Paused,
	}
	if d.Spec.Replicas != nil {
		state.Replicas = int(*d.Spec.Replicas)
	}
	state.Restarted, _ = time.Parse(time.RFC3339, d.Spec.Template.Annotations[restartedAt]) // zero if it is no time
	if a.Kind == runbook.Scale {
		list, err := r.api.AutoscalingV2().HorizontalPodAutoscalers(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return v, nil, fmt.Errorf("finding out whether something scales it: %w", err)
		}
		for _, h := range list.Items {
			if t := h.Spec.ScaleTargetRef; t.Kind == "Deployment" && t.Name == name {
				state.ScaledBySomebody = "HorizontalPodAutoscaler " + h.Name
			}
		}
	}
	now := time.Now()
	v = runbook.DecideDeployment(a, state, now)
	spec := map[string]any{"replicas": v.To}
	if a.Kind == runbook.Restart {
		spec = map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]string{restartedAt: now.UTC().Format(time.RFC3339)}}}}
	}
	return v, func() error {
		patch, err := r.patch(a, d.ResourceVersion, spec)
		if err != nil {
			return err
		}
		_, err = r.api.AppsV1().Deployments(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "evenkeel-runbook"})
		return err
	}, nil
}

// restartedAt is kubectl's annotation of a restart: both then know of each other's.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// patch makes a merge patch that says whose it is, and is refused if the object has
// changed.
func (r *runner) patch(a runbook.Action, version string, spec map[string]any) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"resourceVersion": version,
			"annotations":     map[string]string{runbook.Annotation: fmt.Sprintf("%s/%s by %s at %s", r.page.Alert, a.ID, r.user, time.Now().UTC().Format(time.RFC3339))},
		},
		"spec": spec,
	})
}
