// Package client asks a Market Intel Brain.
package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// Get decodes the answer to a GET into v. An answer that is an error becomes one
// with its message and field.
func Get(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return problem(resp)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

func problem(resp *http.Response) error {
	var p struct {
		Error struct{ Field, Message string } `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&p); err != nil || p.Error.Message == "" {
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	return errors.New(strings.TrimSpace(p.Error.Field + " " + p.Error.Message))
}

// All is before the first alert.
const All = "-1"

// quiet is how long a stream says nothing before its server counts as gone. A machine
// that is switched off closes no connection. Servers say something every 15 seconds.
const quiet = 40 * time.Second

// Alerts calls f with every alert after the one of the given number, or from now on
// if that is empty, until ctx ends. A stream that ends, or falls silent, is taken up again where
// it was, here or at another replica behind the same address. Lost is called if the server does
// not have all of the alerts between any more.
func Alerts(ctx context.Context, url, after string, f func(stream.Alert), lost func(string)) error {
	return alerts(ctx, url, after, quiet, f, lost)
}

func alerts(ctx context.Context, url, after string, quiet time.Duration, f func(stream.Alert), lost func(string)) error {
	at := after
	for wait := time.Duration(0); ; {
		err := follow(ctx, url, quiet, &at, &wait, f, lost)
		if ctx.Err() != nil {
			return nil
		}
		var refused refusal
		if errors.As(err, &refused) {
			return err // asking again will not help
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		wait = min(max(2*wait, 50*time.Millisecond), 2*time.Second)
	}
}

// refusal is an answer that says that the request is wrong.
type refusal struct{ error }

// streaming finds out by itself that an HTTP/2 connection is dead: giving up a stream does
// not close it, and the next one would be sent on it again.
var streaming = &http.Client{Transport: func() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
	return t
}()}

// heard is a body that is given up when a read takes too long. What its reader does
// between reads takes the time that it takes.
type heard struct {
	io.Reader
	giveUp *time.Timer
	quiet  time.Duration
}

func (h heard) Read(p []byte) (int, error) {
	h.giveUp.Reset(h.quiet)
	defer h.giveUp.Stop()
	return h.Reader.Read(p)
}

// follow reads one stream to its end, and keeps in at and wait what the next begins with.
func follow(ctx context.Context, url string, quiet time.Duration, at *string, wait *time.Duration, f func(stream.Alert), lost func(string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	giveUp := time.AfterFunc(quiet, cancel)
	defer giveUp.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/alerts", nil)
	if err != nil {
		return refusal{err}
	}
	if *at != "" {
		req.Header.Set("Last-Event-ID", *at)
	}
	resp, err := streaming.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout:
		return refusal{problem(resp)}
	case resp.StatusCode != http.StatusOK:
		return problem(resp)
	}
	var event, id, data string
	lines := bufio.NewScanner(heard{resp.Body, giveUp, quiet})
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			data = value
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil && ms >= 0 && ms <= 60_000 {
				*wait = time.Duration(ms) * time.Millisecond
			}
		case "":
			if lines.Text() != "" {
				continue // a comment
			}
			switch event {
			case "alert":
				var a stream.Alert
				if err := json.Unmarshal([]byte(data), &a); err != nil {
					return fmt.Errorf("reading an alert: %w", err)
				}
				f(a)
			case "gap":
				lost(data)
			}
			// Only now: half an event was none.
			if id != "" {
				*at, *wait = id, 0
			}
			event, id, data = "", "", ""
		}
	}
	return lines.Err()
}
