package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Generating again changes nothing, and nothing is left of what was generated once.
func TestGeneratedCode(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("skipped: there is no go command to build the plugins with")
	}
	t.Chdir("..") // where the tools are
	to := t.TempDir()
	if err := generate(t.Context(), "../proto", to); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	err := fs.WalkDir(os.DirFS(to), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen[name] = true
		want, err := os.ReadFile(filepath.Join(to, name))
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join("../proto", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what is generated (%v): run go run ./protogen in platform/mib/tools", name, err)
		}
		return nil
	})
	if err != nil || len(seen) < 10 {
		t.Fatal(len(seen), err)
	}
	err = fs.WalkDir(os.DirFS("../proto"), ".", func(name string, _ fs.DirEntry, err error) error {
		generated := strings.HasSuffix(name, ".pb.go") || strings.HasSuffix(name, ".connect.go") || strings.HasSuffix(name, ".json")
		if generated && !seen[name] {
			t.Errorf("%s is not generated any more", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The style, and that clients of what was accepted are not broken.
func TestProtocol(t *testing.T) {
	t.Chdir("..")
	if _, err := os.Stat("buf/bin/buf"); err != nil && os.Getenv("EVENKEEL_BUF") == "" {
		t.Skip("skipped: buf is not built, which takes minutes; go run ./protogen -lint in platform/mib/tools builds it, EVENKEEL_BUF=1 lets this test do it")
	}
	if err := check(t.Context(), "..", false); err != nil {
		t.Error(err)
	}

	// A field that changes its type breaks clients, and that is found.
	broken := t.TempDir()
	names, err := protoFiles("../proto")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"buf.yaml", accepted}
	for _, n := range names {
		files = append(files, "proto/"+n)
	}
	for _, n := range files {
		b, err := os.ReadFile(filepath.Join("..", n))
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.Replace(b, []byte("string field = 2"), []byte("int32 field = 2"), 1)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(broken, n)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(broken, n), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := check(t.Context(), broken, false); err == nil || !strings.Contains(err.Error(), "buf breaking") {
		t.Errorf("a field changed its type: %v", err)
	}
}
