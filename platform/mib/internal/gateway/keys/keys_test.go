package keys

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	key, line, err := New("desk-1")
	if err != nil {
		t.Fatal(err)
	}
	other, otherLine, _ := New("desk-2")
	if strings.Contains(line, key) || key == other {
		t.Fatal("a line has the key, or two keys are the same")
	}
	name := filepath.Join(t.TempDir(), "keys")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# who may ask\n\n" + line + " rate=2.5 burst=7\n")
	f, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(header, value string) (Client, bool) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(header, value)
		return f.Client(r)
	}
	want := Client{"desk-1", 2.5, 7}
	for _, c := range []struct {
		header, value string
		ok            bool
	}{
		{"Authorization", "Bearer " + key, true},
		{"Authorization", "bearer " + key, true},
		{"X-API-Key", key, true},
		{"Authorization", "Basic " + key, false},
		{"Authorization", "Bearer ", false},
		{"Authorization", key, false},
		{"X-API-Key", key + "x", false},
		{"X-API-Key", other, false},
		{"X-Other", key, false},
	} {
		if got, ok := ask(c.header, c.value); ok != c.ok || ok && got != want {
			t.Errorf("%s %.10s...: %+v, %v", c.header, c.value, got, ok)
		}
	}

	write("desk-2 sha256:nothing\n")
	if err := f.Load(); err == nil || strings.Contains(err.Error(), "nothing") {
		t.Errorf("a wrong file: %v", err)
	}
	if _, ok := ask("X-API-Key", key); !ok {
		t.Error("the key that was there is gone after a wrong file")
	}
	write(otherLine + "\n")
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	_, before := ask("X-API-Key", key)
	_, after := ask("X-API-Key", other)
	if before || !after {
		t.Errorf("after a change: the old key %v, the new one %v", before, after)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	hash := "sha256:" + strings.Repeat("ab", 32)
	for in, want := range map[string]string{
		"a/b " + hash:                       "first word",
		"a":                                 "no hash",
		"a mib_pasted":                      "must have a hash",
		"a " + hash + "ff":                  "must have a hash",
		"a " + hash + " rate=0":             "rate must be a number above 0",
		"a " + hash + " rate=NaN":           "rate must be a number above 0",
		"a " + hash + " burst=1.5":          "burst must be a number above 0",
		"a " + hash + " colour=red":         "neither rate=NUMBER",
		"a " + hash + "\nb " + hash:         "the same key",
		"a " + hash + "\n#\na " + hash[:70]: "another key named a",
	} {
		_, err := Parse([]byte(in))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pasted") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// Whatever is in the file, it is refused with a reason or read to keys that have a
// name; and a reason does not show what may be a key.
func FuzzParse(f *testing.F) {
	_, line, _ := New("a")
	f.Add([]byte("# c\n" + line + " rate=1 burst=2\n"))
	f.Add([]byte("a sha256:00 rate=1e400"))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := Parse(b)
		if err != nil {
			return
		}
		names := make(map[string]bool)
		for _, c := range set {
			if !goodName(c.Name) || names[c.Name] || c.Rate < 0 || c.Burst < 0 {
				t.Fatalf("%+v", c)
			}
			names[c.Name] = true
		}
	})
}
