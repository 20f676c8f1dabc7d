// Package ekscluster finds an EKS cluster and signs in to it, for a program that
// runs outside of the cluster. It stands apart from package aws so that only that
// program carries the clients.
package ekscluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Cluster is a cluster that was found.
type Cluster struct {
	Endpoint string
	CA       []byte // PEM
	Tokens   *Tokens
}

// Find asks EKS for a cluster. The plain AWS environment says who asks and where.
func Find(ctx context.Context, name string) (*Cluster, error) {
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	out, err := eks.NewFromConfig(c).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
	if err != nil {
		return nil, fmt.Errorf("looking up cluster %q: %w", name, err)
	}
	if out.Cluster == nil || out.Cluster.Endpoint == nil || out.Cluster.CertificateAuthority == nil {
		return nil, fmt.Errorf("looking up cluster %q: it has no endpoint yet", name)
	}
	ca, err := base64.StdEncoding.DecodeString(aws.ToString(out.Cluster.CertificateAuthority.Data))
	if err != nil {
		return nil, fmt.Errorf("looking up cluster %q: its certificate authority cannot be read: %w", name, err)
	}
	return &Cluster{
		Endpoint: *out.Cluster.Endpoint, CA: ca,
		Tokens: &Tokens{cluster: name, sts: sts.NewPresignClient(sts.NewFromConfig(c))},
	}, nil
}

// Tokens signs in to a cluster's API server. A token is a request to STS, signed
// and not sent: the API server sends it, and learns from the answer who signed it.
type Tokens struct {
	cluster string
	sts     *sts.PresignClient

	mu    sync.Mutex
	token string
	until time.Time
}

// How long a token is good: EKS takes the request to be valid for 15 minutes,
// whatever it says about itself.
const (
	signedFor = "60" // seconds, as the request itself says
	goodFor   = 10 * time.Minute
)

// Token returns a token that is good for some minutes.
func (t *Tokens) Token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Now().Before(t.until) {
		return t.token, nil
	}
	now := time.Now()
	request, err := t.sts.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.Presigner = forCluster{o.Presigner, t.cluster}
	})
	if err != nil {
		return "", fmt.Errorf("signing in to cluster %q: %w", t.cluster, err)
	}
	t.token = "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(request.URL))
	t.until = now.Add(goodFor)
	return t.token, nil
}

// forCluster signs a request for one cluster, so that no other one can use it.
type forCluster struct {
	sts.HTTPPresignerV4
	cluster string
}

func (p forCluster) PresignHTTP(ctx context.Context, credentials aws.Credentials, r *http.Request, payloadHash, service, region string,
	at time.Time, options ...func(*v4.SignerOptions)) (string, http.Header, error) {
	r.Header.Set("x-k8s-aws-id", p.cluster)
	query := r.URL.Query()
	query.Set("X-Amz-Expires", signedFor)
	r.URL.RawQuery = query.Encode()
	return p.HTTPPresignerV4.PresignHTTP(ctx, credentials, r, payloadHash, service, region, at, options...)
}

// Transport adds a token to each request of next.
func (t *Tokens) Transport(next http.RoundTripper) http.RoundTripper { return transport{next, t} }

type transport struct {
	next   http.RoundTripper
	tokens *Tokens
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.tokens.Token(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := t.next.RoundTrip(r)
	if err == nil && answer.StatusCode == http.StatusUnauthorized {
		t.tokens.forget(token) // the credentials have changed meanwhile
	}
	return answer, err
}

func (t *Tokens) forget(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.until = time.Time{}
	}
}
