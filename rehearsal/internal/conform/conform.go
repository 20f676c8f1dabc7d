// Package conform tells how well a service ends, whatever it is written in: it
// runs copies of it behind a balancer of its own, puts load on them that waits for
// nobody, terminates one copy after the other, and counts what clients lost.
//
// The balancer is the fair opponent. It learns that a copy is ending a settable
// while after SIGTERM, as kube-proxy and cloud load balancers do, whatever the
// copy says about its readiness; until then it goes on sending. On layer 4 it
// only chooses where a connection goes, on layer 7 where a request goes, and it
// never repeats one.
//
// It decides what counts as lost, and to which level (C0 to C5) that belongs. It
// knows the command only from outside: its port, its signals, its exit code, its
// answers and, if it writes one, its ledger of orders (see package load).
package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Level is how well a service ends. Each includes those before it.
type Level int

// The levels.
const (
	C0 Level = iota // exits by itself within the grace period
	C1              // finishes what is in flight when SIGTERM comes
	C2              // loses nothing behind a balancer of layer 7
	C3              // loses nothing on layer 4, where clients keep connections
	C4              // ends streams cleanly, and they resume elsewhere
	C5              // acts on the notice file, without SIGTERM
)

var levelTexts = [...]string{
	"exits within the grace period",
	"finishes requests in flight",
	"loses nothing on layer 7",
	"loses nothing on layer 4 with keep-alive",
	"ends streams cleanly, and they resume",
	"acts on a notice file",
}

// String returns C0 to C5.
func (l Level) String() string { return fmt.Sprintf("C%d", int(l)) }

// MarshalText writes a level into JSON as C0 to C5.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// ParseLevel reads C0 to C5.
func ParseLevel(s string) (Level, error) {
	if len(s) == 2 && (s[0] == 'C' || s[0] == 'c') && '0' <= s[1] && s[1] <= '5' {
		return Level(s[1] - '0'), nil
	}
	return 0, fmt.Errorf("%q is not a level; levels are C0 to C5", s)
}

// Balancer is how traffic is spread over the copies.
type Balancer string

// The balancers.
const (
	L4 Balancer = "L4" // chooses an endpoint per connection and does not touch it afterwards
	L7 Balancer = "L7" // chooses an endpoint per request
)

// Config says what to run and what to put on it. Command must be set.
type Config struct {
	Command []string // Port, HealthPort and Copy in arguments are replaced; also in PORT and HEALTH_PORT
	Level   Level

	Copies       int             // at a time. Defaults to 3
	Terminations int             // in each stage. Defaults to 6
	Requests     int             // in each stage, at least. Defaults to 2,000
	Rates        []float64       // requests a second, a stage each. Defaults to 200
	Lags         []time.Duration // of the endpoints, a stage each. Defaults to 1 s
	Grace        time.Duration   // from SIGTERM to SIGKILL. Defaults to 30 s
	StartLimit   time.Duration   // until a copy has to be ready. Defaults to 60 s
	Ready        string          // path, or whole URL, that is answered 2xx by a copy that is ready. Empty: it accepts connections

	Get, Post    string        // paths; Post may be empty. Get defaults to /
	Body         string        // of a POST; {id} is replaced. Defaults to {"id":"{id}"}
	PostShare    float64       // of requests. Defaults to 0.3 if Post is set
	NewConnShare float64       // of requests with a connection of their own. Defaults to 0.2
	SlowShare    float64       // of POSTs whose body comes in two parts with a pause. Defaults to 0.05
	Clients      int           // connections that are kept, at least; a tenth of the rate if that is more. Defaults to 48
	Timeout      time.Duration // of one request. Defaults to 10 s

	H2C       bool   // also over HTTP/2 without TLS, on layer 4
	Replay    bool   // bodies over HTTP/2 can be sent again by the client, as those of most clients
	GRPC      bool   // also gRPC, on layer 4
	OnlyGRPC  bool   // gRPC and nothing else
	Call      string // method of gRPC calls, which take an empty message. Defaults to Check of grpc.health.v1.Health
	Watch     string // method of gRPC streams, which take one and have no end. Defaults to its Watch
	SSE       string // path of an event stream, for C4
	WebSocket string // path of a WebSocket, for C4
	Streams   int    // of each kind. Defaults to 10
	NoStreams bool   // there are none: C4 asks for nothing

	// NoRequests is for workers, such as consumers of a queue, that answer nobody: C0 and
	// C5 are about when they end, and the levels between ask for nothing.
	NoRequests bool

	retries int // of the balancer of layer 7, elsewhere, where a connection is refused; for the matrix

	Seed     uint64
	Progress func(Progress) // called from time to time. Defaults to nothing
	Log      io.Writer      // of the copies' standard error. Defaults to nowhere
}

func (c Config) withDefaults() Config {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.Copies, 3)
	set(&c.Terminations, 6)
	set(&c.Requests, 2000)
	set(&c.Clients, 48)
	set(&c.Streams, 10)
	if len(c.Rates) == 0 {
		c.Rates = []float64{200}
	}
	if len(c.Lags) == 0 {
		c.Lags = []time.Duration{time.Second}
	}
	if c.Grace == 0 {
		c.Grace = 30 * time.Second
	}
	if c.StartLimit == 0 {
		c.StartLimit = time.Minute
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Get == "" {
		c.Get = "/"
	}
	if c.Body == "" {
		c.Body = `{"id":"{id}"}`
	}
	if c.PostShare == 0 {
		c.PostShare = 0.3
	}
	if c.Post == "" {
		c.PostShare = 0
	}
	if c.NewConnShare == 0 {
		c.NewConnShare = 0.2
	}
	if c.SlowShare == 0 {
		c.SlowShare = 0.05
	}
	if c.Call == "" {
		c.Call = "/grpc.health.v1.Health/Check"
	}
	if c.Watch == "" {
		c.Watch = "/grpc.health.v1.Health/Watch"
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	return c
}

// Progress is how far a run is.
type Progress struct {
	Stage         string
	Stages, Index int // Index from 1
	Terminated    int
	Terminations  int
	Sent, Failed  int64
	Elapsed       time.Duration
	Total         time.Duration // expected
}

// ErrCommand says that the command could not be tested, because it does not start
// or does not answer even without being terminated.
var ErrCommand = errors.New("the command cannot be tested")

// protocol is what clients speak.
type protocol string

const (
	http1 protocol = "HTTP/1.1"
	h2c   protocol = "h2c"
	grpc  protocol = "gRPC"
	none  protocol = "no requests"
)

// stageConfig is one part of a run: the same conditions throughout.
type stageConfig struct {
	balancer Balancer
	protocol protocol
	rate     float64
	lag      time.Duration
	streams  bool
	notice   bool // copies get a notice and no SIGTERM
}

func (s stageConfig) String() string {
	t := fmt.Sprintf("%s %s, lag %s, %g/s", s.balancer, s.protocol, s.lag, s.rate)
	if s.protocol == none {
		t = string(none)
	}
	if s.notice {
		t += ", notice"
	}
	return t
}

// stages are those that the level needs.
func (c Config) stages() []stageConfig {
	var out []stageConfig
	streams := c.Level >= C4 && !c.NoStreams
	if c.NoRequests {
		out = append(out, stageConfig{balancer: L4, protocol: none})
		if c.Level >= C5 {
			out = append(out, stageConfig{balancer: L4, protocol: none, notice: true})
		}
		return out
	}
	for _, lag := range c.Lags {
		for _, rate := range c.Rates {
			if c.OnlyGRPC { // the balancer of layer 7 does not speak it
				out = append(out, stageConfig{balancer: L4, protocol: grpc, rate: rate, lag: lag, streams: streams})
				if c.Level >= C5 {
					out = append(out, stageConfig{balancer: L4, protocol: grpc, rate: rate, lag: lag, notice: true})
				}
				continue
			}
			out = append(out, stageConfig{balancer: L7, protocol: http1, rate: rate, lag: lag})
			if c.Level >= C3 {
				out = append(out, stageConfig{balancer: L4, protocol: http1, rate: rate, lag: lag, streams: streams})
				if c.H2C {
					out = append(out, stageConfig{balancer: L4, protocol: h2c, rate: rate, lag: lag})
				}
				if c.GRPC {
					out = append(out, stageConfig{balancer: L4, protocol: grpc, rate: rate, lag: lag, streams: streams})
				}
			}
			if c.Level >= C5 {
				out = append(out, stageConfig{balancer: L4, protocol: http1, rate: rate, lag: lag, notice: true})
			}
		}
	}
	return out
}

// Run tests the command. An error means that it could not be tested, not that it
// did badly; the report says that. When Run returns, no process is left.
func Run(ctx context.Context, c Config) (*Report, error) {
	c = c.withDefaults()
	if len(c.Command) == 0 {
		return nil, errors.New("no command to test")
	}
	spawner := newSpawner()
	defer spawner.close()
	defer adoptOrphans()() // what copies leave behind when they are killed

	r := &Report{Command: c.Command, Level: c.Level, NoStreams: c.NoStreams, NoRequests: c.NoRequests, GraceSeconds: c.Grace.Seconds(), Started: time.Now().UTC()}
	stages := c.stages()
	for i, sc := range stages {
		s := newStage(c, sc, spawner, i)
		result, err := s.run(ctx, func(p Progress) {
			p.Index, p.Stages = i+1, len(stages)
			c.Progress(p)
		})
		if err != nil {
			return nil, fmt.Errorf("testing over %s: %w", sc, err)
		}
		r.Stages = append(r.Stages, result)
	}
	r.judge()
	return r, nil
}
