// Command mib is the Market Intel Brain: it watches a stream of prices, and finds
// when texts read like a question and what prices did afterwards.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// up has its own way to end; the other commands end at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	root := &cobra.Command{
		Use:           "mib",
		Short:         "Watch prices, and ask when it looked or read like this before",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetOut(out)
	root.SetErr(errs)
	root.SetArgs(args)
	root.AddCommand(newUp(), newReplay(), newAsk(), newSimilar(), newWatch(), newEval())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(errs, "mib:", err)
		return 1
	}
	return 0
}

// Where up listens if nobody says otherwise, and where the others look for it.
const (
	defaultListen = "127.0.0.1:7717"
	defaultBroker = "127.0.0.1:7719"
)

// serverFlag adds the flag of the commands that ask.
func serverFlag(c *cobra.Command, server *string) {
	c.Flags().StringVar(server, "server", "http://"+defaultListen, "the `URL` of a running mib up")
}
