package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The headers of a webhook's request.
const (
	// TimestampHeader is when the request was signed, in seconds since 1970.
	TimestampHeader = "Evenkeel-Timestamp"
	// SignatureHeader is "v1=" and the HMAC-SHA256, in hex, of the timestamp, a dot
	// and the body.
	SignatureHeader = "Evenkeel-Signature"
	// DeliveryHeader is the Message's ID, the same for each attempt.
	DeliveryHeader = "Evenkeel-Delivery"
)

// Tolerance is how old a signature may be: a request that somebody has recorded
// cannot be sent again later.
const Tolerance = 5 * time.Minute

// Webhook posts Messages as signed JSON.
type Webhook struct {
	client *http.Client
	url    string
	secret []byte
}

var _ Channel = (*Webhook)(nil)

// NewWebhook returns a Webhook. Without a secret its requests are not signed.
func NewWebhook(address string, secret []byte) (*Webhook, error) {
	if err := checkURL(address); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return &Webhook{newClient(), address, secret}, nil
}

// Name returns "webhook".
func (w *Webhook) Name() string { return "webhook" }

// Send posts a Message.
func (w *Webhook) Send(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return Permanent(fmt.Errorf("encoding a notification: %w", err))
	}
	header := make(http.Header)
	header.Set(DeliveryHeader, m.ID)
	if len(w.secret) > 0 {
		sign(header, w.secret, body, time.Now())
	}
	return post(ctx, w.client, w.url, header, body)
}

func sign(h http.Header, secret, body []byte, now time.Time) {
	stamp := strconv.FormatInt(now.Unix(), 10)
	h.Set(TimestampHeader, stamp)
	h.Set(SignatureHeader, "v1="+hex.EncodeToString(mac(secret, stamp, body)))
}

func mac(secret []byte, stamp string, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(stamp + "."))
	h.Write(body)
	return h.Sum(nil)
}

// Verify is what a receiver does: it returns nil if the request was signed with
// the secret, and not longer ago than Tolerance.
func Verify(secret []byte, h http.Header, body []byte, now time.Time) error {
	stamp := h.Get(TimestampHeader)
	signed, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("verifying a notification: %s is missing or no number", TimestampHeader)
	}
	sum, ok := strings.CutPrefix(h.Get(SignatureHeader), "v1=")
	got, err := hex.DecodeString(sum)
	switch {
	case !ok || err != nil:
		return fmt.Errorf("verifying a notification: %s is missing or not of version 1", SignatureHeader)
	case !hmac.Equal(got, mac(secret, stamp, body)):
		return errors.New("verifying a notification: the signature is wrong")
	case now.Sub(time.Unix(signed, 0)).Abs() > Tolerance:
		return errors.New("verifying a notification: it was signed too long ago, or by a clock that differs")
	}
	return nil
}

// Slack posts Messages to an incoming webhook of Slack's. Its URL is the secret.
type Slack struct {
	client *http.Client
	url    string
}

var _ Channel = (*Slack)(nil)

// NewSlack returns a Slack.
func NewSlack(address string) (*Slack, error) {
	if err := checkURL(address); err != nil {
		return nil, fmt.Errorf("slack: %w", err)
	}
	return &Slack{newClient(), address}, nil
}

// Name returns "slack".
func (s *Slack) Name() string { return "slack" }

// Send posts a Message's text.
func (s *Slack) Send(ctx context.Context, m Message) error {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	body, err := json.Marshal(map[string]string{"text": escape.Replace(m.Text)})
	if err != nil {
		return Permanent(fmt.Errorf("encoding a notification: %w", err))
	}
	return post(ctx, s.client, s.url, make(http.Header), body)
}

// Topic is where an SNS delivers: text for people, data for programs.
type Topic interface {
	Publish(ctx context.Context, subject, text, data string) error
}

// SNS publishes Messages to a topic.
type SNS struct{ Topic Topic }

var _ Channel = SNS{}

// Name returns "sns".
func (SNS) Name() string { return "sns" }

// Send publishes a Message.
func (s SNS) Send(ctx context.Context, m Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return Permanent(fmt.Errorf("encoding a notification: %w", err))
	}
	subject := fmt.Sprintf("Evenkeel: %d nodes %s", m.Count, m.Event)
	if m.Count == 1 {
		subject = fmt.Sprintf("Evenkeel: %s %s", m.Nodes[0].Name, m.Event)
	}
	return s.Topic.Publish(ctx, subject, m.Text, string(data))
}

// newClient returns a client that follows no redirects: what was signed for one
// receiver is not for another.
func newClient() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// checkURL says what is wrong with an address without repeating it: it may be
// the secret.
func checkURL(address string) error {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("the address is not a URL of the form https://host/path")
	}
	return nil
}

// post sends one request and sorts what comes back by whether to try again. No
// error of it holds the address.
func post(ctx context.Context, client *http.Client, address string, header http.Header, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSpace(address), bytes.NewReader(body))
	if err != nil {
		return Permanent(errors.New("making the request: the address is not a URL"))
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "evenkeel")
	resp, err := client.Do(req)
	if err != nil {
		if withAddress, ok := errors.AsType[*url.Error](err); ok {
			err = withAddress.Err
		}
		return fmt.Errorf("posting: %w", err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("the receiver answered %d: %q", resp.StatusCode, said)
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		return Later(err, retryAfter(resp.Header.Get("Retry-After"), time.Now()))
	case code == http.StatusRequestTimeout, code >= 500:
		return err
	}
	return Permanent(err)
}

// retryAfter reads the header of that name: seconds or a date. Zero if it says
// neither.
func retryAfter(value string, now time.Time) time.Duration {
	if s, err := strconv.Atoi(value); err == nil && s >= 0 && s < 1<<20 {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
