// Package programtest checks what every program of ours has: a page that says what it
// takes.
package programtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the reference page anew")

// Reference holds docs/reference/NAME.md to what a command says with --help. The test
// must be in the package cmd/NAME.
func Reference(t *testing.T, cmd *cobra.Command) {
	t.Helper()
	var help bytes.Buffer
	cmd.SetOut(&help)
	cmd.SetArgs([]string{"--help"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	Page(t, cmd.Name(), "--help", help.String())
}

// Page holds docs/reference/NAME.md to a text that is printed with flag.
func Page(t *testing.T, name, flag, text string) {
	t.Helper()
	want := fmt.Sprintf("<!-- Generated from %s: go test ./cmd/%s -update -->\n# %s\n\n```\n%s```\n", flag, name, name, text)
	page := "../../docs/reference/" + name + ".md"
	File(t, page, want)
}

// File holds a file to what it is generated to be; go test -update writes it anew.
func File(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what it is generated to be; go test -update writes it anew", path)
	}
}
