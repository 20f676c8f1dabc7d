package interruption

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// lead is that of EC2.
const lead = 2 * time.Minute

// seen is half a second after the time of the events in testdata.
var seen = time.Date(2026, 3, 1, 10, 15, 30, 500_000_000, time.UTC)

// TestDecodeAWS holds every file of testdata/aws against its golden answer: the
// notices, or the error.
func TestDecodeAWS(t *testing.T) {
	files, err := filepath.Glob("testdata/aws/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no events in testdata/aws: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			payload, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := answer(DecodeAWS(payload, lead, seen))
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func answer(notices []Notice, err error) string {
	switch {
	case errors.Is(err, ErrIgnored):
		return "ignored: " + err.Error() + "\n"
	case err != nil:
		return err.Error() + "\n"
	}
	text, err := json.MarshalIndent(notices, "", "  ")
	if err != nil {
		return err.Error() + "\n"
	}
	return string(text) + "\n"
}

func TestDecodeAWSScalesTheLead(t *testing.T) {
	payload, err := os.ReadFile("testdata/aws/spot-terminate.json")
	if err != nil {
		t.Fatal(err)
	}
	notices, err := DecodeAWS(payload, 15*time.Second, seen)
	if err != nil {
		t.Fatal(err)
	}
	if got := notices[0].Deadline.Sub(notices[0].Sent); got != 15*time.Second {
		t.Errorf("deadline is %s after the event, want 15s", got)
	}
}

func TestDecodeAWSBoundsItsErrors(t *testing.T) {
	long := strings.Repeat("ÿ\x00", 1<<19)
	for name, payload := range map[string]string{
		"larger than a message": strings.Repeat(" ", maxPayload+1),
		"garbage":               long[:maxPayload],
		"long source":           `{"source":"` + strings.Repeat("s", 1<<19) + `","detail-type":"x"}`,
		"long type":             `{"source":"aws.ec2","detail-type":"` + strings.Repeat("s", 1<<19) + `"}`,
		"long number":           `{"source":` + strings.Repeat("1", 1<<19) + `}`,
		"long time": `{"source":"aws.ec2","detail-type":"EC2 Instance Rebalance Recommendation","time":"2026-03-01T10:15:30.` +
			strings.Repeat("1", 1<<19) + `Z","detail":{"instance-id":"x"}}`,
		"long state": `{"source":"aws.ec2","detail-type":"EC2 Instance State-change Notification","time":"2026-03-01T10:15:30Z",` +
			`"detail":{"instance-id":"i-1","state":"` + strings.Repeat("s", 1<<19) + `"}}`,
	} {
		_, err := DecodeAWS([]byte(payload), lead, seen)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if n := len(err.Error()); n > 4096 {
			t.Errorf("%s: the error has %d bytes", name, n)
		}
	}
}

func FuzzDecodeAWS(f *testing.F) {
	files, _ := filepath.Glob("testdata/aws/*.json")
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		notices, err := DecodeAWS(payload, lead, seen)
		if err != nil {
			if len(notices) != 0 {
				t.Errorf("%d notices beside the error %v", len(notices), err)
			}
			m, bad := errors.AsType[*MalformedError](err)
			if bad == errors.Is(err, ErrIgnored) {
				t.Errorf("neither ignored nor malformed, or both: %v", err)
			}
			if bad && (m.Field == "" || len(m.Field) > 64 || len(m.Error()) > 4096) {
				t.Errorf("unbounded or nameless error: field %.100q, %d bytes", m.Field, len(m.Error()))
			}
			return
		}
		if len(notices) == 0 || len(notices) > maxEntities {
			t.Fatalf("%d notices and no error", len(notices))
		}
		of := make(map[InstanceID]bool)
		for _, n := range notices {
			complete(t, n)
			if n.Cloud != AWS || !validInstanceID(string(n.Instance)) || of[n.Instance] {
				t.Errorf("of no instance, or of one twice: %+v", n)
			}
			of[n.Instance] = true
		}
	})
}

// complete checks what every decoder owes.
func complete(t *testing.T, n Notice) {
	t.Helper()
	if !n.Seen.Equal(seen) || n.Sent.IsZero() || n.Instance == "" || n.Kind == "" {
		t.Errorf("incomplete notice %+v", n)
	}
	if n.Deadline.IsZero() != (n.Kind == Rebalance || n.Kind == Cancelled || n.Kind == LifecycleHook) {
		t.Errorf("%s with deadline %s", n.Kind, n.Deadline)
	}
	if n.Hook != nil && n.Kind != LifecycleHook {
		t.Errorf("%s with hook %v", n.Kind, n.Hook)
	}
	if text, err := json.Marshal(n); err != nil {
		t.Errorf("a notice that cannot be stored: %v", err)
	} else if len(text) > 8192 {
		t.Errorf("a notice of %d bytes", len(text))
	}
}
