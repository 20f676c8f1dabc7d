// Gateway is the HTTP entrance of Market Intel Brain. It checks requests, gives
// them an id and passes them to the engine.
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

const usage = `Usage: gateway --engine URL [flags]

Serves, from the engine at URL,
  GET  /v1/quote?symbol=WTI    price and moving average
  POST /v1/orders              {"id":"...","symbol":"WTI","quantity":5}

An answer that is an error has a body of the form
  {"error":{"code":"invalid_field","field":"quantity","message":"..."},"request_id":"..."}
Orders are never sent twice: an answer 502 or 504 to a POST means that the order
may have been recorded, and 503 that it was not.

At SIGTERM the gateway turns /readyz to 503, serves on until traffic has stopped,
finishes what it has begun and exits with 0. EVENKEEL_GRACE_SECONDS must be the
pod's terminationGracePeriodSeconds. A further SIGTERM shortens the waiting.

Flags
`

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stderr))
}

// run is main with its surroundings passed in. It returns the exit code: 0 for a
// clean ending, 1 if something was lost or could not start, 2 for wrong usage.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	listen := flags.String("listen", "127.0.0.1:8080", "serve on this `address:port`")
	healthListen := flags.String("health-listen", "127.0.0.1:8081", "serve /livez, /readyz and /health/shutdown on this `address:port`")
	engineURL := flags.String("engine", "", "`URL` of the engine, for example http://10.0.0.7:8080 (required)")
	timeout := flags.Duration("timeout", 5*time.Second, "longest `duration` of a request to the engine")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "gateway: unexpected argument %q; see gateway --help\n", flags.Arg(0))
		return 2
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	g, err := newGateway(*engineURL, *timeout, log)
	if err != nil {
		fmt.Fprintf(stderr, "gateway: %v; see gateway --help\n", err)
		return 2
	}
	defer g.transport.CloseIdleConnections()

	srv := &http.Server{
		Addr:              *listen,
		Handler:           g.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      time.Minute,
		// Longer than clients keep idle connections (Go: 90 s), so that they let go
		// first; otherwise a request could meet the server closing its connection.
		IdleTimeout: 2 * time.Minute,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	l := lifecycle.New(lifecycle.Options{Addr: *healthListen, CutRecord: stderr, Logger: log})
	if err := l.HTTP(srv).Run(ctx); err != nil {
		log.Error("gateway ended", "err", err)
		return 1
	}
	return 0
}
