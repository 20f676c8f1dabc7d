// Package azure reads the notices about one machine from Azure's Scheduled Events,
// and approves the events for which the machine is ready. It hides the metadata
// service's protocol.
package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

const (
	// defaultEndpoint is the service's address on every machine.
	defaultEndpoint = "http://169.254.169.254"
	// Versions of the API: each part of the service has its own.
	eventsVersion  = "2020-07-01"
	computeVersion = "2021-02-01"
	// timeout bounds a request. The first one of a machine's life turns its events
	// on, which takes up to two minutes.
	timeout = 130 * time.Second
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 64 << 10
)

// Metadata reads the notices of one machine. Make one with [New].
type Metadata struct {
	http     *http.Client
	endpoint string
	instance interruption.InstanceID
	freezes  bool

	mu     sync.Mutex
	name   string          // of the machine, as events have it
	shared map[string]bool // events of other machines, too
}

// New returns a Metadata for the machine that this runs on. freezes says
// whether a pause of some seconds is a notice; an empty endpoint means the
// service's own address.
func New(instance interruption.InstanceID, freezes bool, endpoint string) *Metadata {
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	// The service refuses requests that came by way of a proxy.
	return &Metadata{http: &http.Client{Transport: &http.Transport{}}, endpoint: endpoint, instance: instance, freezes: freezes}
}

// Events returns the notices of the events that are scheduled for the machine or
// have started.
func (m *Metadata) Events(ctx context.Context) ([]interruption.Notice, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	name, err := m.machine(ctx)
	if err != nil {
		return nil, err
	}
	body, err := m.do(ctx, http.MethodGet, "/metadata/scheduledevents", eventsVersion, nil)
	if err != nil {
		return nil, fmt.Errorf("reading scheduled events: %w", err)
	}
	events, err := interruption.DecodeAzure(body, name, m.instance, m.freezes, time.Now().UTC())
	if err != nil {
		return nil, fmt.Errorf("reading scheduled events: %w", err)
	}
	m.mu.Lock()
	m.shared = events.Shared
	m.mu.Unlock()
	return events.Notices, nil
}

// Approve says that the machine is ready for an event, which then starts at once.
// An event of several machines is left to start at its time: one of them cannot
// speak for the others.
func (m *Metadata) Approve(ctx context.Context, n interruption.Notice) error {
	m.mu.Lock()
	shared := m.shared[n.ID]
	m.mu.Unlock()
	if shared {
		return nil
	}
	type request struct{ EventId string }
	body, err := json.Marshal(struct{ StartRequests []request }{[]request{{n.ID}}})
	if err != nil {
		return fmt.Errorf("approving event %s: %w", n.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := m.do(ctx, http.MethodPost, "/metadata/scheduledevents", eventsVersion, body); err != nil {
		return fmt.Errorf("approving event %s: %w", n.ID, err)
	}
	return nil
}

// machine returns the machine's name, which it asks for once.
func (m *Metadata) machine(ctx context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.name != "" {
		return m.name, nil
	}
	body, err := m.do(ctx, http.MethodGet, "/metadata/instance/compute", computeVersion, nil)
	if err != nil {
		return "", fmt.Errorf("reading the machine's name: %w", err)
	}
	var compute struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(body, &compute); err != nil || compute.Name == "" {
		return "", fmt.Errorf("reading the machine's name: there is none in %.200q", body)
	}
	m.name = compute.Name
	return m.name, nil
}

func (m *Metadata) do(ctx context.Context, method, path, version string, body []byte) ([]byte, error) {
	address := m.endpoint + path + "?" + url.Values{"api-version": {version}}.Encode()
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Metadata", "true")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := m.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	out, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the metadata service answers %s: %.200q", answer.Status, out)
	}
	return out, nil
}
