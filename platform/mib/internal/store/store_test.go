package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
)

func item(id, text string, v ...float32) Item {
	return Item{corpus.Document{ID: id, Kind: corpus.Passage, Title: "June 2001", Text: text, Source: "a test", Date: time.Date(2001, 6, 1, 0, 0, 0, 0, time.UTC)}, v}
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// contents is what a store holds, by id.
func contents(s *Store) map[string]string {
	m := make(map[string]string)
	for id, n := range s.byID {
		m[id] = fmt.Sprint(s.rows[n].doc.Text, s.vectors.Row(n))
	}
	return m
}

func ids(hits []Hit) string {
	var list []string
	for _, h := range hits {
		list = append(list, h.ID)
	}
	return strings.Join(list, " ")
}

func TestSearch(t *testing.T) {
	s := open(t, t.TempDir())
	filing := item("f", "Oil Drilling Corp", 0, 1)
	filing.Kind, filing.Date = corpus.Filing, time.Date(2020, 3, 18, 0, 0, 0, 0, time.UTC)
	if err := s.Upsert(item("a", "Oil producers shut wells.", 1, 0), item("b", "Shoppers stayed at home.", 0.8, 0.6), item("c", "Wells and oil and more wells", 0, 1), filing); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		q    Query
		want string
	}{
		{"words", Query{Text: "well"}, "c a"},
		{"meaning", Query{Vector: []float32{1, 0}}, "a b c f"},
		{"both", Query{Text: "oil", Vector: []float32{1, 0}, K: 2}, "a c"},
		{"a vector that knows nothing", Query{Text: "oil", Vector: []float32{0, 0}, Kind: corpus.Passage}, "c a"},
		{"kind", Query{Vector: []float32{1, 0}, Kind: corpus.Filing}, "f"},
		{"from", Query{Text: "oil", From: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}, "f"},
		{"to", Query{Text: "oil", To: time.Date(2001, 6, 1, 0, 0, 0, 0, time.UTC), K: 1}, "c"},
		{"nothing", Query{Text: "the"}, ""},
	} {
		hits, err := s.Search(test.q)
		if err != nil || ids(hits) != test.want {
			t.Errorf("%s: got %q (%v), want %q", test.name, ids(hits), err, test.want)
		}
	}
	if _, err := s.Search(Query{Vector: []float32{1}}); err == nil {
		t.Error("a vector of another length was accepted")
	}
	for name, bad := range map[string]Item{"no id": item("", "x", 1, 0), "length": item("x", "x", 1), "no number": item("x", "x", 1, float32(inf()))} {
		if err := s.Upsert(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func inf() float64 { var zero float64; return 1 / zero }

func TestReplaceAndDelete(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 3000 { // enough to be compacted
		if i%500 == 0 {
			if err := s.Upsert(item("other", "Harvest", 1, 0)); err != nil {
				t.Fatal(err)
			}
		}
		s.mu.Lock()
		err := s.apply(mustEncode(t, item("a", fmt.Sprint("version", i), 0, 1)))
		s.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(s.rows) > 1500 {
		t.Errorf("%d rows for %d documents", len(s.rows), s.Len())
	}
	if err := s.Upsert(item("a", "last", 0, 1), item("b", "new", 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("b", "never there"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "last[0 1]", "other": "Harvest[1 0]"}
	if got := contents(s); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got := contents(open(t, dir)); !maps.Equal(got, want) {
		t.Errorf("opened again: %v", got)
	}
}

func mustEncode(t *testing.T, i Item) []byte {
	t.Helper()
	b, err := encodeUpsert(i)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A step of the history that the crash tests play.
type step struct {
	name string
	do   func(*Store) error
	want map[string]string // what is there after it
}

func history(t *testing.T) []step {
	return []step{
		{"upsert a", func(s *Store) error { return s.Upsert(item("a", "one", 1, 0)) }, map[string]string{"a": "one[1 0]"}},
		{"save", func(s *Store) error { return s.Save(t.Context()) }, map[string]string{"a": "one[1 0]"}},
		{"upsert b", func(s *Store) error { return s.Upsert(item("b", "two", 0, 1)) }, map[string]string{"a": "one[1 0]", "b": "two[0 1]"}},
		{"replace a", func(s *Store) error { return s.Upsert(item("a", "three", 0, 1)) }, map[string]string{"a": "three[0 1]", "b": "two[0 1]"}},
		{"save", func(s *Store) error { return s.Save(t.Context()) }, map[string]string{"a": "three[0 1]", "b": "two[0 1]"}},
		{"delete b", func(s *Store) error { return s.Delete("b") }, map[string]string{"a": "three[0 1]"}},
		{"save", func(s *Store) error { return s.Save(t.Context()) }, map[string]string{"a": "three[0 1]"}},
		{"upsert c", func(s *Store) error { return s.Upsert(item("c", "four", 1, 0)) }, map[string]string{"a": "three[0 1]", "c": "four[1 0]"}},
	}
}

var errCrash = errors.New("crashed here")

// dying is a file of a process that dies at a certain write or sync, with some of
// the write done.
type dying struct {
	*os.File
	left *int // how many more writes and syncs succeed
	part int  // how much of the write that does not is done, in bytes
}

func (d dying) Write(p []byte) (int, error) {
	if *d.left--; *d.left >= 0 {
		return d.File.Write(p)
	}
	n, err := d.File.Write(p[:min(d.part, len(p))])
	return n, errors.Join(err, errCrash)
}

func (d dying) Sync() error {
	if *d.left--; *d.left >= 0 {
		return d.File.Sync()
	}
	return errCrash
}

// A process is killed at every write and every sync of its log, with nothing, a
// part or all of the write done. The next one finds what was acknowledged, and of
// the step in which the other died either all or nothing.
func TestKilledAtEveryWrite(t *testing.T) {
	for _, part := range []int{0, 7, 60, 1 << 20} {
		for at, done := 0, false; !done; at++ {
			dir := t.TempDir()
			s := open(t, dir)
			left := at
			s.log.open = func(path string) (file, error) {
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
				return dying{f, &left, part}, err
			}
			steps := history(t)
			acked, died := map[string]string{}, -1
			for i, st := range steps {
				if err := st.do(s); err != nil {
					if !errors.Is(err, errCrash) {
						t.Fatal(err)
					}
					died = i
					break
				}
				acked = st.want
			}
			done = died < 0
			// It does not go on after a failed write.
			if !done && s.Upsert(item("z", "late", 1, 0)) == nil {
				t.Fatal("a store whose log failed accepted a document")
			}

			next := open(t, dir)
			got := contents(next)
			if !maps.Equal(got, acked) && (done || !maps.Equal(got, steps[died].want)) {
				t.Fatalf("killed at write %d after %d bytes of it: got %v, acknowledged %v", at, part, got, acked)
			}
			// What it found is what the one after it will find, with more after it.
			if err := next.Upsert(item("d", "later", 1, 0)); err != nil {
				t.Fatal(err)
			}
			want := contents(next)
			if got := contents(open(t, dir)); !maps.Equal(got, want) {
				t.Fatalf("killed at write %d: then got %v, want %v", at, got, want)
			}
		}
	}
}

// The last segment is cut at any length: what is left is a prefix of what was
// written, and never an error.
func TestCutAtAnyByte(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var prefixes []map[string]string
	prefixes = append(prefixes, contents(s))
	for i := range 4 {
		if err := s.Upsert(item(fmt.Sprint("d", i), "text", float32(i), 0)); err != nil {
			t.Fatal(err)
		}
		prefixes = append(prefixes, contents(s))
	}
	whole, err := os.ReadFile(s.log.path(0))
	if err != nil {
		t.Fatal(err)
	}
	for size := 0; size <= len(whole); size += 3 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(s.log.path(0))), whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		got := contents(open(t, dir))
		if !slices.ContainsFunc(prefixes, func(p map[string]string) bool { return maps.Equal(p, got) }) || len(got) != size*4/len(whole) {
			t.Fatalf("cut at %d of %d: %v", size, len(whole), got)
		}
	}
}

// Damage that no crash can do is an error, not a smaller store.
func TestDamageIsFound(t *testing.T) {
	fill := func(t *testing.T) (string, *Store) {
		dir := t.TempDir()
		s := open(t, dir)
		for i := range 3 {
			if err := s.Upsert(item(fmt.Sprint("d", i), "text", 1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := s.log.close(); err != nil { // as if it had been opened again
				t.Fatal(err)
			}
		}
		return dir, s
	}
	for name, damage := range map[string]func(t *testing.T, dir string, s *Store){
		"a bit in a segment that is not the last": func(t *testing.T, _ string, s *Store) {
			b, err := os.ReadFile(s.log.path(1))
			if err != nil {
				t.Fatal(err)
			}
			b[20] ^= 1
			if err := os.WriteFile(s.log.path(1), b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a segment is missing": func(t *testing.T, _ string, s *Store) {
			if err := os.Remove(s.log.path(1)); err != nil {
				t.Fatal(err)
			}
		},
		"all snapshots are damaged": func(t *testing.T, dir string, s *Store) {
			for range 3 {
				if err := s.Save(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			names, err := filepath.Glob(filepath.Join(dir, "*.snapshot"))
			if err != nil || len(names) != 2 {
				t.Fatal(names, err)
			}
			for _, name := range names {
				if err := os.Truncate(name, 30); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		dir, s := fill(t)
		damage(t, dir, s)
		if s, err := Open(dir, 2); err == nil {
			t.Errorf("%s: opened with %v", name, contents(s))
		}
	}

	// The newest snapshot alone is damaged: the one before it and the log have everything.
	dir, s := fill(t)
	for i := range 2 {
		if err := s.Save(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Upsert(item(fmt.Sprint("e", i), "text", 1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.snapshot"))
	if err := os.Truncate(names[len(names)-1], 30); err != nil {
		t.Fatal(err)
	}
	if got := contents(open(t, dir)); !maps.Equal(got, contents(s)) {
		t.Errorf("after the newest snapshot was damaged: %v", got)
	}
}

// The log does not grow for ever.
func TestSaveForgetsTheLog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 5 {
		if err := s.Upsert(item("a", fmt.Sprint(i), 1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := s.Save(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	segments, _ := filepath.Glob(filepath.Join(dir, segmentPrefix+"*"))
	snapshots, _ := filepath.Glob(filepath.Join(dir, "*.snapshot"))
	if len(segments) > 1 || len(snapshots) != 2 {
		t.Errorf("%d segments, %d snapshots", len(segments), len(snapshots))
	}
}

func FuzzDecodeUpsert(f *testing.F) {
	b, err := encodeUpsert(item("a", "text", 1, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{opUpsert, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := decodeUpsert(b, 2)
		if err == nil && (i.ID == "" || len(i.Vector) != 2) {
			t.Errorf("accepted %+v", i)
		}
	})
}

func FuzzReadRecord(f *testing.F) {
	f.Add(appendRecord(nil, 7, []byte("payload")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, payload, err := readRecord(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, appendRecord(nil, n, payload)) {
			t.Errorf("read %d %q of %q", n, payload, b)
		}
	})
}
