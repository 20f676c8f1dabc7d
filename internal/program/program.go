// Package program holds what the mains of our services have in common: how a command
// line is read, how it ends, and what the log looks like.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

// Exit codes, as in docs/reference/exit-codes.md.
const (
	ExitUsage  = 2 // a mistake in the command line
	ExitUnable = 3 // it could not do its work
)

// UsageError is a mistake in the command line.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }
func (e UsageError) Unwrap() error { return e.Err }

// Usage returns a UsageError, or nil for nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return UsageError{err}
}

// New completes the command of a service: it takes flags and nothing else, and what
// goes wrong is told by Main alone.
func New(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(c *cobra.Command, args []string) error { return Usage(cobra.NoArgs(c, args)) }
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return UsageError{fmt.Errorf("%w\nRun '%s --help' for the flags", err, c.Name())}
	})
	return cmd
}

// Main runs a command until it ends or the process gets SIGTERM or SIGINT, and ends
// the process with the exit code that says how.
func Main(cmd *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, cmd, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, cmd *cobra.Command, stderr io.Writer) (code int) {
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.Name(), err)
	if _, ok := errors.AsType[UsageError](err); ok {
		return ExitUsage
	}
	return ExitUnable
}

// Log returns the log of a service, JSON lines on standard error, to which client-go
// writes too. Durations are written as "1.5s", not as a count of nanoseconds.
func Log(level slog.Leveler) *slog.Logger {
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: durations}))
	klog.SetSlogLogger(log.With("from", "client-go"))
	return log
}

func durations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
