package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/evenkeel-dev/evenkeel/internal/proof"
)

const reportHelp = `Report reads what Evenkeel has recorded, and says what it amounts to.`

// NewReportCommand returns the command "report".
func NewReportCommand(s Streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "report",
		Short: "Say what recorded interruptions amount to",
		Long:  reportHelp,
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newReportInterruptions(s))
	return c
}

const reportInterruptionsHelp = `Read proof records, the lines that evenkeel-controller writes with --proof, and print
each interruption with how long its steps took and what was lost, and a summary of
all.

Lines that are no proof records are skipped, so a container's log will do. What
several controllers have written of one interruption is put together.`

const reportInterruptionsExamples = `  kubectl logs -n evenkeel-system deploy/evenkeel-controller | evenkeel report interruptions -
  evenkeel report interruptions -o json 2026-11.jsonl | jq .summary

  # Each interruption as a trace, beside those of the services that it hit
  evenkeel report interruptions -o otlp 2026-11.jsonl |
    curl --fail --json @- http://collector:4318/v1/traces`

func newReportInterruptions(s Streams) *cobra.Command {
	var output string
	var steps bool
	c := &cobra.Command{
		Use:     "interruptions FILE... | -",
		Short:   "Say how interruptions went: times, outcomes, what was lost, and why",
		Long:    reportInterruptionsHelp,
		Example: reportInterruptionsExamples,
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil && output != "otlp" {
				return &ExitError{ExitUsage, err}
			}
			if len(args) == 0 {
				return wrongUsage(c, fmt.Errorf("no proof record is named: give files, or - for standard input"))
			}
			lines, err := readProof(s, args)
			if err != nil {
				return err
			}
			return failed(printInterruptions(s.Out, lines, output, steps))
		},
	}
	outputFlag(c, &output)
	c.Flag("output").Usage = "form of the output: table, json, yaml, or otlp, traces for /v1/traces of an OpenTelemetry collector"
	c.Flags().BoolVar(&steps, "steps", false, "print each step, in the table too")
	return c
}

// outputFlag adds -o to a command.
func outputFlag(c *cobra.Command, output *string) {
	c.Flags().StringVarP(output, "output", "o", "table", "form of the output: table, json, yaml")
}

func checkOutput(output string) error {
	switch output {
	case "table", "json", "yaml":
		return nil
	}
	return fmt.Errorf("unknown output %q (want table, json or yaml)", output)
}

// printData writes a value as JSON or YAML.
func printData(w io.Writer, v any, output string) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err == nil && output == "yaml" {
		data, err = yaml.JSONToYAML(data)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, strings.TrimSuffix(string(data), "\n"))
	return err
}

// readProof reads files of proof records, and says what it skipped.
func readProof(s Streams, paths []string) ([]proof.Line, error) {
	var lines []proof.Line
	skipped := 0
	for _, path := range paths {
		in, name := s.In, "<stdin>"
		if path != "-" {
			f, err := os.Open(path)
			if err != nil {
				return nil, failed(err)
			}
			defer f.Close()
			in, name = f, path
		}
		n, err := proof.Read(in, func(l proof.Line) { lines = append(lines, l) })
		if err != nil {
			return nil, &ExitError{ExitUsage, fmt.Errorf("%s: %w", name, err)}
		}
		skipped += n
	}
	if skipped > 0 {
		fmt.Fprintf(s.Err, "note: %d other lines were skipped\n", skipped)
	}
	return proof.Merge(lines), nil
}

func printInterruptions(w io.Writer, lines []proof.Line, output string, steps bool) error {
	if output == "otlp" {
		return printData(w, proof.Spans(lines), "json")
	}
	summary := proof.Summarize(lines)
	if output != "table" {
		return printData(w, struct {
			Summary       proof.Summary `json:"summary"`
			Interruptions []proof.Line  `json:"interruptions"`
		}{summary, append([]proof.Line{}, lines...)}, output)
	}
	var b strings.Builder
	if len(lines) == 0 {
		b.WriteString("No interruptions are recorded.\n")
	} else {
		table(&b, lines, steps)
		b.WriteByte('\n')
		summarize(&b, summary)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, lines []proof.Line, steps bool) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NOTICED\tNODE\tPOOL\tZONE\tKIND\tCORDON\tEMPTY\tPODS\tLOST\tOUTCOME")
	for _, l := range lines {
		moved := proof.Summarize([]proof.Line{l}).Pods
		pods := 0
		for _, n := range moved {
			pods += n
		}
		outcome := string(l.Outcome)
		if l.Left > 0 {
			outcome += fmt.Sprintf(" with %s left", plural(l.Left, "pod"))
		}
		if !l.ResumedAt.IsZero() {
			outcome += " (in part: a controller was killed)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%.1f\t%s\n", l.Notice.Sent.UTC().Format("2006-01-02 15:04:05"),
			l.Node, dash(l.Pool), dash(l.Zone), l.Notice.Kind, since(l.Notice.Sent, l.Cordoned), since(l.Notice.Sent, l.Emptied), pods, l.Lost, outcome)
		if !steps {
			continue
		}
		t.Flush()
		for _, s := range l.Steps {
			fmt.Fprintf(b, "    %8s  %s\n", since(l.Notice.Sent, s.At), sentence(s))
		}
		if l.Omitted > 0 {
			fmt.Fprintf(b, "    and %d more steps that were not recorded\n", l.Omitted)
		}
	}
	t.Flush()
}

// sentence says one step in a line.
func sentence(s proof.Step) string {
	out := string(s.Event)
	if s.Pod != "" {
		out = fmt.Sprintf("%s %s: %s", s.Effect, s.Pod, s.Outcome)
		if s.Budget != "" {
			out += " by " + s.Budget
		}
		if s.Service != "" {
			out += ", of " + s.Service
		}
	}
	if s.Reason != "" {
		out += fmt.Sprintf(" (%s)", s.Reason)
	}
	return out
}

func summarize(b *strings.Builder, s proof.Summary) {
	fmt.Fprintf(b, "%d interruptions: %s\n", s.Interruptions, counts(s.Outcomes))
	if s.Of > 0 {
		fmt.Fprintf(b, "emptied before the deadline  %d of %d (%.1f %%)\n", s.InTime, s.Of, 100*float64(s.InTime)/float64(s.Of))
	}
	for _, q := range []struct {
		name string
		q    proof.Quantiles
	}{{"notice to cordon", s.Cordon}, {"notice to empty", s.Empty}} {
		if q.q.Count > 0 {
			fmt.Fprintf(b, "%-27s  p50 %.2f s, p99 %.2f s, max %.2f s\n", q.name, q.q.P50, q.q.P99, q.q.Max)
		}
	}
	fmt.Fprintf(b, "lost ready-pod-seconds       %.1f\n", s.Lost)
	fmt.Fprintf(b, "pods that were moved         %s\n", counts(s.Pods))
	if len(s.Escalations) > 0 {
		fmt.Fprintf(b, "at their latest start        %s\n", counts(s.Escalations))
	}
	if len(s.Budgets) > 0 {
		fmt.Fprintf(b, "evictions refused by         %s\n", counts(s.Budgets))
	}
	if s.Resumed > 0 {
		fmt.Fprintf(b, "known in part                %d: a controller was killed in the middle\n", s.Resumed)
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// counts writes "12 emptied, 1 missed", the most frequent first.
func counts[K ~string](m map[K]int) string {
	if len(m) == 0 {
		return "none"
	}
	keys := slices.SortedFunc(maps.Keys(m), func(a, b K) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(string(a), string(b))
	})
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = fmt.Sprintf("%d %s", m[k], k)
	}
	return strings.Join(parts, ", ")
}

func since(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%.2fs", to.Sub(from).Seconds())
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
