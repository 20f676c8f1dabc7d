package drainproxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// h2Client is a client of HTTP/2 that does nothing by itself.
type h2Client struct {
	t      *testing.T
	c      net.Conn
	stream uint32 // of the next request
}

type h2Frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func newH2Client(t *testing.T, s *stand) *h2Client {
	t.Helper()
	c, _ := s.dial(t)
	x := &h2Client{t: t, c: c, stream: 1}
	x.write([]byte(clientPreface))
	x.frame(4, 0, 0, nil) // SETTINGS
	return x
}

func (x *h2Client) write(p []byte) {
	x.t.Helper()
	if _, err := x.c.Write(p); err != nil {
		x.t.Fatal(err)
	}
}

func (x *h2Client) frame(kind, flags byte, stream uint32, payload []byte) {
	x.t.Helper()
	x.write(rawFrame(kind, flags, stream, payload))
}

func rawFrame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = append(b, flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// get sends GET / and returns its stream.
func (x *h2Client) get() uint32 {
	x.t.Helper()
	id := x.stream
	x.stream += 2
	// :method GET, :scheme http, :path / and :authority a, as HPACK has them.
	x.frame(frameHeaders, flagEndHeaders|1, id, []byte{0x82, 0x86, 0x84, 0x01, 1, 'a'})
	return id
}

func (x *h2Client) next() h2Frame {
	x.t.Helper()
	var head [9]byte
	if _, err := io.ReadFull(x.c, head[:]); err != nil {
		x.t.Fatal(err)
	}
	f := h2Frame{head[3], head[4], binary.BigEndian.Uint32(head[5:]), make([]byte, binary.BigEndian.Uint32(head[:4])>>8)}
	if _, err := io.ReadFull(x.c, f.payload); err != nil {
		x.t.Fatal(err)
	}
	return f
}

// until reads to the next frame that is wanted.
func (x *h2Client) until(want func(h2Frame) bool) h2Frame {
	x.t.Helper()
	for {
		if f := x.next(); want(f) {
			return f
		}
	}
}

func endOf(stream uint32) func(h2Frame) bool {
	return func(f h2Frame) bool { return f.stream == stream && f.flags&1 != 0 }
}

func isGoAway(f h2Frame) bool { return f.kind == 7 }
func isPing(f h2Frame) bool   { return f.kind == framePing && f.flags == 0 }

func lastStream(f h2Frame) uint32 { return binary.BigEndian.Uint32(f.payload) }

// While the proxy drains, a client of HTTP/2 is asked to leave without losing what
// is on its way: what it sends before it has heard of it is served.
func TestHTTP2TakesLeave(t *testing.T) {
	var served atomic.Int64
	s := newStand(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		_, _ = io.WriteString(w, "ok")
	}))
	x := newH2Client(t, s)
	x.until(endOf(x.get()))
	close(s.draining)
	// Idle clients are told, too.
	if f := x.until(isGoAway); lastStream(f) != 1<<31-1 || f.payload[7] != 0 {
		t.Fatalf("first GOAWAY: %v", f.payload)
	}
	ping := x.until(isPing)

	// The client has not read it yet.
	asked := int64(1)
	for range 20 {
		id := x.get()
		asked++
		x.until(func(f h2Frame) bool {
			if isGoAway(f) {
				t.Fatalf("GOAWAY %v before the client has heard of the first", f.payload)
			}
			return endOf(id)(f)
		})
	}
	// A client that goes on all the same is told to stop, some time later, and every
	// request up to the one that is named is served.
	x.frame(framePing, flagAck, 0, ping.payload)
	var last h2Frame
	for last.kind == 0 {
		id := x.get()
		asked++
		x.until(func(f h2Frame) bool {
			if isGoAway(f) {
				last = f
			}
			return endOf(id)(f)
		})
	}
	if got := lastStream(last); got != x.stream-2 || last.payload[7] != 0 {
		t.Errorf("second GOAWAY %v, want stream %d and no error", last.payload, x.stream-2)
	}
	if got := served.Load(); got != asked {
		t.Errorf("%d requests served of %d", got, asked)
	}
}

// A connection that is opened while the proxy drains serves its first request.
func TestHTTP2FreshWhileDraining(t *testing.T) {
	s := newStand(t, server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	close(s.draining)
	x := newH2Client(t, s)
	x.until(func(f h2Frame) bool {
		if isGoAway(f) {
			t.Fatal("GOAWAY before the first request")
		}
		return f.kind == 4 && f.flags == flagAck // our SETTINGS have been seen
	})
	id := x.get()
	told := false
	x.until(func(f h2Frame) bool {
		if isGoAway(f) {
			told = lastStream(f) == 1<<31-1
		}
		return endOf(id)(f)
	})
	if !told {
		t.Error("not asked to leave with the first answer")
	}
}

// A client that was idle when it was asked to leave need not wait for the server.
func TestHTTP2IdleIsClosed(t *testing.T) {
	s := newStand(t, server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	x := newH2Client(t, s)
	x.until(endOf(x.get()))
	close(s.draining)
	x.frame(framePing, flagAck, 0, x.until(isPing).payload)
	if _, err := io.Copy(io.Discard, x.c); err != nil {
		t.Errorf("the connection ended with %v", err)
	}
}

// memoryConn is what was written.
type memoryConn struct {
	net.Conn
	bytes.Buffer
}

func (c *memoryConn) Write(p []byte) (int, error) { return c.Buffer.Write(p) }
func (c *memoryConn) Read(p []byte) (int, error)  { return c.Buffer.Read(p) }

// However net/http's frames are cut into writes, the first GOAWAY stands between two
// of them, after the first, and not within a field block.
func TestFirstGoAwayBetweenFrames(t *testing.T) {
	frames := [][]byte{
		rawFrame(4, 0, 0, make([]byte, 12)),
		rawFrame(frameHeaders, 0, 1, make([]byte, 20)),
		rawFrame(frameContinuation, flagEndHeaders, 1, make([]byte, 5)),
		rawFrame(0, 1, 1, make([]byte, 300)),
		rawFrame(4, flagAck, 0, nil),
		rawFrame(0, 1, 3, make([]byte, 3)),
	}
	whole := bytes.Join(frames, nil)
	for size := 1; size <= len(whole); size++ {
		for due := 0; due <= len(whole); due += size {
			m := &memoryConn{}
			c := newHTTP2Conn(m)
			for at := 0; at < len(whole); at += size {
				if at == due {
					c.leave()
				}
				p := whole[at:min(at+size, len(whole))]
				if n, err := c.Write(p); n != len(p) || err != nil {
					t.Fatalf("wrote %d of %d: %v", n, len(p), err)
				}
			}
			before, after, found := bytes.Cut(m.Bytes(), firstGoAway)
			if !found {
				if due < len(whole)-size {
					t.Fatalf("size %d, due at %d: no GOAWAY", size, due)
				}
				continue
			}
			if !bytes.Equal(slices.Concat(before, after), whole) {
				t.Fatalf("size %d, due at %d: other bytes", size, due)
			}
			ok := false
			for i := range frames {
				ok = ok || i != 1 && len(before) == len(bytes.Join(frames[:i+1], nil))
			}
			if !ok {
				t.Fatalf("size %d, due at %d: GOAWAY after %d bytes", size, due, len(before))
			}
		}
	}
}

// FuzzHTTP2Frames: the frames are the same however the bytes are cut, and no bytes
// make the scanner fail.
func FuzzHTTP2Frames(f *testing.F) {
	f.Add(rawFrame(framePing, flagAck, 0, []byte(pingData)), 3)
	f.Add(slices.Concat(rawFrame(4, 0, 0, nil), rawFrame(frameHeaders, 0, 1, []byte("abc")), rawFrame(frameContinuation, flagEndHeaders, 1, nil)), 7)
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		if len(p) == 0 {
			return
		}
		cut = max(cut, -cut) % (len(p) + 1)
		if cut < 0 {
			return
		}
		var whole, parts http2Frames
		at := whole.scan(p)
		first, second := parts.scan(p[:cut]), parts.scan(p[cut:])
		if second >= 0 {
			first = second + cut
		}
		if whole != parts || at != first {
			t.Errorf("cut at %d: %+v %d, want %+v %d", cut, parts, first, whole, at)
		}
	})
}

func TestHTTP2SeesPong(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		want bool
	}{
		{"answer", rawFrame(framePing, flagAck, 0, []byte(pingData)), true},
		{"answer after others", slices.Concat(rawFrame(4, 0, 0, make([]byte, 6)), rawFrame(framePing, flagAck, 0, []byte(pingData))), true},
		{"a PING of the client's", rawFrame(framePing, 0, 0, []byte(pingData)), false},
		{"an answer to another", rawFrame(framePing, flagAck, 0, []byte("whatever")), false},
		{"of another size", rawFrame(framePing, flagAck, 0, []byte("x"+pingData)), false},
		{"in data", rawFrame(0, 0, 1, rawFrame(framePing, flagAck, 0, []byte(pingData))), false},
	} {
		for size := 1; size < 60; size++ {
			m := &memoryConn{}
			m.Buffer.WriteString(clientPreface)
			m.Buffer.Write(tt.in)
			c := newHTTP2Conn(m)
			for p := make([]byte, size); ; {
				if _, err := c.Read(p); err != nil {
					break
				}
			}
			if got := c.heard.Load() != 0; got != tt.want {
				t.Errorf("%s, %d bytes at a time: %v, want %v", tt.name, size, got, tt.want)
			}
		}
	}
	c := newHTTP2Conn(&memoryConn{})
	if c.hasLeft() {
		t.Error("left without having heard of it")
	}
	c.heard.Store(time.Now().Add(-2 * settle).UnixNano())
	if !c.hasLeft() {
		t.Error("never leaves")
	}
}
