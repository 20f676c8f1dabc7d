// Package mibtest is what the tests of several services share.
package mibtest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Hung is how long a test waits for what must happen at all.
const Hung = 3 * time.Minute

// Until waits for a condition, for what must happen at all.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Hung); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("hung: %s", what)
		}
	}
}

// Do asks a handler. The header is given as names, each with its value behind it.
func Do(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
