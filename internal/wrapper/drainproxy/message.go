package drainproxy

import (
	"bytes"
	"errors"
	"strings"
)

// This file reads what a proxy has to know of an HTTP/1.1 message: where it
// ends, and what becomes of the connection after it. It changes nothing and
// keeps no copy. It is strict where a difference between two readers of the same
// bytes would let one request hide inside another: what it does not understand
// it refuses.

// errMessage says that a message is not HTTP/1.1, or is so in a way that two
// readers could understand differently.
var errMessage = errors.New("malformed or ambiguous HTTP/1.1 message")

// framing says how the end of a body is found.
type framing uint8

const (
	noBody     framing = iota
	byLength           // Content-Length
	byChunks           // Transfer-Encoding: chunked
	untilClose         // answers only: the end of the connection is the end of the body
)

// head is the part of a message before its body. Its slices point into the
// bytes that were parsed.
type head struct {
	method, target []byte // of a request
	status         int    // of an answer
	minor          byte   // HTTP/1.minor, 0 or 1

	framing framing
	length  int64 // of the body if framing is byLength

	closes       bool // Connection: close
	keeps        bool // Connection: keep-alive
	upgrades     bool // Upgrade is present
	expects      bool // Expect is present
	forwarded    bool // X-Forwarded-For is present
	traceparent  []byte
	requestID    []byte
	connection   [2]int // offsets of the first Connection line, end exclusive; equal if there is none
	manyConnects bool   // there is more than one Connection line
	websocket    bool   // Upgrade: websocket
	events       bool   // Content-Type: text/event-stream
}

// parseRequest reads the head of a request, which ends with an empty line.
func parseRequest(b []byte) (head, error) {
	var h head
	line, rest, err := cutLine(b)
	if err != nil {
		return h, err
	}
	var version []byte
	var ok bool
	if h.method, line, ok = bytes.Cut(line, space); !ok || !isToken(h.method) {
		return h, errMessage
	}
	if h.target, version, ok = bytes.Cut(line, space); !ok || len(h.target) == 0 {
		return h, errMessage
	}
	if h.minor, ok = minorOf(version); !ok {
		return h, errMessage
	}
	if err := h.parseFields(rest, len(b)-len(rest)); err != nil {
		return h, err
	}
	if h.framing == byChunks && h.minor == 0 {
		return h, errMessage // HTTP/1.0 has no chunks: a reader that knows only 1.0 sees no body
	}
	return h, nil
}

// parseResponse reads the head of the answer to a request with the given method.
func parseResponse(b []byte, method string) (head, error) {
	var h head
	line, rest, err := cutLine(b)
	if err != nil {
		return h, err
	}
	// "HTTP/1.1 200" and what may follow after a space.
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return h, errMessage
	}
	var ok bool
	if h.minor, ok = minorOf(line[:8]); !ok {
		return h, errMessage
	}
	for _, d := range line[9:12] {
		if d < '0' || d > '9' {
			return h, errMessage
		}
		h.status = h.status*10 + int(d-'0')
	}
	if h.status < 100 {
		return h, errMessage
	}
	if err := h.parseFields(rest, len(b)-len(rest)); err != nil {
		return h, err
	}
	switch {
	case h.status < 200, h.status == 204, h.status == 304, method == "HEAD":
		h.framing = noBody // whatever the fields say
	case h.framing == noBody:
		h.framing = untilClose
	case h.framing == byLength && h.length == 0:
		h.framing = noBody
	}
	return h, nil
}

// parseFields reads the field lines up to and with the empty line that ends
// them. offset is where b begins in the message.
func (h *head) parseFields(b []byte, offset int) error {
	hasLength := false
	for {
		line, rest, err := cutLine(b)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			if len(rest) != 0 {
				return errMessage // unreachable: the caller cuts after the empty line
			}
			if hasLength && h.framing == byChunks {
				return errMessage // the classic of request smuggling
			}
			return nil
		}
		begin := offset
		offset += len(b) - len(rest)
		b = rest

		colon := bytes.IndexByte(line, ':')
		// No token begins with a space, so this refuses folded lines, too.
		if colon < 1 || !isToken(line[:colon]) {
			return errMessage
		}
		name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
		switch len(name) {
		case len("expect"):
			h.expects = h.expects || is(name, "expect")
		case len("upgrade"):
			if is(name, "upgrade") {
				h.upgrades = true
				h.websocket = is(value, "websocket")
			}
		case len("connection"):
			if is(name, "connection") {
				if h.connection[1] != 0 {
					h.manyConnects = true
				} else {
					h.connection = [2]int{begin, offset}
				}
				h.closes = h.closes || hasWord(value, "close")
				h.keeps = h.keeps || hasWord(value, "keep-alive")
			}
		case len("traceparent"):
			if is(name, "traceparent") {
				h.traceparent = value
			}
		case len("content-type"): // also x-request-id
			switch {
			case is(name, "content-type"):
				h.events = len(value) >= 17 && is(value[:17], "text/event-stream")
			case is(name, "x-request-id"):
				h.requestID = value
			}
		case len("content-length"):
			if is(name, "content-length") {
				n, ok := parseLength(value)
				if !ok || hasLength && n != h.length {
					return errMessage
				}
				hasLength, h.length = true, n
				if h.framing == noBody {
					h.framing = byLength
				}
			}
		case len("x-forwarded-for"):
			h.forwarded = h.forwarded || is(name, "x-forwarded-for")
		case len("transfer-encoding"):
			if is(name, "transfer-encoding") {
				if h.framing == byChunks || !is(value, "chunked") {
					return errMessage
				}
				h.framing = byChunks
			}
		}
	}
}

var space = []byte{' '}

// cutLine returns the line before the first CRLF and what follows it. A lone CR
// or LF and a NUL are errors: readers differ on what they mean.
func cutLine(b []byte) (line, rest []byte, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, errMessage
	}
	line = b[:i-1]
	if bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0 {
		return nil, nil, errMessage
	}
	return line, b[i+1:], nil
}

func minorOf(version []byte) (minor byte, ok bool) {
	if len(version) != 8 || string(version[:7]) != "HTTP/1." || version[7] != '0' && version[7] != '1' {
		return 0, false
	}
	return version[7] - '0', true
}

// parseLength reads a Content-Length: digits and nothing else, not even a sign.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 { // 18 digits always fit
		return 0, false
	}
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	return n, true
}

// is compares without regard to case, without allocating. want is in lower case.
func is(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// hasWord reports whether a list separated by commas has the word.
func hasWord(list []byte, want string) bool {
	for len(list) > 0 {
		var word []byte
		word, list, _ = bytes.Cut(list, []byte{','})
		if is(bytes.Trim(word, " \t"), want) {
			return true
		}
	}
	return false
}

// isToken reports whether b is a token as HTTP defines it.
func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenBytes[c] {
			return false
		}
	}
	return len(b) > 0
}

var tokenBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c != 0 && c < 128 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return t
}()

// withClose returns the head raw of a message, with a single Connection field
// that says close. It appends to dst.
func withClose(dst, raw []byte, h head) ([]byte, error) {
	if !h.manyConnects {
		dst = append(dst, raw[:h.connection[0]]...) // nothing if there is no such line
		dst = append(dst, raw[h.connection[1]:len(raw)-2]...)
		return append(dst, "Connection: close\r\n\r\n"...), nil
	}
	for b := raw; ; {
		line, rest, err := cutLine(b)
		if err != nil {
			return nil, err // unreachable: raw was parsed
		}
		if len(line) == 0 {
			return append(dst, "Connection: close\r\n\r\n"...), nil
		}
		if name, _, ok := bytes.Cut(line, []byte{':'}); !ok || !is(name, "connection") {
			dst = append(dst, b[:len(b)-len(rest)]...)
		}
		b = rest
	}
}
