package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestUnit(t *testing.T) {
	for _, test := range []struct {
		name  string
		stop  time.Duration // when SIGTERM comes; 0: never
		takes time.Duration
		code  int
		line  string
	}{
		{"done", 0, time.Minute, 0, `{"ledger":"unit","id":"u-1","at":"2000-01-01T00:01:00Z"}` + "\n"},
		{"stopped on the way", 59 * time.Second, time.Minute, 1, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.stop > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), test.stop)
				defer cancel()
			}
			var out bytes.Buffer
			begun := time.Now()
			code := run(ctx, []string{"--unit=u-1", "--takes=" + test.takes.String()}, &out, io.Discard)
			if code != test.code || out.String() != test.line || test.stop == 0 && time.Since(begun) != test.takes {
				t.Errorf("%s: exit code %d after %s, ledger %q", test.name, code, time.Since(begun), &out)
			}
		})
	}
}

func TestUnitThatCannotBeWrittenDown(t *testing.T) {
	if code := run(t.Context(), []string{"--unit=u", "--takes=0"}, broken{}, io.Discard); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestUsage(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, io.Discard, &out); code != 0 || !strings.Contains(out.String(), "-takes duration") {
		t.Errorf("--help: %d %s", code, &out)
	}
	for _, args := range [][]string{{}, {"--nonsense"}, {"--unit=u", "argument"}} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
