package interruption

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// decoders are those of what the metadata services of machines say, by the name of
// the folder of testdata that holds their cases.
var decoders = map[string]func([]byte) ([]Notice, error){
	"imds-spot":         func(b []byte) ([]Notice, error) { return one(DecodeSpotAction(b, "i-1", lead, seen)) },
	"imds-rebalance":    func(b []byte) ([]Notice, error) { return one(DecodeRebalance(b, "i-1", seen)) },
	"imds-target-state": func(b []byte) ([]Notice, error) { return one(DecodeTargetState(b, "i-1", seen)) },
	"gcp-preempted": func(b []byte) ([]Notice, error) {
		return one(DecodePreempted(b, "project/zone/vm", 30*time.Second, seen))
	},
	"gcp-maintenance": func(b []byte) ([]Notice, error) { return one(DecodeMaintenance(b, "project/zone/vm", seen)) },
	"azure": func(b []byte) ([]Notice, error) {
		e, err := DecodeAzure(b, "vmss_0", "/subscriptions/1", false, seen)
		return e.Notices, err
	},
	"azure-freeze": func(b []byte) ([]Notice, error) {
		e, err := DecodeAzure(b, "vmss_0", "/subscriptions/1", true, seen)
		return e.Notices, err
	},
}

func one(n Notice, err error) ([]Notice, error) {
	if err != nil {
		return nil, err
	}
	return []Notice{n}, nil
}

// TestDecodeMetadata holds every case of testdata against its golden answer.
func TestDecodeMetadata(t *testing.T) {
	for name, decode := range decoders {
		files, err := filepath.Glob("testdata/" + name + "/*.in")
		if err != nil || len(files) == 0 {
			t.Errorf("no cases of %s: %v", name, err)
		}
		for _, file := range files {
			payload, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := answer(decode(payload))
			golden := strings.TrimSuffix(file, ".in") + ".golden"
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
				t.Errorf("%s: got:\n%s\nwant:\n%s", file, got, want)
			}
		}
	}
}

// TestAzureApprovals: an event of several machines is not for one to approve.
func TestAzureApprovals(t *testing.T) {
	e, err := DecodeAzure(fmt.Appendf(nil, `{"DocumentIncarnation":7,"Events":[
		{"EventId":"own","EventType":"Reboot","EventStatus":"Scheduled","NotBefore":"Sun, 01 Mar 2026 10:20:00 GMT","Resources":["vmss_0"]},
		{"EventId":"both","EventType":"Reboot","EventStatus":"Scheduled","NotBefore":"Sun, 01 Mar 2026 10:20:00 GMT","Resources":["vmss_0","vmss_1"]}]}`),
		"VMSS_0", "x", false, seen)
	if err != nil || e.Incarnation != 7 || len(e.Notices) != 2 || e.Shared["own"] || !e.Shared["both"] {
		t.Errorf("%+v, %v", e, err)
	}
}

func FuzzDecodeMetadata(f *testing.F) {
	for name := range decoders {
		files, _ := filepath.Glob("testdata/" + name + "/*.in")
		for _, file := range files {
			payload, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(payload)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for name, decode := range decoders {
			notices, err := decode(payload)
			if err != nil {
				m, bad := errors.AsType[*MalformedError](err)
				if bad == errors.Is(err, ErrIgnored) || bad && (m.Field == "" || len(m.Error()) > 4096) || len(notices) != 0 {
					t.Errorf("%s: %d notices and error %.300v", name, len(notices), err)
				}
			}
			for _, n := range notices {
				complete(t, n)
			}
		}
	})
}
