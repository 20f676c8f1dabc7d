package price

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite builtin/ from EVENKEEL_DATA")

// The built-in table: the instance types of the examples, and what would be
// taken instead of them.
var (
	builtinAWS = typesOf(
		"m5 m5a m5d m5n m5ad m6i m6a m6g m7i m7a m7g c5 c5a c5d c5n c5ad c6i c6a c6g c7i c7a c7g r5 r5a r5d r5n r5ad r6i r6a r6g r7i r7g",
		"large xlarge 2xlarge", ".")
	builtinExtra      = []string{"t3.medium", "t3.large", "t3.xlarge", "t3a.large", "t4g.large", "g4dn.xlarge", "p3.2xlarge"}
	builtinGCP        = typesOf("e2-standard n2-standard n2d-standard n2-highmem n2d-highmem c3-standard n4-standard", "4 8", "-")
	builtinAWSRegions = []string{"us-east-1"} // the one whose on-demand prices the source has
	builtinGCPRegions = []string{"us-central1", "us-east1", "europe-west1"}
)

func typesOf(families, sizes, separator string) []string {
	var out []string
	for _, f := range strings.Fields(families) {
		for _, s := range strings.Fields(sizes) {
			out = append(out, f+separator+s)
		}
	}
	return out
}

// TestBuiltin checks that the built-in table is what the data folder says.
func TestBuiltin(t *testing.T) {
	root := os.Getenv("EVENKEEL_DATA")
	if root == "" {
		t.Log("EVENKEEL_DATA does not name a data folder: the built-in table is not compared with its source, only read")
		Builtin()
		return
	}
	data, err := ReadData(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	want := new(Table)
	aws := slices.Concat(builtinAWS, builtinExtra)
	for _, i := range data.Instances() {
		if slices.Contains(aws, i.Type) || slices.Contains(builtinGCP, i.Type) {
			want.AddInstance(i)
		}
	}
	for k, q := range data.quotes {
		switch {
		case slices.Contains(aws, k.instanceType) && k.capacity == OnDemand && slices.Contains(builtinAWSRegions, k.region),
			slices.Contains(builtinGCP, k.instanceType) && slices.Contains(builtinGCPRegions, k.region):
			want.Add(k.instanceType, k.region, k.zone, k.capacity, q)
		}
	}
	for k, a := range data.advice {
		if slices.Contains(aws, k.instanceType) && slices.Contains(builtinAWSRegions, k.region) {
			want.AddAdvice(k.instanceType, k.region, a)
		}
	}
	for _, file := range tableFiles {
		path := filepath.Join("builtin", file.name)
		if *update {
			if err := os.WriteFile(path, []byte(file.write(want)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != file.write(want) {
			t.Errorf("%s is not what the data folder says; run with -update", path)
		}
	}
}
