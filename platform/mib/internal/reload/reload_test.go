package reload

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(a, "1")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		calls, fails := 0, false
		done := make(chan struct{})
		go func() {
			defer close(done)
			Files(ctx, time.Second, slog.New(slog.DiscardHandler), func() error {
				calls++
				if fails {
					return errors.New("half a file")
				}
				return nil
			}, a, b)
		}()
		for _, step := range []struct {
			name, content string
			fails         bool
			want          int
		}{
			{"", "", false, 0},
			{a, "2", false, 1},
			{b, "new", false, 2},
			{b, "hal", true, 3},
			{"", "", false, 3}, // not again for the same content
			{b, "half no more", false, 4},
		} {
			if step.name != "" {
				write(step.name, step.content)
			}
			fails = step.fails
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			if calls != step.want {
				t.Errorf("after %+v it was called %d times", step, calls)
			}
		}
		cancel()
		<-done
	})
}
