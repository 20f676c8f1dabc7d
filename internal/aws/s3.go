package aws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// S3 stores small objects under one prefix of a bucket. That is one signed PUT,
// for which the SDK's whole client for S3 is not needed. Use NewS3 to make one.
type S3 struct {
	config aws.Config
	signer *v4.Signer
	base   string // of the URL, with the bucket and the prefix
}

var s3URL = regexp.MustCompile(`^s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9/_.=-]*))?$`)

// NewS3 returns the S3 of a location such as "s3://bucket/prefix". The region is
// the environment's; AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL are respected.
func NewS3(ctx context.Context, location string) (*S3, error) {
	m := s3URL.FindStringSubmatch(location)
	if m == nil {
		return nil, fmt.Errorf("%q is not of the form s3://bucket/prefix, with letters, digits and /_.=- in the prefix", location)
	}
	c, err := load(ctx, "")
	if err != nil {
		return nil, err
	}
	endpoint := os.Getenv("AWS_ENDPOINT_URL_S3")
	if endpoint == "" {
		endpoint = os.Getenv("AWS_ENDPOINT_URL")
	}
	if endpoint == "" {
		endpoint = "https://s3." + c.Region + ".amazonaws.com"
		if strings.HasPrefix(c.Region, "cn-") {
			endpoint += ".cn"
		}
	}
	prefix := strings.Trim(m[2], "/")
	if prefix != "" {
		prefix += "/"
	}
	return &S3{
		config: c, base: strings.TrimSuffix(endpoint, "/") + "/" + m[1] + "/" + prefix,
		// S3 alone signs the path as it is sent.
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
	}, nil
}

var notInKey = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// Append stores a line as an object of its own. Its name holds a digest of the
// line, so that storing it again changes nothing, and another line about the same
// interruption does not overwrite it.
func (s *S3) Append(ctx context.Context, name string, line []byte) error {
	sum := sha256.Sum256(line)
	digest := hex.EncodeToString(sum[:])
	url := s.base + notInKey.ReplaceAllString(name, "_") + "." + digest[:12] + ".jsonl"
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(line))
	if err != nil {
		return fmt.Errorf("storing in S3: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("X-Amz-Content-Sha256", digest)
	who, err := s.config.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("storing in S3: finding credentials: %w", err)
	}
	if err := s.signer.SignHTTP(ctx, who, req, digest, "s3", s.config.Region, time.Now()); err != nil {
		return fmt.Errorf("storing in S3: signing: %w", err)
	}
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("storing in S3: %w", err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("storing in S3: %s: %q", resp.Status, said)
	}
	return nil
}
