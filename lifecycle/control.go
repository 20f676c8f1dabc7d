package lifecycle

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// The control endpoints change something, so only those who are on this machine
// get at them. They have a listener of their own, because a peer address proves
// nothing: behind a sidecar proxy all requests come from loopback.

// listenControl listens on a Unix socket or a loopback address.
func listenControl(ctx context.Context, addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listen(ctx, "unix", path)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listening for control on %s: %w", addr, err)
	}
	// A name may change its mind, so only an address will do.
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("listening for control on %s: not a loopback address", addr)
	}
	return listen(ctx, "tcp", addr)
}

func (l *Lifecycle) controlServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		l.requestDrain(ReasonControl)
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("POST /notice", func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNotice))
		if err == nil {
			var goes time.Time
			if goes, err = parseDeadline(data); err == nil {
				l.Notice(goes)
				w.WriteHeader(http.StatusAccepted)
				return
			}
		}
		http.Error(w, err.Error(), http.StatusBadRequest)
	})
	return &http.Server{Handler: notFromBrowsers(mux), ReadTimeout: 5 * time.Second, IdleTimeout: time.Minute}
}

const maxNotice = 4 << 10

// notFromBrowsers keeps out web pages that are open on the same machine.
func notFromBrowsers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			http.Error(w, "not for web pages", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
