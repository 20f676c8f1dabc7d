// Package cloud stands in for the AWS services that Evenkeel talks to, on
// loopback and in one process: SQS, and the few calls of EC2 and Auto Scaling
// that are needed. Unchanged AWS SDK clients use it through AWS_ENDPOINT_URL.
//
// It keeps AWS's contract where a client can tell the difference: visibility
// timeouts, redelivery, receipts that go stale, dead-letter queues, error types.
// It does not check signatures, and it knows neither Kubernetes nor the scenario:
// whoever plays one sends the events and ends the machines.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config says which account and region the cloud pretends to be.
type Config struct {
	// Region defaults to us-east-1.
	Region string
	// Account is 12 digits; defaults to 123456789012.
	Account string
	// Seed determines the message IDs.
	Seed uint64
	// Log gets the requests that are refused; if nil, nothing is logged.
	Log *slog.Logger
	// OnTerminate, if not nil, is called with the ID of an instance that a client
	// asked to terminate, once the instance is shutting down. Ending the machine,
	// and then calling [Cloud.Terminate], is the callee's part.
	OnTerminate func(instance string)
}

// Cloud is the stand-in. Make one with [New], then call Listen, then Run.
type Cloud struct {
	cfg    Config
	gate   *gate
	queues *queues
	fleet  *fleet

	sqs   map[string]sqsOperation
	query map[string]queryOperation
}

// maxRequest bounds a request body: a batch has at most 1 MiB of text, which
// JSON may write six times as long.
const maxRequest = 8 << 20

// New returns an empty cloud that listens to nothing yet.
func New(cfg Config) *Cloud {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Account == "" {
		cfg.Account = "123456789012"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cloud{
		cfg:    cfg,
		queues: &queues{byName: make(map[string]*liveQueue)},
		fleet:  &fleet{instances: make(map[string]Instance), groups: make(map[string]ScalingGroup)},
	}
	c.queues.newID = newIDs(cfg.Seed)
	c.sqs = c.sqsOperations()
	c.query = c.queryOperations()
	return c
}

// Listen takes a free port of 127.0.0.1, so that URL is known before Run.
func (c *Cloud) Listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the cloud: %w", err)
	}
	c.gate = newGate(l)
	return nil
}

// URL is the endpoint for AWS_ENDPOINT_URL. Listen must have been called.
func (c *Cloud) URL() string { return "http://" + c.gate.Addr().String() }

// Run serves until ctx ends, and returns nil when every request has ended.
func (c *Cloud) Run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server := &http.Server{
		Handler:           http.HandlerFunc(c.serve),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return serving },
		ErrorLog:          slog.NewLogLogger(c.cfg.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(c.gate) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving the cloud: %w", err)
	case <-ctx.Done():
	}
	// Shutdown alone would wait five seconds for each connection that a client
	// has opened and not used yet.
	stop()
	c.gate.set(true)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(closing)
	if err != nil {
		err = errors.Join(fmt.Errorf("stopping the cloud: %w", err), server.Close())
	}
	<-ended
	return err
}

// Unreachable cuts the cloud off, or lets it back: every connection is reset,
// and so is every new one.
func (c *Cloud) Unreachable(cut bool) { c.gate.set(cut) }

// serve tells the protocols apart: JSON names its operation in a header, the
// query protocol in the form.
func (c *Cloud) serve(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	switch {
	case r.Method != http.MethodPost:
		http.Error(w, "only POST is served", http.StatusMethodNotAllowed)
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS."):
		c.serveSQS(w, r)
	default:
		c.serveQuery(w, r)
	}
}

// apiError is an AWS error, in whichever protocol it is then written.
type apiError struct {
	code      string // as the SDK's error types call it
	queryCode string // the older name, where SQS has one; else the same
	message   string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(code, message string, args ...any) *apiError {
	return &apiError{code: code, queryCode: code, message: fmt.Sprintf(message, args...)}
}

// newIDs returns a function that gives a new UUID at each call, the same ones
// for the same seed.
func newIDs(seed uint64) func() string {
	var mu sync.Mutex
	source := rand.New(rand.NewPCG(seed, 0x636c6f7564))
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		hi, lo := source.Uint64(), source.Uint64()
		return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xfff, lo>>48&0x3fff|0x8000, lo&0xffffffffffff)
	}
}
