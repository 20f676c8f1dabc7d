package trace_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// realTrace reads one of the published histories below the folder that
// EVENKEEL_DATA names.
func realTrace(t *testing.T, file string) *trace.Trace {
	t.Helper()
	root := os.Getenv("EVENKEEL_DATA")
	if root == "" {
		t.Skip("EVENKEEL_DATA does not name a folder with the published histories (spot-availability-aws): nothing to compare with")
	}
	dir := filepath.Join(root, "spot-availability-aws")
	history, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	defer history.Close()
	pools, err := os.Open(filepath.Join(dir, "pools.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer pools.Close()
	tr, err := trace.Read(history, file, pools, trace.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestRealStatistics measures the published histories and compares them with
// what their publisher measured, with the design's figures, and with the
// numbers that the generator takes for its defaults.
func TestRealStatistics(t *testing.T) {
	for _, file := range []string{"aws-2022-10-gpu.csv", "aws-2023-02-v100.csv"} {
		tr := realTrace(t, file)
		for _, row := range published(t, file) {
			p, ok := tr.Pool(row["pool"])
			if !ok {
				t.Errorf("%s: pool %s is missing", file, row["pool"])
				continue
			}
			near(t, p.Name()+": availability", p.Availability(), number(t, row["availability"]), 0.0001)
			near(t, p.Name()+": mean up hours", p.MeanUp().Hours(), number(t, row["mean_up_h"]), 0.01)
			near(t, p.Name()+": reclaims", float64(len(p.Reclaims())), number(t, row["interruptions"]), 0)
		}
	}

	tr := realTrace(t, "aws-2023-02-v100.csv")
	for i := range tr.Pools {
		for j := range i {
			a, b := &tr.Pools[j], &tr.Pools[i]
			correlation := trace.Correlation(a, b)
			t.Logf("%s and %s: correlation %.2f, co-interruption %.2f", a.Zone, b.Zone, correlation, trace.CoInterruption(a, b, 3*time.Minute))
			if a.Region == b.Region {
				near(t, a.Zone+" and "+b.Zone+": correlation", correlation, (0.38+0.57)/2, 0.1)
			} else {
				near(t, a.Zone+" and "+b.Zone+": correlation", correlation, 0.10, 0.11)
			}
		}
	}

	a, _ := tr.Pool("us-west-2a/p3.2xlarge")
	c, _ := tr.Pool("us-west-2c/p3.2xlarge")
	near(t, "availability behind the default", (a.Availability()+c.Availability())/2, trace.DefaultAvailability, 0.01)
	near(t, "mean up hours behind the default", (a.MeanUp()+c.MeanUp()).Hours()/2, trace.DefaultMeanUp.Hours(), 0.1)
	near(t, "correlation behind the default", trace.Correlation(a, c), trace.DefaultCorrelation, 0.005)
	near(t, "co-interruption behind the default", trace.CoInterruption(a, c, 3*time.Minute), trace.DefaultCoInterruption, 0.005)
}

// published returns the rows of pools.csv for a history.
func published(t *testing.T, file string) []map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(os.Getenv("EVENKEEL_DATA"), "spot-availability-aws", "pools.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, r := range rows[1:] {
		m := make(map[string]string)
		for i, column := range rows[0] {
			m[column] = r[i]
		}
		if dataset := m["dataset"]; len(file) > len(dataset) && file[:len(dataset)] == dataset {
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		t.Fatalf("pools.csv has no pools of %s", file)
	}
	return out
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
