// Package reload notices that files have changed.
package reload

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"time"
)

// Files reads the files every so often until ctx ends, and calls load when what is
// in them has changed since it was called (it is not called for how they are at the
// begin: the caller has loaded that). Whole contents are compared: a mounted secret
// changes by a link that points elsewhere, and times of files say little about that.
//
// If load fails that is logged, and what was loaded before stays in use: half
// written files are usual while somebody writes them. It is called again when they
// change again.
func Files(ctx context.Context, every time.Duration, log *slog.Logger, load func() error, names ...string) {
	last := sum(names)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		now := sum(names)
		if now == last {
			continue
		}
		last = now
		if err := load(); err != nil {
			log.Error("files have changed but cannot be used; what was read before stays in use", "files", names, "err", err)
			continue
		}
		log.Info("loaded again", "files", names)
	}
}

// sum is different if any file is. A file that is not there counts as an empty one.
func sum(names []string) [sha256.Size]byte {
	h := sha256.New()
	for _, n := range names {
		b, _ := os.ReadFile(n)
		one := sha256.Sum256(b)
		h.Write(one[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
