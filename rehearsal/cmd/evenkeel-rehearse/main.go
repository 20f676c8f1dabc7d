// Command evenkeel-rehearse rehearses the loss of spot nodes: it starts a real
// Kubernetes control plane on this machine, runs a platform's services on it as
// real processes, puts load on them, takes nodes away as a trace says, and
// reports what was lost.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/conform"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/roles"
)

// Exit codes.
const (
	exitFail        = 1   // the verdict is fail
	exitUsage       = 2   // the command line, the scenario or the trace is wrong
	exitUnable      = 3   // the rehearsal could not be carried out
	exitInterrupted = 130 // Ctrl-C
)

func main() {
	// The control plane's parts are this program again, in other roles.
	roles.Main()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := newCommand(streams{os.Stdout, os.Stderr}).ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
		return
	case interrupted:
		fmt.Fprintln(os.Stderr, "interrupted; everything that was started has been stopped")
		os.Exit(exitInterrupted)
	case errors.Is(err, errVerdict):
		os.Exit(exitFail)
	}
	fmt.Fprintln(os.Stderr, "evenkeel-rehearse:", err)
	if usage := (usageError{}); errors.As(err, &usage) {
		os.Exit(exitUsage)
	}
	os.Exit(exitUnable)
}

// usageError is a mistake of the user's that the message says how to mend.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// newCommand returns the command line: the rehearsal itself is the root, since it
// is what the program is for; conform tests one service alone.
func newCommand(io streams) *cobra.Command {
	cmd := newRunCommand(io)
	cmd.AddCommand(conform.NewCommand(conform.CommandConfig{
		Out: io.out, Err: io.err, Failed: errVerdict, Usage: func(err error) error { return usageError{err} },
	}))
	cmd.AddCommand(newBenchDrainCommand(io))
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(io.out)
	cmd.SetErr(io.err)
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nRun '%s --help' for the flags", err, c.CommandPath())}
	})
	return cmd
}
