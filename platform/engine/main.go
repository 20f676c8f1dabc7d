// Engine answers quotes and records orders for Market Intel Brain.
//
// Its prices come from a seeded generator and are the same on every replica; no
// market is behind them. What is real is the ending: it is a plain user of
// package lifecycle.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

const usage = `Usage: engine [flags]

Serves
  GET  /v1/quote?symbol=WTI    price and moving average of a generated series
  POST /v1/orders              records {"id":"...","symbol":"WTI","quantity":5}

Every order is written to standard output, or to the file of --ledger, as one
line of JSON before it is answered; standard output carries nothing else. The log
goes to standard error.

At SIGTERM the engine turns /readyz to 503, serves on until traffic has stopped,
finishes what it has begun and exits with 0. EVENKEEL_GRACE_SECONDS must be the
pod's terminationGracePeriodSeconds. A further SIGTERM shortens the waiting.

Flags
`

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings passed in. It returns the exit code: 0 for a
// clean ending, 1 if something was lost or could not start, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	listen := flags.String("listen", "127.0.0.1:8080", "serve on this `address:port`")
	healthListen := flags.String("health-listen", "127.0.0.1:8081", "serve /livez, /readyz and /health/shutdown on this `address:port`")
	warmup := flags.Duration("warmup", 0, "be ready no earlier than this `duration` after the start, as an engine with more state would")
	serviceTime := flags.Bool("service-time", false, "take 1 to 15 ms longer for every request, drawn from the seed")
	seed := flags.Uint64("seed", 1, "`number` from which prices and service times are drawn")
	ledgerFile := flags.String("ledger", "", "append orders to this `file`, which a later engine goes on with; default: standard output")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "engine: unexpected argument %q; see engine --help\n", flags.Arg(0))
		return 2
	}

	log := slog.New(slog.NewJSONHandler(stderr, nil))
	e := newEngine(*seed, stdout)
	if *ledgerFile != "" {
		l, file, err := openLedger(*ledgerFile)
		if err != nil {
			log.Error("engine cannot start", "err", err)
			return 1
		}
		defer file.Close()
		e.ledger = l
		log.Info("ledger opened", "file", *ledgerFile, "orders", l.count)
	}
	if *serviceTime {
		e.work = newServiceTime(*seed)
	}
	srv := &http.Server{
		Addr:              *listen,
		Handler:           e.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      time.Minute,
		// Longer than clients keep idle connections (Go: 90 s), so that they let go
		// first; otherwise a request could meet the server closing its connection.
		IdleTimeout: 2 * time.Minute,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	l := lifecycle.New(lifecycle.Options{Addr: *healthListen, CutRecord: stderr, Logger: log})
	l.OnStart(func(ctx context.Context) error { return e.warm(ctx, *warmup) })
	if err := l.HTTP(srv).Run(ctx); err != nil {
		log.Error("engine ended", "err", err)
		return 1
	}
	return 0
}
