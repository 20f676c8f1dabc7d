package load

import (
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// Kind is what was asked.
type Kind uint8

// The two requests.
const (
	Get  Kind = iota // idempotent
	Post             // creates an order
)

// String returns the HTTP method.
func (k Kind) String() string {
	if k == Post {
		return "POST"
	}
	return "GET"
}

// Cause is why a request failed.
type Cause uint8

// The causes a client can see. In reports they are refused, reset and so on;
// BadStatus appears as status_503, with its number.
const (
	None      Cause = iota // answered as it should be
	Refused                // no connection was made
	Reset                  // the connection was reset
	EOF                    // the connection ended before the whole answer
	Timeout                // no whole answer in time
	BadStatus              // an answer other than 2xx; redirects are not followed
	BadAnswer              // not HTTP, or a POST's answer did not echo its id
	Overload               // not sent: the generator or its machine had no room
)

// lost is the cause that only Reconcile finds: answered with success, and
// recorded by nobody.
const lost = "lost"

// Record is what became of one request. A run has hundreds of thousands.
type Record struct {
	Start   time.Duration // when it was due, since Result.Started
	Latency time.Duration // from then to the end of the answer, or to its failure
	Status  uint16        // 0 if no answer came
	Kind    Kind
	Cause   Cause
}

// FailedBy returns the cause as reports name it, and "" if there is none.
func (r Record) FailedBy() string {
	switch r.Cause {
	case None:
		return ""
	case Refused:
		return "refused"
	case Reset:
		return "reset"
	case EOF:
		return "eof"
	case Timeout:
		return "timeout"
	case BadStatus:
		return fmt.Sprintf("status_%03d", r.Status)
	case BadAnswer:
		return "bad_answer"
	case Overload:
		return "overload"
	default:
		return fmt.Sprintf("cause_%d", r.Cause) // unreachable: all are named
	}
}

// Result is a run that has ended.
type Result struct {
	RunID   string
	Started time.Time
	Records []Record // in the order in which they were due

	// Lag is how late the latest request was sent. It is part of its latency;
	// more than some milliseconds mean that the generator's machine was busy.
	Lag time.Duration
}

// ID returns the id of the i-th record, as it stands in the ledger if it is a
// POST's.
func (r *Result) ID(i int) string { return orderID(r.RunID, i) }

// Latency returns quantiles, in milliseconds, of the requests that were
// answered. Those that failed have no latency that compares.
func (r *Result) Latency() report.Quantiles {
	var ms []float64
	for _, rec := range r.Records {
		if rec.Cause == None {
			ms = append(ms, millis(rec.Latency))
		}
	}
	return report.QuantilesOf(ms)
}

// Bins counts requests by the second in which they were due, from the start to
// the last of them. P99Ms is of those that were answered. See Verdict.Bins for
// bins that count lost ones as failed.
func (r *Result) Bins() []report.LoadBin {
	return r.bins(func(i int) bool { return r.Records[i].Cause != None })
}

func (r *Result) bins(failed func(i int) bool) []report.LoadBin {
	var bins []report.LoadBin
	var ms []float64
	flush := func() {
		if len(bins) > 0 {
			bins[len(bins)-1].P99Ms = report.QuantilesOf(ms).P99
			ms = ms[:0]
		}
	}
	for i, rec := range r.Records {
		for len(bins) <= int(rec.Start/time.Second) {
			flush()
			bins = append(bins, report.LoadBin{At: float64(len(bins))})
		}
		b := &bins[len(bins)-1]
		b.Sent++
		if failed(i) {
			b.Failed++
		} else {
			ms = append(ms, millis(rec.Latency))
		}
	}
	flush()
	return bins
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// recorder holds records in blocks that never move, so that each request can
// write to its own while others are added. Only Run's loop uses it.
type recorder struct{ blocks [][]Record }

const blockSize = 4096

// add returns a new record.
func (l *recorder) add() *Record {
	n := len(l.blocks)
	if n == 0 || len(l.blocks[n-1]) == blockSize {
		l.blocks = append(l.blocks, make([]Record, 0, blockSize))
		n++
	}
	b := &l.blocks[n-1]
	*b = append(*b, Record{})
	return &(*b)[len(*b)-1]
}

// records returns all of them in one piece.
func (l *recorder) records() []Record { return slices.Concat(l.blocks...) }
