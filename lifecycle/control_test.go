package lifecycle_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

func TestControlOnlyFromThisMachine(t *testing.T) {
	for _, addr := range []string{":8082", "0.0.0.0:8082", "10.0.0.1:8082", "localhost:8082", "example.com:80", "[::]:1", "nonsense"} {
		l := lifecycle.New(lifecycle.Options{Control: addr})
		if err := wait(t, "Run", run(t, l)); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestControl(t *testing.T) {
	for _, addr := range []string{freeAddr(t), "unix:" + filepath.Join(t.TempDir(), "control")} {
		health := freeAddr(t)
		l := lifecycle.New(lifecycle.Options{Addr: health, Control: addr, Grace: 5 * time.Second, PropagationFloor: -1})
		done := run(t, l)
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if path, ok := strings.CutPrefix(addr, "unix:"); ok {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}}
		client := &http.Client{Transport: transport, Timeout: hung}
		until(t, "readiness", l.IsReady)
		do := func(method, url, body string, header ...string) int {
			t.Helper()
			req, _ := http.NewRequest(method, url, strings.NewReader(body))
			if len(header) > 0 {
				req.Header.Set(header[0], header[1])
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		for _, tt := range []struct {
			method, path, body string
			header             []string
			want               int
		}{
			{"GET", "/drain", "", nil, 405},
			{"POST", "/drain", "", []string{"Origin", "https://example.com"}, 403},
			{"POST", "/drain", "", []string{"Sec-Fetch-Site", "cross-site"}, 403},
			{"POST", "/notice", "tomorrow", nil, 400},
			{"POST", "/notice", strings.Repeat("x", 1<<20), nil, 400},
			{"POST", "/notice", time.Now().Add(time.Hour).UTC().Format(time.RFC3339), nil, 202},
		} {
			if got := do(tt.method, "http://control"+tt.path, tt.body, tt.header...); got != tt.want {
				t.Errorf("%s %s %.20q: %d, want %d", tt.method, tt.path, tt.body, got, tt.want)
			}
		}
		wait(t, "the notice", l.Reached(lifecycle.Noticed))
		// On the port that others reach there is nothing to start an ending with.
		for _, method := range []string{"GET", "POST"} {
			req, _ := http.NewRequest(method, "http://"+health+"/drain", nil)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 404 {
				t.Errorf("%s /drain on the management port: %d", method, resp.StatusCode)
			}
		}
		if l.Phase() != lifecycle.Noticed {
			t.Fatalf("phase %s", l.Phase())
		}
		resp, err := http.Get("http://" + health + "/health/shutdown")
		if err != nil {
			t.Fatal(err)
		}
		var status map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&status); err != nil || status["phase"] != "noticed" || status["ready"] != true {
			t.Errorf("status %v, %v", status, err)
		}
		resp.Body.Close()
		if got := do("POST", "http://control/drain", ""); got != 202 {
			t.Errorf("drain: %d", got)
		}
		if err := wait(t, "the ending", done); err != nil {
			t.Errorf("Run: %v", err)
		}
		if s := l.Stats(); s.Trigger != lifecycle.ReasonControl {
			t.Errorf("trigger %s", s.Trigger)
		}
		transport.CloseIdleConnections()
	}
}
