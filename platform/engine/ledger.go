package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
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
