package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ledger writes the orders. It does not look for doubles: they must show.
type ledger struct {
	mu    sync.Mutex
	to    io.Writer
	count int64
}

// entry is one line of the ledger.
type entry struct {
	Ledger string    `json:"ledger"`
	ID     string    `json:"id"`
	Symbol string    `json:"symbol"`
	At     time.Time `json:"at"`
}

// record writes one line and returns how many there are. The line goes out in a
// single write, and one that is shorter than PIPE_BUF goes into a pipe as a whole
// or not at all, so no reader sees half an entry of a process that was killed.
func (l *ledger) record(o order, at time.Time) (count int64, err error) {
	line, err := json.Marshal(entry{"order", o.ID, o.Symbol, at})
	if err != nil {
		return 0, fmt.Errorf("recording order: %w", err)
	}
	line = append(line, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.to.Write(line); err != nil {
		return 0, fmt.Errorf("recording order: %w", err)
	}
	l.count++
	return l.count, nil
}

// openLedger opens a ledger that is kept in a file, and counts the orders that it
// has already. The file belongs to one process at a time: a second one is refused,
// since two engines that think they own the same volume would both be wrong.
//
// A line is with the kernel when record returns. It outlives the process, not a
// machine that loses its power.
func openLedger(path string) (*ledger, io.Closer, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("opening ledger: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("opening ledger: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening ledger %s: another process writes to it: %w", path, err), f.Close())
	}
	l := &ledger{to: f}
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		l.count += int64(bytes.Count(buf[:n], []byte{'\n'}))
		if errors.Is(err, io.EOF) {
			return l, f, nil
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("reading ledger: %w", err), f.Close())
		}
	}
}
