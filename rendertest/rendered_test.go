package rendertest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

const rendered = "../examples/market-intel-brain/rendered"

// objects returns every Kubernetes object below one folder of the rendered
// output.
func objects(t *testing.T, folder string) []unstructured.Unstructured {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(rendered, folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in %s: %v", folder, err)
	}
	var out []unstructured.Unstructured
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range bytes.Split(data, []byte("\n---\n")) {
			out = append(out, decode(t, path, doc))
		}
	}
	return out
}

// decode reads YAML with whole numbers as int64, as the API server does: read as
// float64, validation rules report errors that are none.
func decode(t *testing.T, path string, doc []byte) unstructured.Unstructured {
	t.Helper()
	j, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	o := unstructured.Unstructured{}
	if err := kjson.Unmarshal(j, &o.Object); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return o
}

// moduleDir returns where the Go module cache holds a module, of which only data
// files are read. The sum pins its contents, as a line in go.sum would if the
// module were imported.
func moduleDir(ctx context.Context, t *testing.T, module, sum string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir() // outside of any module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.Output()
	var info struct{ Dir, Sum, Error string }
	if json.Unmarshal(out, &info) != nil || info.Dir == "" {
		t.Skipf("%s is neither in the module cache nor to be had: %v %s", module, err, info.Error)
	}
	if info.Sum != sum {
		t.Fatalf("%s has the sum %s, want %s", module, info.Sum, sum)
	}
	return info.Dir
}
