package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/keys"
)

func TestUsage(t *testing.T) {
	services := []string{"--engine", "http://e", "--vector-store", "http://v"}
	for _, c := range []struct {
		args    []string
		brokers string
		code    int
		want    string
	}{
		{[]string{"--help"}, "", 0, "Usage: go-gateway"},
		{[]string{"--colour"}, "b:1", 2, "not defined"},
		{[]string{"--open"}, "b:1", 2, "--engine and --vector-store are needed"},
		{services, "b:1", 2, "one of --keys and --open is needed"},
		{append(services, "--open", "--keys", "k"), "b:1", 2, "one of --keys and --open is needed"},
		{append(services, "--open"), "", 1, "set KAFKA_BROKERS"},
		{append(services, "--open", "more"), "b:1", 2, "unexpected argument"},
		{append(services, "--open", "--spiffe", "unix:///s"), "b:1", 2, "--engine-peers"},
		{append(services, "--keys", t.TempDir()+"/none"), "b:1", 1, "reading keys"},
		{[]string{"key"}, "", 2, "one name"},
		{[]string{"key", "two words"}, "", 2, "is no name"},
	} {
		var out, errs bytes.Buffer
		env := func(name string) string {
			if name == "KAFKA_BROKERS" {
				return c.brokers
			}
			return ""
		}
		if code := run(t.Context(), c.args, env, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%q: code %d, %s", c.args, code, &errs)
		}
	}
}

// What key prints is a line that a file of keys takes.
func TestKey(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"key", "desk"}, func(string) string { return "" }, &out, &errs); code != 0 {
		t.Fatal(&errs)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	set, err := keys.Parse([]byte(lines[len(lines)-1]))
	if err != nil || len(set) != 1 || !strings.HasPrefix(lines[1], "mib_") {
		t.Errorf("%v: %s", err, &out)
	}
}
