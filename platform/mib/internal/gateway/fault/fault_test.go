package fault

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestHandler(t *testing.T) {
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for value, want := range map[string]struct {
		status int
		after  time.Duration
		reset  bool
	}{
		"":                        {204, 0, false},
		"status=503":              {503, 0, false},
		"delay=2s":                {204, 2 * time.Second, false},
		"delay=1s, status=429":    {429, time.Second, false},
		"delay=1s,reset":          {0, time.Second, true},
		"status=200":              {400, 0, false},
		"delay=31s":               {400, 0, false},
		"delay=-1s":               {400, 0, false},
		"sleep=1s":                {400, 0, false},
		"delay=1s,status=x,reset": {400, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			if value != "" {
				r.Header.Set(Header, value)
			}
			w := httptest.NewRecorder()
			w.Code = 0
			begun := time.Now()
			reset := func() (reset bool) {
				defer func() { reset = recover() == http.ErrAbortHandler }()
				h.ServeHTTP(w, r)
				return
			}()
			if w.Code != want.status || time.Since(begun) != want.after || reset != want.reset {
				t.Errorf("%q: status %d after %v, reset %v", value, w.Code, time.Since(begun), reset)
			}
		})
	}
}
