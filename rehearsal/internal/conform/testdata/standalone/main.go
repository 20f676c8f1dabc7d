// Command standalone is evenkeel-rehearse with nothing but conform, for those who
// work on it: it builds in a second.
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
)

var errFailed = errors.New("the level is not reached")

type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "standalone", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(conform.NewCommand(conform.CommandConfig{
		Out: os.Stdout, Err: os.Stderr, Failed: errFailed,
		Usage: func(err error) error { return usageError{err} },
	}))
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return
	case ctx.Err() != nil:
		os.Exit(130)
	case errors.Is(err, errFailed):
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "standalone:", err)
	if errors.As(err, &usage) {
		os.Exit(2)
	}
	os.Exit(3)
}
