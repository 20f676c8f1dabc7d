package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/live"
	"github.com/evenkeel-dev/evenkeel/internal/lint/load"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
	"github.com/evenkeel-dev/evenkeel/internal/lint/report"
)

const lintHelp = `Find what would break when the machines under a platform are taken away.

Reads Kubernetes manifests (files, directories, the output of helm template and
kustomize build, "-" for standard input), Terraform files, a platform.yaml (what
it renders to), or a live cluster, joins workloads with their budgets, autoscalers, services and node pools, and
checks them. Rules about spot fire only for workloads that, as far as the input
tells, run or may run on spot; --assume-spot includes those whose placement is
open.

An object is exempted from a rule by an annotation that says why:
    evenkeel.dev/lint-ignore: "EK020: a minute of downtime is agreed"

Exit codes: 0 nothing found, 1 findings at or above --fail-on, 2 wrong usage or
unreadable documents, 3 something could not be done.`

const lintExamples = `  evenkeel lint k8s/ terraform/
  helm template shop charts/shop | evenkeel lint --assume-spot --cloud aws -
  kubectl kustomize overlays/production | evenkeel lint -
  evenkeel lint --cluster -o sarif > findings.sarif
  evenkeel lint --fix k8s/
  evenkeel lint --explain EK012`

type lintOptions struct {
	output, failOn, explain, cloud string
	namespace                      string
	kubeconfig, context            string
	rules, skip                    []string
	assumeSpot, cluster, fix       bool
}

// NewLintCommand returns the command "lint".
func NewLintCommand(io Streams) *cobra.Command {
	var o lintOptions
	cmd := &cobra.Command{
		Use:           "lint PATH... | - | --cluster",
		Short:         "Find what would break on spot, in manifests, Terraform or a cluster",
		Long:          lintHelp,
		Example:       lintExamples,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLint(cmd.Context(), io, &o, args)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "table", "form of the output: "+strings.Join(report.Formats(), ", "))
	f.StringVar(&o.failOn, "fail-on", "warning", "least severity that makes the exit code 1: error, warning, info, or never")
	f.StringVar(&o.explain, "explain", "", "explain a rule, such as EK012, and do nothing else")
	f.StringSliceVar(&o.rules, "rule", nil, "check only these rules")
	f.StringSliceVar(&o.skip, "skip", nil, "leave these rules out")
	f.BoolVar(&o.assumeSpot, "assume-spot", false, "treat workloads whose placement is open as on spot")
	f.StringVar(&o.cloud, "cloud", "", "cloud of workloads that do not tell theirs: aws, gcp or azure")
	f.StringVarP(&o.namespace, "namespace", "n", "", "namespace of objects without one; with --cluster, the only one to read")
	f.BoolVar(&o.fix, "fix", false, "repair what can be repaired safely, in place, leaving comments and format alone")
	f.BoolVar(&o.cluster, "cluster", false, "read a live cluster instead of files")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file for --cluster (default: as kubectl)")
	f.StringVar(&o.context, "context", "", "kubeconfig context for --cluster")
	return cmd
}

func runLint(ctx context.Context, io Streams, o *lintOptions, args []string) error {
	if o.explain != "" {
		return explain(io, o.explain)
	}
	rules, failOn, err := o.check(args)
	if err != nil {
		return &ExitError{ExitUsage, err}
	}
	in, err := o.read(ctx, io, args, nil)
	if err != nil {
		return &ExitError{ExitFailed, err}
	}
	target := lint.NewTarget(in.Set, o.lintOptions())
	result := lint.Run(target, rules)
	fixed := 0
	if o.fix {
		if fixed, err = o.repair(ctx, io, args, rules, in, &result); err != nil {
			return &ExitError{ExitFailed, err}
		}
	}
	out := &report.Report{
		Result: result, Invalid: in.Invalid, InvalidCount: in.InvalidCount, Notes: in.Notes,
		Documents: in.Set.Documents, Workloads: len(in.Set.Workloads), Fixed: fixed, Rules: rules,
	}
	if err := say(io, in); err != nil {
		return &ExitError{ExitFailed, err}
	}
	if err := out.Write(io.Out, o.output); err != nil {
		return &ExitError{ExitFailed, fmt.Errorf("writing the report: %w", err)}
	}
	switch {
	case in.InvalidCount > 0:
		return &ExitError{Code: ExitUsage}
	case failOn > 0 && result.Worst() >= failOn:
		return &ExitError{Code: ExitFindings}
	}
	return nil
}

// check validates flags and arguments.
func (o *lintOptions) check(args []string) (rules []lint.Rule, failOn lint.Severity, err error) {
	switch {
	case o.cluster && len(args) > 0:
		return nil, 0, errors.New("--cluster reads no files: leave out " + args[0])
	case o.cluster && o.fix:
		return nil, 0, errors.New("--fix repairs files, not a cluster")
	case !o.cluster && len(args) == 0:
		return nil, 0, errors.New("nothing to lint: name files or directories, - for standard input, or --cluster")
	case o.fix && slices.Contains(args, load.Stdin):
		return nil, 0, errors.New("--fix repairs files in place and cannot repair standard input")
	}
	if !slices.Contains(report.Formats(), o.output) {
		return nil, 0, fmt.Errorf("unknown output %q (want %s)", o.output, strings.Join(report.Formats(), ", "))
	}
	switch manifest.Cloud(o.cloud) {
	case "", manifest.AWS, manifest.GCP, manifest.Azure:
	default:
		return nil, 0, fmt.Errorf("unknown cloud %q (want aws, gcp or azure)", o.cloud)
	}
	if o.failOn != "never" {
		if failOn, err = lint.ParseSeverity(o.failOn); err != nil {
			return nil, 0, fmt.Errorf("--fail-on: %w", err)
		}
	}
	for _, id := range slices.Concat(o.rules, o.skip) {
		if _, ok := lint.ByID(strings.ToUpper(id)); !ok {
			return nil, 0, fmt.Errorf("no rule %q; the rules are %s", id, strings.Join(lint.IDs(), " "))
		}
	}
	has := func(ids []string, id string) bool {
		return slices.ContainsFunc(ids, func(s string) bool { return strings.EqualFold(s, id) })
	}
	rules = slices.DeleteFunc(lint.Rules(), func(r lint.Rule) bool {
		return len(o.rules) > 0 && !has(o.rules, r.ID) || has(o.skip, r.ID)
	})
	return rules, failOn, nil
}

func (o *lintOptions) lintOptions() lint.Options {
	return lint.Options{AssumeSpot: o.assumeSpot, Cloud: manifest.Cloud(o.cloud), Namespace: o.namespace}
}

func (o *lintOptions) read(ctx context.Context, io Streams, args []string, overlay map[string][]byte) (*load.Result, error) {
	if !o.cluster {
		in, err := (&load.Reader{Stdin: io.In, Overlay: overlay}).Read(ctx, args)
		if err != nil {
			return nil, err
		}
		return in, readRendered(ctx, args, in)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	set, invalid, err := live.Read(ctx, client, o.namespace)
	if err != nil {
		return nil, fmt.Errorf("reading the cluster: %w", err)
	}
	return &load.Result{Set: set, Invalid: invalid, InvalidCount: len(invalid)}, nil
}

// say tells what was left out and what could not be read.
func say(io Streams, in *load.Result) error {
	var b strings.Builder
	for _, note := range in.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	if n := len(in.Set.Fragments); n > 0 {
		fmt.Fprintf(&b, "note: %d partial objects (patches?) were not linted; the first is %s in %s\n", n, in.Set.Fragments[0], in.Set.Fragments[0].File)
	}
	for _, e := range in.Invalid {
		fmt.Fprintf(&b, "error: %s\n", e)
	}
	if more := in.InvalidCount - len(in.Invalid); more > 0 {
		fmt.Fprintf(&b, "error: %d more documents could not be read\n", more)
	}
	_, err := fmt.Fprint(io.Err, b.String())
	return err
}

func explain(io Streams, id string) error {
	rule, ok := lint.ByID(strings.ToUpper(id))
	if !ok {
		return &ExitError{ExitUsage, fmt.Errorf("no rule %q; the rules are %s", id, strings.Join(lint.IDs(), " "))}
	}
	if _, err := fmt.Fprint(io.Out, report.Page(&rule)); err != nil {
		return &ExitError{ExitFailed, err}
	}
	return nil
}
