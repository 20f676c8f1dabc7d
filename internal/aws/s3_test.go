package aws

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// TestS3 stores lines in a stand-in for S3, which checks the signature as S3 does.
func TestS3(t *testing.T) {
	type put struct {
		path string
		body []byte
	}
	var puts []put
	refuse := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			t.Error(err)
		}
		again.Header.Set("Content-Type", r.Header.Get("Content-Type"))
		again.Header.Set("X-Amz-Content-Sha256", r.Header.Get("X-Amz-Content-Sha256"))
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			t.Error(err)
		}
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if err := signer.SignHTTP(context.Background(), aws.Credentials{AccessKeyID: "key", SecretAccessKey: "secret"}, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", "eu-west-1", at); err != nil {
			t.Error(err)
		}
		if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); refuse || got != want {
			if !refuse {
				t.Errorf("signed\n%s\nwant\n%s", got, want)
			}
			http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
			return
		}
		puts = append(puts, put{r.URL.Path, body})
	}))
	defer server.Close()
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL_S3": server.URL, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "",
		"AWS_REGION": "eu-west-1", "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
	} {
		t.Setenv(k, v)
	}
	s, err := NewS3(t.Context(), "s3://proofs/production/2026/")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"{1}\n", "{1}\n", "{2}\n"} {
		if err := s.Append(t.Context(), "i-1.2026/é", []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if len(puts) != 3 || puts[0].path != puts[1].path || puts[0].path == puts[2].path || string(puts[2].body) != "{2}\n" ||
		!strings.HasPrefix(puts[0].path, "/proofs/production/2026/i-1.2026__.") || !strings.HasSuffix(puts[0].path, ".jsonl") {
		t.Errorf("stored %q", puts)
	}
	refuse = true
	if err := s.Append(t.Context(), "i-1", []byte("{3}\n")); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("refused: %v", err)
	}
	for _, bad := range []string{"s3://", "s3://B/x", "http://x/y", "s3://bucket/a b"} {
		if _, err := NewS3(t.Context(), bad); err == nil {
			t.Errorf("%q was taken for a location", bad)
		}
	}
}
