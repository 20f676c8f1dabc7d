package lifecycle

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Options configures a Lifecycle. The zero value is usable: no management
// endpoints, the grace period from the environment, no log and no cut record.
type Options struct {
	// Addr is the TCP address of the management endpoints /livez, /readyz and
	// /health/shutdown, for example ":8081". They have a port of their own so
	// that probes are neither counted as traffic nor turned away. If empty, there
	// are none.
	Addr string

	// Grace is the time from SIGTERM to SIGKILL. If zero, it is read from
	// EVENKEEL_GRACE_SECONDS; if that is missing or not a number, it is 30 s,
	// which is the default of Kubernetes. Values are held between 1 s and 24 h.
	Grace time.Duration

	// PropagationFloor is the shortest time that the process goes on accepting
	// requests after /readyz has turned red. It must exceed the time that the
	// balancers in front need to notice. If zero, it is 2 s; if negative, there
	// is none. It never takes more than 40 % of the grace period.
	PropagationFloor time.Duration

	// PropagationCap is the longest such time. The wait normally ends when no
	// requests come any more; connections that cannot be told to leave go on
	// bringing some, for example those of gRPC clients behind a layer 4 balancer. If
	// zero, it is 40 % of the grace period.
	PropagationCap time.Duration

	// DeadlineFile names a file that says when the machine goes: either an RFC
	// 3339 time alone, or pod annotations as a downward API volume writes them.
	// It is polled every second and need not exist. If empty, it is read from
	// EVENKEEL_DEADLINE_FILE; if that is empty too, no file is read.
	DeadlineFile string

	// Control is the address of the endpoints that change something, POST /drain
	// and POST /notice: "127.0.0.1:8082", or "unix:" and the path of a socket.
	// Addresses that others can reach are refused. If empty, there are none.
	Control string

	// CutRecord receives one line of JSON at the end of Run, which says how many
	// requests were cut and which; os.Stdout is a good choice. If nil, none is
	// written.
	CutRecord io.Writer

	// TerminationLog names the file that gets the same line cut to 4 KiB, which
	// Kubernetes then shows in the status of the pod. If empty, it is
	// /dev/termination-log if that exists, as it does in every container that
	// Kubernetes starts; if "none", nothing is written.
	TerminationLog string

	// Route names the route of a request for the cut record, where a path could
	// show what must not be shown. The request has only its method, host and path.
	// If nil, the pattern of the http.ServeMux that is served is used, or the first
	// segment of the path if something else is.
	Route func(*http.Request) string

	// Trace, if set, is called when the ending begins, with the name
	// "termination", and for each of its phases. What it returns is called when
	// they are over, with the reason. Functions given to OnFlush run after that.
	Trace func(ctx context.Context, name string) (_ context.Context, end func(why Reason))

	// Logger receives one entry per phase. If nil, nothing is logged.
	Logger *slog.Logger
}

const (
	defaultGrace = 30 * time.Second
	defaultFloor = 2 * time.Second
	minGrace     = time.Second
	maxGrace     = 24 * time.Hour

	defaultTerminationLog = "/dev/termination-log"
)

// settings applies defaults and the environment to the options. Nonsense is
// corrected and noted, not refused: a service that serves with a default is worth
// more than one that does not start.
func settings(o Options) (_ Options, p policy, notes []string) {
	p.grace = o.Grace
	if p.grace == 0 {
		p.grace = defaultGrace
		if v := os.Getenv("EVENKEEL_GRACE_SECONDS"); v != "" {
			if d, err := parseSeconds(v); err != nil {
				notes = append(notes, fmt.Sprintf("EVENKEEL_GRACE_SECONDS: %v; using %s", err, defaultGrace))
			} else {
				p.grace = d
			}
		}
	}
	if held := min(max(p.grace, minGrace), maxGrace); held != p.grace {
		notes = append(notes, fmt.Sprintf("a grace period of %s is out of range; using %s", p.grace, held))
		p.grace = held
	}

	switch {
	case o.PropagationFloor == 0:
		p.floor = defaultFloor
	case o.PropagationFloor > 0:
		p.floor = o.PropagationFloor
	}
	p.most = max(0, o.PropagationCap)

	if o.DeadlineFile == "" {
		o.DeadlineFile = os.Getenv("EVENKEEL_DEADLINE_FILE")
	}
	switch o.TerminationLog {
	case "":
		o.TerminationLog = defaultTerminationLog
	case "none":
		o.TerminationLog = ""
	}
	return o, p, notes
}

// parseSeconds reads a number of seconds; what no Duration can hold becomes the
// nearest that one can.
func parseSeconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) {
		return 0, fmt.Errorf("%q is not a number of seconds", s)
	}
	if limit := (1000 * time.Hour).Seconds(); math.Abs(f) > limit {
		f = math.Copysign(limit, f)
	}
	return time.Duration(f * float64(time.Second)), nil
}
