// Package gcp reads the notices about one machine from the metadata server of
// Google Compute Engine. It hides the server's protocol: requests that are answered
// when a value changes, and the tags that tell one value from the next.
package gcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

const (
	// defaultEndpoint is the server's address on every machine.
	defaultEndpoint = "http://169.254.169.254"
	// longPoll is how long the server is asked to wait for a change.
	longPoll = 60 * time.Second
	// pollTimeout ends a request over a connection that has died silently.
	pollTimeout = longPoll + 10*time.Second
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 64 << 10
)

// Metadata reads the notices of one machine. Make one with [New].
type Metadata struct {
	http     *http.Client
	endpoint string
	instance interruption.InstanceID
	lead     time.Duration
}

// New returns a Metadata for the machine that this runs on. lead is how
// long a preempted machine has; an empty endpoint means the server's own address.
func New(instance interruption.InstanceID, lead time.Duration, endpoint string) *Metadata {
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	// The machine's proxy settings are not for an address that leads to the machine's
	// own host.
	transport := &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 2 * pollTimeout}
	return &Metadata{http: &http.Client{Transport: transport}, endpoint: endpoint, instance: instance, lead: lead}
}

// Value is one value of the server that is waited for. It is not safe for
// concurrent use: it remembers which value it saw last.
type Value struct {
	server *Metadata
	path   string
	decode func([]byte, time.Time) (interruption.Notice, error)
	tag    string
}

// Preempted waits for the notice that the machine is about to be taken away.
func (m *Metadata) Preempted() *Value {
	return &Value{server: m, path: "instance/preempted", decode: func(b []byte, seen time.Time) (interruption.Notice, error) {
		return interruption.DecodePreempted(b, m.instance, m.lead, seen)
	}}
}

// Maintenance waits for the notice that the machine's host is to be maintained.
func (m *Metadata) Maintenance() *Value {
	return &Value{server: m, path: "instance/maintenance-event", decode: func(b []byte, seen time.Time) (interruption.Notice, error) {
		return interruption.DecodeMaintenance(b, m.instance, seen)
	}}
}

// Next returns the notice that the value is, if it is one: the first time at once,
// then when it has changed, or after a minute at the latest.
func (v *Value) Next(ctx context.Context) ([]interruption.Notice, error) {
	body, err := v.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", v.path, err)
	}
	n, err := v.decode(body, time.Now().UTC())
	switch {
	case errors.Is(err, interruption.ErrIgnored):
		return nil, nil
	case err != nil:
		v.tag = "" // what could not be read is not waited to change
		return nil, fmt.Errorf("reading %s: %w", v.path, err)
	}
	return []interruption.Notice{n}, nil
}

func (v *Value) get(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	address := v.server.endpoint + "/computeMetadata/v1/" + v.path
	if v.tag != "" {
		address += "?" + url.Values{
			"wait_for_change": {"true"},
			"last_etag":       {v.tag},
			"timeout_sec":     {strconv.Itoa(int(longPoll / time.Second))},
		}.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Metadata-Flavor", "Google")
	answer, err := v.server.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the metadata server answers %s: %.200q", answer.Status, body)
	case answer.Header.Get("Metadata-Flavor") != "Google":
		return nil, errors.New("what answers is not Google's metadata server")
	}
	v.tag = answer.Header.Get("ETag")
	return body, nil
}
