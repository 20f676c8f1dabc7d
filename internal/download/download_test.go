package download_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/download"
)

func TestDo(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/short":
			w.Write([]byte("12345678"))
		case "/long":
			w.Write([]byte("123456789"))
		case "/broken":
			w.Header().Set("Content-Length", "8")
			w.Write([]byte("1234"))
		default:
			http.Error(w, "not you"+strings.Repeat(" ", 400)+"end", http.StatusForbidden)
		}
	}))
	t.Cleanup(s.Close)
	for _, tt := range []struct{ path, want, err string }{
		{"/short", "12345678", ""},
		{"/long", "", "the answer is larger than 8 bytes"},
		{"/broken", "", "unexpected EOF"},
		{"/refused", "", "403 Forbidden: not you"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := download.Do(s.Client(), req, 8)
		switch {
		case string(got) != tt.want, (err == nil) != (tt.err == ""):
			t.Errorf("%s: %q, %v, want %q and error %q", tt.path, got, err, tt.want, tt.err)
		case err != nil && err.Error() != tt.err:
			t.Errorf("%s: %v, want %s", tt.path, err, tt.err)
		}
	}
}
