package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// kind is what a request was.
type kind uint8

const (
	get kind = iota
	post
	slowPost // its body came in two parts
)

// nowhere is the copy of a request that reached none.
const nowhere = -1

// record is what became of one request.
type record struct {
	seq     int
	kind    kind
	ownConn bool
	process int           // id of the copy that it went to, or nowhere
	sent    time.Time     // when it was sent
	took    time.Duration // until its answer was read, or it failed
	cause   string        // why it failed; empty if it did not
}

// ledger of records, safe for concurrent use.
type records struct {
	mu     sync.Mutex
	list   []record
	failed int
}

func (r *records) add(rec record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, rec)
	if rec.cause != "" {
		r.failed++
	}
}

func (r *records) counts() (sent, failed int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.list)), int64(r.failed)
}

// request is one that is due.
type request struct {
	seq     int
	kind    kind
	ownConn bool
	path    string
	id      string
	body    string
	pause   time.Duration // between the parts of a slow body
}

// answer is what a client got.
type answer struct {
	status  int
	process int
}

// client sends requests, each once, and says where they went even if they failed.
type client interface {
	do(ctx context.Context, r request) (answer, error)
	close()
}

// causeOf names the reason of a failure as reports do.
func causeOf(a answer, err error) string {
	var ne net.Error
	var op *net.OpError
	var de *dialError
	switch {
	case err == nil && a.status >= 200 && a.status <= 299:
		return ""
	case err == nil:
		return "status " + strconv.Itoa(a.status)
	case errors.Is(err, errNoEndpoint):
		return "no endpoint"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "overload" // this machine's lack, not the command's
	case errors.As(err, &de), errors.As(err, &op) && op.Op == "dial":
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "cut off"
	case strings.Contains(err.Error(), "GOAWAY"):
		return "GOAWAY"
	case strings.HasPrefix(err.Error(), "grpc-status"):
		return err.Error()
	}
	return "protocol error"
}

// slowBody gives out the first half of a body, and the second after a pause.
type slowBody struct {
	ctx    context.Context
	parts  [2]string
	pause  time.Duration
	paused bool
}

func newSlowBody(ctx context.Context, r request) *slowBody {
	half := len(r.body) / 2
	return &slowBody{ctx: ctx, parts: [2]string{r.body[:half], r.body[half:]}, pause: r.pause}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.parts[0] != "" {
		n := copy(p, b.parts[0])
		b.parts[0] = b.parts[0][n:]
		return n, nil
	}
	if !b.paused {
		b.paused = true
		select {
		case <-time.After(b.pause):
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	if b.parts[1] == "" {
		return 0, io.EOF
	}
	n := copy(p, b.parts[1])
	b.parts[1] = b.parts[1][n:]
	return n, nil
}

// methodOf returns the HTTP method.
func methodOf(k kind) string {
	if k == get {
		return http.MethodGet
	}
	return http.MethodPost
}

// requestID is unique over all stages of a run.
func requestID(stage, seq int) string { return fmt.Sprintf("conform-%d-%d", stage, seq) }
