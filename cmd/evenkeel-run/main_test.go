package main

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/wrapper"
)

func TestParse(t *testing.T) {
	t.Setenv("PORT", "9000")
	t.Setenv("HEALTH_PORT", "")
	c, err := parse([]string{"--mode", "ready", "--child-port", "8000", "--stop-signal", "quit", "--grace", "20s", "--", "nginx", "-g", "daemon off;"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode != wrapper.Ready || c.ChildPort != 8000 || c.StopSignal != syscall.SIGQUIT || c.Grace != 20*time.Second ||
		c.Listen != ":9000" || c.Health != ":8081" || strings.Join(c.Command, "|") != "nginx|-g|daemon off;" {
		t.Errorf("got %+v", c)
	}
}

// Every mistake ends with code 2 and says how to mend it.
func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		hint string
	}{
		{nil, "put it after --"},
		{[]string{"--mode", "magic", "--", "x"}, "known are proxy, ready and signal"},
		{[]string{"--stop-signal", "BANANA", "--", "x"}, "known are TERM"},
		{[]string{"--child-ready", "ready", "--", "x"}, "begins with /"},
		{[]string{"--mode", "signal", "--child-ready", "/ready", "--", "x"}, "needs --child-port"},
		{[]string{"--child-port", "70000", "--", "x"}, "at most 65535"},
		{[]string{"--nonsense", "--", "x"}, "--help"},
		{[]string{"prestop"}, "--port"},
		{[]string{"copy"}, "one destination"},
	} {
		var out, errs bytes.Buffer
		if code := run(tt.args, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), tt.hint) {
			t.Errorf("%v: code %d, said %q; want a hint at %q", tt.args, code, errs.String(), tt.hint)
		}
	}
}

func TestHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"--help"}, &out, &errs); code != 0 || !strings.Contains(errs.String(), "stop-group") {
		t.Errorf("code %d, said %q", code, errs.String())
	}
}
