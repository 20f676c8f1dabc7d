package conform

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// What a copy wrote before it ended is read, however late, and whoever still holds
// the pipe open or writes into it.
func TestOutputAfterTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		left func(w *os.File) // by what the copy left behind
	}{
		{"nobody", func(w *os.File) { w.Close() }},
		{"a silent one", func(*os.File) {}},
		{"a talkative one", func(w *os.File) {
			go func() {
				for {
					if _, err := fmt.Fprintln(w, "still here"); err != nil {
						return
					}
				}
			}()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			const lines = 1000 // they fit into a pipe
			for i := range lines {
				fmt.Fprintln(w, "order", i)
			}
			exited := make(chan struct{})
			close(exited)
			tt.left(w)
			text, err := io.ReadAll(&output{pipe: r, exited: exited})
			if err != nil {
				t.Error(err)
			}
			if n := strings.Count(string(text), "order"); n != lines {
				t.Errorf("%d of %d lines", n, lines)
			}
		})
	}
}
