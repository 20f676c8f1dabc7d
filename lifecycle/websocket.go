package lifecycle

import "bytes"

// A frameTracker follows what a WebSocket server writes, byte by byte, and knows
// when it is between two frames. Only there can a Close frame be put in.
//
// It is pure: no connection, no clock. What it cannot make sense of makes it
// give up, and then it never reports a boundary.
type frameTracker struct {
	state   frameState
	head    []byte // of the answer to the handshake, up to the blank line
	header  [14]byte
	have    int    // bytes of header
	payload uint64 // bytes still to come
	closed  bool   // a Close frame has been begun
}

type frameState uint8

const (
	inHandshake frameState = iota
	inHeader
	inPayload
	unknown // not a WebSocket after all
)

// maxHandshake bounds what is kept of an answer that does not end.
const maxHandshake = 64 << 10

// boundary reports whether a frame may begin here.
func (t *frameTracker) boundary() bool { return t.state == inHeader && t.have == 0 }

// feed takes the next bytes that were written.
func (t *frameTracker) feed(p []byte) {
	for len(p) > 0 {
		switch t.state {
		case inHandshake:
			p = t.handshake(p)
		case inHeader:
			t.header[t.have] = p[0]
			t.have++
			p = p[1:]
			if t.have == t.headerLen() {
				t.begin()
			}
		case inPayload:
			n := min(uint64(len(p)), t.payload)
			p, t.payload = p[n:], t.payload-n
			if t.payload == 0 {
				t.state = inHeader
			}
		case unknown:
			return
		}
	}
}

// handshake looks for the end of the answer's header and returns what follows it.
func (t *frameTracker) handshake(p []byte) []byte {
	before := len(t.head)
	t.head = append(t.head, p...)
	end := bytes.Index(t.head, []byte("\r\n\r\n"))
	switch {
	case end >= 0 && bytes.HasPrefix(t.head, []byte("HTTP/1.1 101")):
		t.state, t.head = inHeader, nil
		return p[end+4-before:]
	case end >= 0 || len(t.head) > maxHandshake:
		t.state, t.head = unknown, nil
	}
	return nil
}

// headerLen is the length of the frame header that begins with the bytes so far
// (RFC 6455, section 5.2). It is at least 2.
func (t *frameTracker) headerLen() int {
	if t.have < 2 {
		return 2
	}
	n := 2
	switch t.header[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if t.header[1]&0x80 != 0 { // servers do not mask; harmless if one does
		n += 4
	}
	return n
}

// begin starts the payload of the frame whose header is complete.
func (t *frameTracker) begin() {
	const opClose = 0x8
	if t.header[0]&0x0f == opClose {
		t.closed = true
	}
	extended := 0
	switch t.payload = uint64(t.header[1] & 0x7f); t.payload {
	case 126:
		extended = 2
	case 127:
		extended = 8
	}
	if extended > 0 {
		t.payload = 0
		for _, b := range t.header[2 : 2+extended] {
			t.payload = t.payload<<8 | uint64(b)
		}
	}
	t.have = 0
	t.state = inPayload
	if t.payload == 0 {
		t.state = inHeader
	}
}

// goingAway is a Close frame with status 1001: an endpoint goes away, such as a
// server that goes down (RFC 6455, section 7.4.1).
var goingAway = []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}
