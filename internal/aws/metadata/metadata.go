// Package metadata reads the notices about one instance from EC2's instance
// metadata service. It stands apart from package aws so that an agent on every
// machine carries no client for queues.
package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Metadata reads by IMDSv2, never without a token. Make one with [New].
type Metadata struct {
	client   *imds.Client
	instance interruption.InstanceID
	lead     time.Duration
}

// New returns a Metadata for the instance that this runs on. lead is as for
// [interruption.DecodeAWS]. An empty endpoint means the service's own address.
func New(instance interruption.InstanceID, lead time.Duration, endpoint string) *Metadata {
	return &Metadata{
		client: imds.New(imds.Options{
			Endpoint: endpoint,
			// What is not answered at once is asked for again at the next look.
			Retryer:        aws.NopRetryer{},
			EnableFallback: aws.FalseTernary,
		}),
		instance: instance, lead: lead,
	}
}

// Spot returns the notice that the instance is about to be taken away, if there
// is one.
func (m *Metadata) Spot(ctx context.Context) ([]interruption.Notice, error) {
	return m.read(ctx, "spot/instance-action", func(b []byte, seen time.Time) (interruption.Notice, error) {
		return interruption.DecodeSpotAction(b, m.instance, m.lead, seen)
	})
}

// Rebalance returns the recommendation to leave the instance, if there is one.
func (m *Metadata) Rebalance(ctx context.Context) ([]interruption.Notice, error) {
	return m.read(ctx, "events/recommendations/rebalance", func(b []byte, seen time.Time) (interruption.Notice, error) {
		return interruption.DecodeRebalance(b, m.instance, seen)
	})
}

// Group returns the notice that the instance's Auto Scaling group is about to
// terminate it, if it is.
func (m *Metadata) Group(ctx context.Context) ([]interruption.Notice, error) {
	return m.read(ctx, "autoscaling/target-lifecycle-state", func(b []byte, seen time.Time) (interruption.Notice, error) {
		return interruption.DecodeTargetState(b, m.instance, seen)
	})
}

// read returns the notice at a path. Where there is none, the service says that
// there is no such path.
func (m *Metadata) read(ctx context.Context, path string, decode func([]byte, time.Time) (interruption.Notice, error)) ([]interruption.Notice, error) {
	out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && e.HTTPStatusCode() == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	defer out.Content.Close()
	body, err := io.ReadAll(io.LimitReader(out.Content, maxMetadata))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	n, err := decode(body, time.Now().UTC())
	switch {
	case errors.Is(err, interruption.ErrIgnored):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return []interruption.Notice{n}, nil
}

// maxMetadata bounds an answer of the metadata service, in bytes.
const maxMetadata = 64 << 10
