package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// The ledgers that services and Jobs write.
const (
	Orders = "order" // what an engine has accepted
	Units  = "unit"  // what a Job's pod has done
)

// Entry is one order that a service says it has accepted, or one unit of work that
// it has done.
type Entry struct {
	ID string
	At time.Time
}

// maxLine bounds a line of the ledger, in bytes.
const maxLine = 64 << 10

// ReadLedger iterates over the orders, or the units, in a service's output, which
// has one line of JSON for each:
//
//	{"ledger":"order","id":"run-17","at":"2026-01-02T03:04:05.6Z"}
//
// Other lines are the service's logs, and are ignored. So is a last line that a
// kill cut off: a service records an order before it answers, so nobody was
// told that it was accepted. The only errors are those of r; one ends the
// iteration.
func ReadLedger(r io.Reader, ledger string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		br := bufio.NewReaderSize(r, maxLine)
		for {
			line, err := br.ReadSlice('\n')
			tooLong := false
			for err == bufio.ErrBufferFull {
				tooLong = true
				_, err = br.ReadSlice('\n')
			}
			if !tooLong {
				if e, ok := parseEntry(line, ledger); ok && !yield(e, nil) {
					return
				}
			}
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(Entry{}, fmt.Errorf("reading a ledger: %w", err))
				return
			}
		}
	}
}

func parseEntry(line []byte, ledger string) (Entry, bool) {
	if !bytes.Contains(line, []byte(`"ledger"`)) {
		return Entry{}, false // most lines are logs: do not decode them
	}
	var e struct {
		Ledger, ID string
		At         time.Time
	}
	if json.Unmarshal(line, &e) != nil || e.Ledger != ledger || e.ID == "" {
		return Entry{}, false
	}
	return Entry{e.ID, e.At}, true
}

// Verdict is what a run did to its requests.
type Verdict struct {
	Sent          int
	Failed        int            // with those that were lost
	FailedByCause map[string]int // sums up to Failed; "lost": answered with success, recorded by nobody
	Doubled       int            // ids that were recorded more than once
	Bins          []report.LoadBin
}

// Reconcile compares a run with what the services recorded: how often each id
// stands in all of their ledgers. Ids of other runs are ignored.
func Reconcile(res *Result, recorded map[string]int) Verdict {
	v := Verdict{Sent: len(res.Records), FailedByCause: make(map[string]int)}
	failed := make([]bool, len(res.Records))
	for i, rec := range res.Records {
		cause := rec.FailedBy()
		if rec.Kind == Post {
			switch times := recorded[res.ID(i)]; {
			case times > 1:
				v.Doubled++
			case times == 0 && cause == "":
				cause = lost
			}
		}
		if cause != "" {
			failed[i] = true
			v.Failed++
			v.FailedByCause[cause]++
		}
	}
	v.Bins = res.bins(func(i int) bool { return failed[i] })
	return v
}
