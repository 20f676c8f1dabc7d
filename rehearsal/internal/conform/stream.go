package conform

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// streamStats is what became of long streams of one kind.
type streamStats struct {
	mu      sync.Mutex
	clean   int // ended as the protocol says
	broken  int // ended otherwise
	resumed int // went on, at another copy or the same, without a gap
	gaps    int // went on with something missing or doubled
	causes  map[string]int
}

func (s *streamStats) ended(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.clean++
		return
	}
	s.broken++
	if s.causes == nil {
		s.causes = make(map[string]int)
	}
	s.causes[err.Error()]++
}

func (s *streamStats) resumedAt(gap bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gap {
		s.gaps++
	} else {
		s.resumed++
	}
}

// errAbandoned says that this side ended the stream: it counts as nothing.
var errAbandoned = errors.New("the test is over")

// follow keeps a stream of one kind open until ctx ends: it opens it again
// whenever it has ended.
func follow(ctx context.Context, s *streamStats, open func(context.Context, *streamStats) error) {
	for ctx.Err() == nil {
		err := open(ctx, s)
		var refused *dialError
		switch {
		case ctx.Err() != nil, errors.Is(err, errAbandoned):
			return
		case errors.As(err, &refused), errors.Is(err, errNoEndpoint):
			// It did not begin. A port that is closed while the balancer believes in
			// it is the business of C3.
		default:
			s.ended(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// eventStream follows server-sent events. Their ids have to be numbers that go up
// by one; after Last-Event-ID: n the first one has to be n + 1.
func eventStream(t *table, path string) func(context.Context, *streamStats) error {
	var last int64 = -1
	return func(ctx context.Context, s *streamStats) error {
		c, err := t.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		resumed := ""
		if last >= 0 {
			resumed = fmt.Sprintf("Last-Event-ID: %d\r\n", last)
		}
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: conform\r\nAccept: text/event-stream\r\n%s\r\n", path, resumed); err != nil {
			return errors.New("request not sent")
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodGet})
		if err != nil {
			return errors.New("no answer")
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		first := true
		lines := bufio.NewReader(resp.Body)
		for {
			line, err := lines.ReadString('\n')
			switch {
			case errors.Is(err, io.EOF) && line == "":
				return nil
			case err != nil:
				return errors.New("cut off")
			}
			value, ok := strings.CutPrefix(strings.TrimSpace(line), "id:")
			if !ok {
				continue
			}
			id, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return fmt.Errorf("event id %q is not a number", value)
			}
			if last >= 0 && first {
				s.resumedAt(id != last+1)
			} else if last >= 0 && id != last+1 {
				s.resumedAt(true)
			}
			first, last = false, id
		}
	}
}

// webSocket keeps a WebSocket open. It has to end with a close frame.
func webSocket(t *table, path string) func(context.Context, *streamStats) error {
	was := false
	return func(ctx context.Context, s *streamStats) error {
		c, err := t.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: conform\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZXZlbmtlZWwtY29uZm9ybQ==\r\n\r\n", path); err != nil {
			return errors.New("request not sent")
		}
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
		if err != nil {
			return errors.New("no answer")
		}
		if resp.StatusCode != http.StatusSwitchingProtocols {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		if was {
			s.resumedAt(false)
		}
		was = true
		for {
			opcode, payload, err := readFrame(r)
			if err != nil {
				return errors.New("ended without a close frame (1006)")
			}
			switch opcode {
			case 0x8: // close: answer it and let the server close
				frame := append([]byte{0x88, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...) // a mask of zeros
				_, _ = c.Write(frame)
				if len(payload) < 2 {
					return errors.New("close frame without a code (1005)")
				}
				if code := binary.BigEndian.Uint16(payload); code != 1000 && code != 1001 && code != 1012 {
					return fmt.Errorf("close frame with code %d", code)
				}
				return nil
			case 0x9: // ping
				_, _ = c.Write(append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...))
			}
		}
	}
}

// readFrame reads a frame of a server, which does not mask them.
func readFrame(r *bufio.Reader) (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1] & 0x7f)
	switch n {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	if n > 1<<20 {
		return 0, nil, errors.New("frame is too long")
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0] & 0x0f, payload, err
}

// grpcStream keeps a stream of answers open. It has to end with status OK.
func grpcStream(t *table, method string) func(context.Context, *streamStats) error {
	transport := newHTTP2Transport(t)
	was := false
	return func(ctx context.Context, s *streamStats) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://conform"+method, bytes.NewReader(emptyMessage))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			var refused *dialError
			if errors.As(err, &refused) || errors.Is(err, errNoEndpoint) {
				return err
			}
			return errors.New("no answer")
		}
		defer resp.Body.Close()
		if was {
			s.resumedAt(false)
		}
		was = true
		_, err = io.Copy(io.Discard, resp.Body)
		switch {
		case ctx.Err() != nil:
			return errAbandoned
		case err != nil:
			return errors.New("cut off")
		}
		return grpcError(resp)
	}
}
