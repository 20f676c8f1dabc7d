// Package fault makes requests slow or fail, so that what is said about retries and
// breakers can be tried. It is for tests and rehearsals: whoever serves real clients
// does not install it, and a header alone does nothing then.
package fault

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Header says what happens to a request: "delay=200ms", "status=503", "reset" (the
// connection ends without an answer), or several of them with commas between.
const Header = "X-Mib-Fault"

const longest = 30 * time.Second

type faults struct {
	delay  time.Duration
	status int
	reset  bool
}

func parse(s string) (faults, error) {
	var f faults
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		var err error
		switch name {
		case "delay":
			f.delay, err = time.ParseDuration(value)
			if err == nil && (f.delay < 0 || f.delay > longest) {
				err = fmt.Errorf("is at most %v", longest)
			}
		case "status":
			f.status, err = strconv.Atoi(value)
			if err == nil && (f.status < 400 || f.status > 599) {
				err = fmt.Errorf("is from 400 to 599")
			}
		case "reset":
			f.reset = true
		default:
			err = fmt.Errorf("is none of delay, status and reset")
		}
		if err != nil {
			return faults{}, fmt.Errorf("%s: %q %w", Header, name, err)
		}
	}
	return f, nil
}

// Handler does to requests what their header says, before next sees them.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value := r.Header.Get(Header)
		if value == "" {
			next.ServeHTTP(w, r)
			return
		}
		f, err := parse(value)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if f.delay > 0 {
			t := time.NewTimer(f.delay)
			defer t.Stop()
			select {
			case <-t.C:
			case <-r.Context().Done():
				return
			}
		}
		switch {
		case f.reset:
			panic(http.ErrAbortHandler)
		case f.status != 0:
			http.Error(w, "asked for by "+Header, f.status)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
