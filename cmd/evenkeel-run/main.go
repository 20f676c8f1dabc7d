// Command evenkeel-run runs a service that does not know how to end, and ends it
// without losing a request: it turns readiness off, serves on until traffic has
// stopped, asks clients to leave, waits for requests in flight, and only then
// sends the service its signal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/wrapper"
)

const help = `evenkeel-run runs a service and ends it without losing a request.

Usage:
  evenkeel-run [flags] -- command [arguments]
  evenkeel-run prestop --port PORT [--floor 5s] [--limit 20s]
  evenkeel-run copy DESTINATION

Modes:
  proxy   stand before the command: count requests, ask clients to leave when it
          ends, signal the command when the last answer has been sent (default)
  ready   answer probes for the command, and delay its signal
  signal  only delay its signal

In the arguments of the command, {child-port} is replaced by the port on which it
has to listen; it also finds it in PORT. The grace period comes from
EVENKEEL_GRACE_SECONDS, which must equal terminationGracePeriodSeconds, less what
a preStop hook uses.

Examples:
  # A Python service that knows nothing of SIGTERM, clients on port 8080
  evenkeel-run -- python3 server.py

  # nginx, which has its port in its configuration
  evenkeel-run --listen :8080 --child-port 8000 -- nginx -g 'daemon off;'

  # In a pod whose entry point cannot change: a preStop hook
  evenkeel-run prestop --port 8080

The exit code is that of the command; 128 + n if signal n killed it, 126 and 127
if it could not be started, 2 for a mistake in the command line.

Flags:
`

const (
	exitFail  = 1
	exitUsage = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings given in.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "prestop":
			return preStop(args[1:], stderr)
		case "copy":
			return copySelf(args[1:], stdout, stderr)
		}
	}
	c, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return usage(stderr, err)
	}
	code, err := wrapper.Run(context.Background(), c)
	if err != nil {
		fmt.Fprintln(stderr, "evenkeel-run:", err)
	}
	return code
}

func usage(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "evenkeel-run: %v\nRun 'evenkeel-run --help' for the flags.\n", err)
	return exitUsage
}

// parse reads the command line of the wrapper itself.
func parse(args []string, stderr io.Writer) (wrapper.Config, error) {
	c := wrapper.Config{Listen: ":8080", Health: ":8081"}
	if port := os.Getenv("PORT"); port != "" {
		c.Listen = ":" + port
	}
	if port := os.Getenv("HEALTH_PORT"); port != "" {
		c.Health = ":" + port
	}
	fs := flag.NewFlagSet("evenkeel-run", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	mode := fs.String("mode", string(wrapper.Proxy), "proxy, ready or signal")
	fs.StringVar(&c.Listen, "listen", c.Listen, "`address` for clients in mode proxy; default from PORT")
	fs.StringVar(&c.Health, "health", c.Health, "`address` of /livez, /readyz and /health/shutdown, \"\" for none; default from HEALTH_PORT")
	fs.IntVar(&c.ChildPort, "child-port", 0, "`port` on which the command listens; default in mode proxy: a free one")
	fs.StringVar(&c.ChildReady, "child-ready", "", "`path` that the command answers with 2xx when it is ready; default: it accepts connections")
	fs.DurationVar(&c.Grace, "grace", 0, "time from SIGTERM to SIGKILL; default from EVENKEEL_GRACE_SECONDS, or 30s")
	fs.DurationVar(&c.Floor, "floor", 0, "shortest time that traffic is still accepted after SIGTERM; default 2s, and 5s in the modes that see no traffic")
	stop := fs.String("stop-signal", "", "`signal` by which the command ends gracefully; default: what is known of the program, or TERM")
	fs.BoolVar(&c.StopGroup, "stop-group", false, "send the stop signal to the whole process group; default for shells")
	fs.StringVar(&c.DeadlineFile, "deadline-file", "", "`file` that says when the machine goes; default from EVENKEEL_DEADLINE_FILE")
	verbose := fs.Bool("verbose", false, "log the phases of the ending to standard error")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stderr, help)
			fs.SetOutput(stderr)
			fs.PrintDefaults()
		}
		return c, err
	}
	c.Mode = wrapper.Mode(*mode)
	c.Command = fs.Args()
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if *verbose {
		c.Logger = slog.New(slog.NewJSONHandler(stderr, nil))
	}
	switch {
	case !slices.Contains(wrapper.Modes, c.Mode):
		return c, fmt.Errorf("unknown mode %q; known are proxy, ready and signal", *mode)
	case len(c.Command) == 0:
		return c, errors.New("no command: put it after --, as in 'evenkeel-run -- python3 server.py'")
	case c.Grace < 0 || c.ChildPort < 0 || c.ChildPort > 65535:
		return c, errors.New("--grace and --child-port must not be negative, and a port is at most 65535")
	case c.ChildReady != "" && !strings.HasPrefix(c.ChildReady, "/"):
		return c, fmt.Errorf("--child-ready %q is not a path; it begins with /", c.ChildReady)
	case c.Mode != wrapper.Proxy && c.ChildPort == 0 && c.ChildReady != "":
		return c, errors.New("--child-ready needs --child-port in this mode")
	}
	if *stop != "" {
		sig, err := wrapper.ParseSignal(*stop)
		if err != nil {
			return c, err
		}
		c.StopSignal = sig
	}
	return c, nil
}

func preStop(args []string, stderr io.Writer) int {
	fs := flag.NewFlagSet("evenkeel-run prestop", flag.ContinueOnError)
	fs.SetOutput(stderr)
	port := fs.Int("port", 0, "`port` of the service")
	floor := fs.Duration("floor", 5*time.Second, "shortest wait")
	limit := fs.Duration("limit", 20*time.Second, "longest wait; the grace period goes on meanwhile")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	if *port < 1 || *port > 65535 {
		return usage(stderr, errors.New("prestop needs the --port of the service"))
	}
	if err := wrapper.PreStop(context.Background(), *port, *floor, *limit); err != nil {
		fmt.Fprintln(stderr, "evenkeel-run prestop:", err)
		return exitFail
	}
	return 0
}

func copySelf(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		return usage(stderr, errors.New("copy needs one destination"))
	}
	path, err := wrapper.CopySelf(args[0])
	if err != nil {
		fmt.Fprintln(stderr, "evenkeel-run copy:", err)
		return exitFail
	}
	fmt.Fprintln(stdout, path)
	return 0
}
