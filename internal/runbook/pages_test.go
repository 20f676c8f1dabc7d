package runbook

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/runbooks/README.md anew")

const folder = "../../docs/runbooks"

func pages(t *testing.T) []Page {
	t.Helper()
	names, err := Names(os.DirFS(folder))
	if err != nil {
		t.Fatal(err)
	}
	var out []Page
	for _, name := range names {
		p, err := Read(os.DirFS(folder), name)
		if err != nil {
			t.Error(err)
			continue
		}
		out = append(out, p)
	}
	return out
}

// alerts returns the alerts of all rules that the project writes, with their severity:
// rendered ones, the chart's, those of the Market Intel Brain; and the names of those
// that the example does not have, from the renderer's source.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, file := range []string{"../../examples/market-intel-brain/rendered/prometheus/rules.yaml", "../../charts/evenkeel/files/rules.yaml", "../../platform/mib/rules.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rules := regexp.MustCompile(`(?m)^ *- alert: `).Split(string(data), -1)[1:]
		if len(rules) == 0 {
			t.Errorf("%s has no alerts", file)
		}
		for _, r := range rules {
			name, _, _ := strings.Cut(r, "\n")
			severity := regexp.MustCompile(`severity: "?(\w+)`).FindStringSubmatch(r)
			url := regexp.MustCompile(`runbook_url: "?\S*/(\w+)`).FindStringSubmatch(r)
			if severity == nil || url == nil || url[1] != name {
				t.Errorf("%s: %s has the severity %q and the runbook %q", file, name, severity, url)
				continue
			}
			found[name] = severity[1]
		}
	}
	sources, err := filepath.Glob("../render/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range sources {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Alert: +"(\w+)"`).FindAllSubmatch(data, -1) {
			if name := string(m[1]); found[name] == "" {
				found[name] = "" // not in the example; its severity is not looked for
			}
		}
	}
	return found
}

// Every alert has a page and every page an alert, and they agree on how bad it is.
func TestEveryAlertHasAPage(t *testing.T) {
	wanted := alerts(t)
	for _, p := range pages(t) {
		severity, ok := wanted[p.Alert]
		if !ok {
			t.Errorf("%s: there is no such alert", p.Alert)
		}
		if severity != "" && severity != p.Severity {
			t.Errorf("%s: the page says %s, the rule %s", p.Alert, p.Severity, severity)
		}
		delete(wanted, p.Alert)
	}
	for name := range wanted {
		t.Errorf("%s has no page docs/runbooks/%s.md", name, name)
	}
}

// A page says what to look at and what to do, and names its actions where it says so.
func TestPagesAreWhole(t *testing.T) {
	for _, p := range pages(t) {
		for _, want := range []string{"# " + p.Alert + "\n", "\n## Look\n", "\n## Do\n", "\n## Over when\n"} {
			if !strings.Contains(p.Text, want) {
				t.Errorf("%s has no %q", p.Alert, strings.TrimSpace(want))
			}
		}
		for _, m := range regexp.MustCompile("\\(`([a-z-]+)`\\)").FindAllStringSubmatch(p.Text, -1) {
			if !slices.ContainsFunc(p.Actions, func(a Action) bool { return a.ID == m[1] }) {
				t.Errorf("%s speaks of the action %s, which it has not", p.Alert, m[1])
			}
		}
	}
}

func TestIndex(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("<!-- Made of the pages: go test ./internal/runbook -run Index -update -->\n# Runbooks\n\n" +
		"Every alert links to its page by `runbook_url`. `evenkeel runbook NAME --dry-run` says what a page's actions would\n" +
		"come to; [the guide](../guides/runbooks.md) has the rest.\n\n| alert | severity | what it says | actions |\n| --- | --- | --- | --- |\n")
	for _, p := range pages(t) {
		var ids []string
		for _, a := range p.Actions {
			ids = append(ids, a.ID)
		}
		fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s | %s |\n", p.Alert, p.Alert, p.Severity, p.Summary, strings.Join(ids, ", "))
	}
	file := filepath.Join(folder, "README.md")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is not what the pages say (%v); -update writes it anew", file, err)
	}
}
