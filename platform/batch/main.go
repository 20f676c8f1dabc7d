// Batch does one unit of a Job's work for Market Intel Brain, and writes down that
// it has done it. Like the engine's service time, the work is waiting and not
// computing: a rehearsal runs many processes on few cores.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `Usage: batch --unit NAME [flags]

Works for a while and then writes the unit to standard output as one line of JSON,
{"ledger":"unit","id":"NAME","at":"..."}. Standard output carries nothing else.

Stopped by SIGTERM before that, it writes nothing and exits with 1, so that
nobody counts the unit as done and another process begins it again. A process
that is killed between its line and its end has done a unit that will be done
again: what comes after must know the unit by its name.

Flags
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// entry is one line of the ledger.
type entry struct {
	Ledger string    `json:"ledger"`
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
}

// run is main with its surroundings passed in. It returns the exit code: 0 when the
// unit is done and written down, 1 when it is not, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("batch", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	unit := flags.String("unit", "", "`name` of the unit, the same in every attempt at it")
	takes := flags.Duration("takes", time.Second, "how long the work takes")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if *unit == "" || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "batch: give --unit and no further argument; see batch --help")
		return 2
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil)).With("unit", *unit)
	log.Info("begun", "takes", takes.String())
	work := time.NewTimer(*takes)
	defer work.Stop()
	select {
	case <-work.C:
	case <-ctx.Done():
		log.Warn("stopped before the unit was done")
		return 1
	}
	line, err := json.Marshal(entry{"unit", *unit, time.Now().UTC()})
	if err == nil {
		_, err = stdout.Write(append(line, '\n'))
	}
	if err != nil {
		log.Error("writing the unit down", "err", err)
		return 1
	}
	log.Info("done")
	return 0
}
