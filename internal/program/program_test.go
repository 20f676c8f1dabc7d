package program

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExitCodes: mistakes are told apart from trouble, and who made one is told where
// to look.
func TestExitCodes(t *testing.T) {
	for _, row := range []struct {
		args []string
		err  error // of the command itself
		code int
		says string
	}{
		{nil, nil, 0, ""},
		{nil, errors.New("no queue"), ExitUnable, "service: no queue"},
		{nil, Usage(errors.New("--queue is required")), ExitUsage, "service: --queue is required"},
		{nil, Usage(nil), 0, ""},
		{[]string{"--poll=often"}, nil, ExitUsage, "Run 'service --help' for the flags"},
		{[]string{"--pole"}, nil, ExitUsage, "unknown flag: --pole"},
		{[]string{"now"}, nil, ExitUsage, `unknown command "now"`},
	} {
		cmd := New(&cobra.Command{Use: "service", RunE: func(*cobra.Command, []string) error { return row.err }})
		cmd.Flags().Duration("poll", 0, "")
		cmd.SetArgs(row.args)
		var out bytes.Buffer
		if code := run(t.Context(), cmd, &out); code != row.code || !strings.Contains(out.String(), row.says) {
			t.Errorf("%q, %v: %d, %q; want %d, %q", row.args, row.err, code, out.String(), row.code, row.says)
		}
	}
}
