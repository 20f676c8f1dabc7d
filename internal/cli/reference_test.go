package cli

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var updateReference = flag.Bool("update-reference", false, "write docs/reference/evenkeel.md anew")

// TestReferencePage keeps docs/reference/evenkeel.md what --help says.
func TestReferencePage(t *testing.T) {
	var page strings.Builder
	page.WriteString("<!-- Generated from --help: go test ./internal/cli -run Reference -update-reference -->\n")
	for _, args := range [][]string{
		{},
		{"init"},
		{"render"},
		{"diff"},
		{"cost"},
		{"simulate"},
		{"plan"},
		{"lint"},
		{"schema"},
		{"report", "interruptions"},
		{"drain"},
		{"cancel"},
		{"runbook"},
	} {
		var help bytes.Buffer
		if code := Main(t.Context(), append(args, "--help"), Streams{In: strings.NewReader(""), Out: &help, Err: &help}); code != 0 {
			t.Fatalf("%v --help: exit %d\n%s", args, code, &help)
		}
		level := "# "
		if len(args) > 0 {
			level = "\n## "
		}
		page.WriteString(level + strings.Join(append([]string{"evenkeel"}, args...), " ") + "\n\n```\n" + help.String() + "```\n")
	}
	const path = "../../docs/reference/evenkeel.md"
	if *updateReference {
		if err := os.WriteFile(path, []byte(page.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page.String() {
		t.Error("the page is not what --help says; go test -update-reference writes it anew")
	}
}
