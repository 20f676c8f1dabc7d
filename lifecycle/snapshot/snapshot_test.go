package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// loaded returns the state that Load finds; "" if none.
func loaded(t *testing.T, s Store) (string, Info) {
	t.Helper()
	var state string
	info, err := s.Load(func(_ Info, r io.Reader) error {
		data, err := io.ReadAll(r)
		state = string(data)
		return err
	})
	if err != nil && !errors.Is(err, ErrNone) {
		t.Fatal(err)
	}
	return state, info
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestNewestWins(t *testing.T) {
	s := Store{Dir: t.TempDir(), Name: "prices"}
	other := Store{Dir: s.Dir, Name: "prices-eu"}
	if state, _ := loaded(t, s); state != "" {
		t.Errorf("loaded %q from nothing", state)
	}
	if err := other.Save(t.Context(), Info{}, text("other")); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 12; i++ {
		offsets := map[string]int64{"trades/0": int64(i), "trades/1": 1 << 60}
		if err := s.Save(t.Context(), Info{Version: 3, Offsets: offsets}, text(fmt.Sprint("state ", i))); err != nil {
			t.Fatal(err)
		}
		state, info := loaded(t, s)
		if state != fmt.Sprint("state ", i) || info.Version != 3 || info.Offsets["trades/0"] != int64(i) || info.Offsets["trades/1"] != 1<<60 ||
			info.Generation != uint64(i) || time.Since(info.Saved) > time.Hour {
			t.Fatalf("loaded %q, %+v", state, info)
		}
	}
	if got := names(t, s.Dir); len(got) != 3 { // two and the other's
		t.Errorf("files %v", got)
	}
	if state, _ := loaded(t, other); state != "other" {
		t.Errorf("the other is %q", state)
	}
}

// However a save fails, the snapshot before it is found, and nothing else is left.
func TestFailedSaveChangesNothing(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, save := range map[string]func(Store) error{
		"encode fails": func(s Store) error {
			return s.Save(t.Context(), Info{}, func(io.Writer) error { return io.ErrUnexpectedEOF })
		},
		"no time at all": func(s Store) error { return s.Save(ended, Info{}, text("late")) },
		"panic": func(s Store) (err error) {
			defer func() { err = fmt.Errorf("%v", recover()) }()
			return s.Save(t.Context(), Info{}, func(io.Writer) error { panic("boom") })
		},
		"disk full": func(s Store) error {
			return s.Save(t.Context(), Info{}, func(w io.Writer) error { _, _ = w.Write(make([]byte, 1<<21)); return syscall.ENOSPC })
		},
		"time is up midway": func(s Store) error {
			ctx, cancel := context.WithCancel(t.Context())
			return s.Save(ctx, Info{}, func(w io.Writer) error {
				for {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return err
					}
					cancel()
				}
			})
		},
		"time is up at the end": func(s Store) error {
			ctx, cancel := context.WithCancel(t.Context())
			return s.Save(ctx, Info{}, func(io.Writer) error { cancel(); return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := Store{Dir: t.TempDir(), Name: "prices"}
			if err := s.Save(t.Context(), Info{}, text("good")); err != nil {
				t.Fatal(err)
			}
			before := names(t, s.Dir)
			if err := save(s); err == nil {
				t.Error("no error")
			}
			if state, _ := loaded(t, s); state != "good" {
				t.Errorf("loaded %q", state)
			}
			if after := names(t, s.Dir); strings.Join(after, " ") != strings.Join(before, " ") {
				t.Errorf("files %v, then %v", before, after)
			}
		})
	}
}

// On a disk that is really full, or where a file may not grow, the last good
// snapshot survives any number of attempts; the process ends in time all the same,
// and says that its state is not saved.
func TestFullDisk(t *testing.T) {
	const good, much = 500 << 10, 600 << 10
	for _, tt := range []struct {
		name  string
		limit func(t *testing.T, dir string)
		err   error
	}{
		{"disk of 1 MiB", func(t *testing.T, dir string) {
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
				t.Skipf("mounting a small disk: %v", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
		}, syscall.ENOSPC},
		{"RLIMIT_FSIZE", func(t *testing.T, _ string) {
			var old syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
				t.Fatal(err)
			}
			signal.Ignore(syscall.SIGXFSZ)
			small := syscall.Rlimit{Cur: good + 1<<10, Max: old.Max}
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old) })
		}, syscall.EFBIG},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.limit(t, dir)
			s := Store{Dir: dir, Name: "prices"}
			if err := s.Save(t.Context(), Info{}, text(strings.Repeat("x", good))); err != nil {
				t.Fatal(err)
			}
			const grace = 10 * time.Second
			for range 3 {
				var record bytes.Buffer
				l := lifecycle.New(lifecycle.Options{Grace: grace, CutRecord: &record, TerminationLog: "none"})
				l.OnSave(func(ctx context.Context) error {
					return s.Save(ctx, Info{}, text(strings.Repeat("y", much)))
				})
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				begun := time.Now()
				if err := l.Run(ctx); !errors.Is(err, tt.err) {
					t.Errorf("Run: %v, want %v", err, tt.err)
				}
				if took := time.Since(begun); took >= grace {
					t.Errorf("took %s", took)
				}
				if !strings.Contains(record.String(), `"saved":false`) || !strings.Contains(record.String(), tt.err.Error()) {
					t.Errorf("record %s", &record)
				}
			}
			if state, _ := loaded(t, s); state != strings.Repeat("x", good) {
				t.Errorf("loaded %d bytes", len(state))
			}
			if got := names(t, dir); len(got) != 1 {
				t.Errorf("files %v", got)
			}
		})
	}
}

// A damaged snapshot is never loaded, whichever byte is wrong and wherever it was
// cut, and never displaces a good one.
func TestDamage(t *testing.T) {
	s := Store{Dir: t.TempDir(), Name: "prices"}
	for _, state := range []string{"one", "two"} {
		if err := s.Save(t.Context(), Info{Version: 1}, text(state)); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := s.files()
	whole, err := os.ReadFile(files[0].path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(files[0].path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if state, _ := loaded(t, s); state != "one" {
			t.Errorf("%s: loaded %q", what, state)
		}
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x40
		check(fmt.Sprint("byte ", i), bad)
		check(fmt.Sprint("cut at ", i), whole[:i])
	}
	check("longer", append(bytes.Clone(whole), 0))
	for i := range 3 {
		if err := s.Save(t.Context(), Info{}, text(fmt.Sprint("new ", i))); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := os.Stat(files[1].path); err != nil {
				t.Errorf("the good one was removed for a damaged one: %v", err)
			}
		}
	}
	if state, _ := loaded(t, s); state != "new 2" {
		t.Errorf("loaded %q", state)
	}
}

// A version that is not understood is passed over for one that is.
func TestRollback(t *testing.T) {
	s := Store{Dir: t.TempDir(), Name: "prices"}
	for version, state := range []string{"old", "new"} {
		if err := s.Save(t.Context(), Info{Version: version}, text(state)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := s.Load(func(info Info, _ io.Reader) error {
		if info.Version > 0 {
			return errors.New("unknown version")
		}
		return nil
	})
	if err != nil || info.Version != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := s.Load(func(Info, io.Reader) error { return errors.New("unknown version") }); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "unknown version") {
		t.Errorf("error %v", err)
	}
}

// Processes that save at the same time do not get into each other's way.
func TestTogether(t *testing.T) {
	s := Store{Dir: t.TempDir(), Name: "prices", Keep: 100}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := s.Save(t.Context(), Info{}, text(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := names(t, s.Dir); len(got) != 20 {
		t.Errorf("%d files", len(got))
	}
	if state, _ := loaded(t, s); state == "" {
		t.Error("none is good")
	}
}

func TestAbandoned(t *testing.T) {
	s := Store{Dir: t.TempDir(), Name: "prices"}
	for name, age := range map[string]time.Duration{"prices.1-a.snapshot.temp": 2 * time.Hour, "prices.1-b.snapshot.temp": time.Minute} {
		path := filepath.Join(s.Dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Save(t.Context(), Info{}, text("x")); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s.Dir); len(got) != 2 || !strings.HasSuffix(got[1], "-b.snapshot.temp") && !strings.HasSuffix(got[0], "-b.snapshot.temp") {
		t.Errorf("files %v", got)
	}
}

func TestBadName(t *testing.T) {
	for _, name := range []string{"", "../x", "a/b", "a.b", "*"} {
		if err := (Store{Dir: t.TempDir(), Name: name}).Save(t.Context(), Info{}, text("x")); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	var good bytes.Buffer
	if err := write(f.Context(), &good, Info{Version: 1, Offsets: map[string]int64{"a": 1}}, text("state")); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add([]byte(magic + "\xff\xff\xff\xff12345678abcd"))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, payload, err := parse(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		state, err := io.ReadAll(payload)
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := write(t.Context(), &again, info, text(string(state))); err != nil {
			t.Fatal(err)
		}
		if _, payload, err = parse(bytes.NewReader(again.Bytes()), int64(again.Len())); err != nil {
			t.Fatal(err)
		}
		if state2, _ := io.ReadAll(payload); !bytes.Equal(state, state2) {
			t.Errorf("%q became %q", state, state2)
		}
	})
}
