package lifecycle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGrace(t *testing.T) {
	for _, tt := range []struct {
		env    string
		option time.Duration
		want   time.Duration
		noted  bool
	}{
		{"", 0, 30 * time.Second, false},
		{"10", 0, 10 * time.Second, false},
		{"1.5", 0, 1500 * time.Millisecond, false},
		{"10", 4 * time.Second, 4 * time.Second, false},
		{"soon", 0, 30 * time.Second, true},
		{"10s", 0, 30 * time.Second, true},
		{"NaN", 0, 30 * time.Second, true},
		{"0", 0, time.Second, true},
		{"-5", 0, time.Second, true},
		{"1e300", 0, 24 * time.Hour, true},
		{"-Inf", 0, time.Second, true},
		{"", -time.Hour, time.Second, true},
		{"", time.Nanosecond, time.Second, true},
	} {
		t.Setenv("EVENKEEL_GRACE_SECONDS", tt.env)
		_, p, notes := settings(Options{Grace: tt.option})
		if p.grace != tt.want || (len(notes) > 0) != tt.noted {
			t.Errorf("env %q, option %s: got %s, notes %q; want %s", tt.env, tt.option, p.grace, notes, tt.want)
		}
	}
}

func TestParseDeadline(t *testing.T) {
	want := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, tt := range []struct {
		name, in string
		want     time.Time
		err      bool
	}{
		{"empty", "", time.Time{}, false},
		{"time alone", "2026-03-04T05:06:07Z\n", want, false},
		{"offset", "2026-03-04T06:06:07+01:00", want, false},
		{"annotations", "a=\"b\"\nevenkeel.dev/deadline=\"2026-03-04T05:06:07Z\"\nz=\"x\\ny\"\n", want, false},
		{"unquoted", "evenkeel.dev/deadline=2026-03-04T05:06:07Z", want, false},
		{"other annotations", "a=\"b\"\nc=\"d\"", time.Time{}, false},
		{"inside another value", "a=\"\\nevenkeel.dev/deadline=2026-03-04T05:06:07Z\"", time.Time{}, false},
		{"longer key", "evenkeel.dev/deadline-note=\"x\"", time.Time{}, false},
		{"taken back", "evenkeel.dev/deadline=\"\"", time.Time{}, false},
		{"nonsense", "tomorrow", time.Time{}, true},
		{"nonsense value", "evenkeel.dev/deadline=\"tomorrow\"", time.Time{}, true},
	} {
		got, err := parseDeadline([]byte(tt.in))
		if !got.Equal(tt.want) || (err != nil) != tt.err {
			t.Errorf("%s: got %v, %v", tt.name, got, err)
		}
	}
}

func TestReadDeadlineIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "annotations")
	data := strings.Repeat("a=\"b\"\n", maxDeadlineFile/6+1) + `evenkeel.dev/deadline="2026-03-04T05:06:07Z"`
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readDeadline(name); !got.IsZero() || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzParseDeadline(f *testing.F) {
	f.Add([]byte("2026-03-04T05:06:07Z"))
	f.Add([]byte("a=\"b\"\nevenkeel.dev/deadline=\"2026-03-04T05:06:07Z\"\n"))
	f.Add([]byte("evenkeel.dev/deadline=\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseDeadline(data)
		if err != nil {
			if !got.IsZero() {
				t.Errorf("a time with an error: %v, %v", got, err)
			}
			return
		}
		if got.IsZero() {
			return
		}
		again, err := parseDeadline([]byte(deadlineKey + "=\"" + got.Format(time.RFC3339Nano) + "\"\n"))
		if err != nil || !again.Equal(got) {
			t.Errorf("read %v, written and read again %v, %v", got, again, err)
		}
	})
}

func FuzzParseSeconds(f *testing.F) {
	for _, s := range []string{"30", "1.5", "-1", "NaN", "1e300", "0x1p4", "Inf", "10s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseSeconds(s)
		if err != nil && d != 0 {
			t.Errorf("%q: %s with an error", s, d)
		}
		if d.Abs() > 1000*time.Hour {
			t.Errorf("%q: %s", s, d)
		}
	})
}
