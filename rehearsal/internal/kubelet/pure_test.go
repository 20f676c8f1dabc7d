package kubelet

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

func TestThreshold(t *testing.T) {
	// Each letter is a result: s success, f failure. Each letter of want is the
	// verdict after it: S, F, or . when the one before holds.
	for _, tt := range []struct {
		successes, failures int
		results, want       string
	}{
		{1, 1, "sfsf", "SFSF"},
		{1, 3, "fffsff", "..FS.."},
		{2, 2, "sfssff", "...S.F"},
		{3, 1, "ssfsss", "..F..S"},
		{1, 3, "ffff", "..FF"},
	} {
		th := threshold{successes: tt.successes, failures: tt.failures}
		var got strings.Builder
		for _, r := range tt.results {
			switch verdict, decided := th.observe(r == 's'); {
			case !decided:
				got.WriteByte('.')
			case verdict:
				got.WriteByte('S')
			default:
				got.WriteByte('F')
			}
		}
		if got.String() != tt.want {
			t.Errorf("%d/%d %s: got %s, want %s", tt.successes, tt.failures, tt.results, &got, tt.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{base: 10 * time.Second}
	for i, want := range []time.Duration{0, 10, 20, 40, 80, 160, 300, 300} {
		if got := b.after(time.Second); got != want*time.Second {
			t.Errorf("restart %d waits %s, want %s", i+1, got, want*time.Second)
		}
	}
	if got := b.after(10 * time.Minute); got != 0 {
		t.Errorf("after a long run: waits %s, want none", got)
	}
	if got := b.after(time.Second); got != 10*time.Second {
		t.Errorf("after that: waits %s, want 10s", got)
	}
	b.forgive = 30 * time.Second
	if got := b.after(29 * time.Second); got != 20*time.Second {
		t.Errorf("before it is forgiven: waits %s, want 20s", got)
	}
	if got := b.after(30 * time.Second); got != 0 {
		t.Errorf("when it is forgiven: waits %s, want none", got)
	}
}

func TestAddresses(t *testing.T) {
	share, err := podnet.Claim()
	if err != nil {
		t.Fatal(err)
	}
	defer share.Close()
	a := newAddresses(share)
	seen := make(map[netip.Addr]bool)
	for range 1000 {
		ip, err := a.take()
		if err != nil || seen[ip] || !share.Pods.Contains(ip) {
			t.Fatalf("took %s (seen: %t): %v", ip, seen[ip], err)
		}
		if b := ip.As4(); b[3] == 0 || b[3] == 255 || b[2] == 255 {
			t.Fatalf("took %s", ip)
		}
		seen[ip] = true
		share.Cut(ip)
		a.give(ip)
	}
	for range 255 * 254 { // all the way round: the addresses come again, audible
		ip, err := a.take()
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-share.Silent(ip):
			t.Fatalf("%s was given silent", ip)
		default:
		}
	}
	if _, err := a.take(); err == nil {
		t.Error("took more addresses than there are")
	}
}
