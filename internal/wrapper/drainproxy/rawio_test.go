package drainproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// tcpPair returns the two ends of a connection.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestRawWriteWaitsForRoom(t *testing.T) {
	a, b := tcpPair(t)
	message := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than sockets hold
	var w rawWriter
	w.reset(a)
	sent := make(chan error, 1)
	go func() {
		n, err := w.Write(message)
		if err == nil && n != len(message) {
			err = io.ErrShortWrite
		}
		sent <- errors.Join(err, a.Close())
	}()
	var r buffer
	r.reset(b)
	var got []byte
	for {
		if err := r.fill(largeBuffer); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.bytes()...)
		r.consume(len(r.bytes()))
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got, message) {
		t.Errorf("%d bytes arrived of %d, or other ones", len(got), len(message))
	}
}

// What ends a read under way ends it here too.
func TestRawReadEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(own, peer net.Conn)
		want error
	}{
		{"deadline passed", func(own, _ net.Conn) { own.SetReadDeadline(longAgo) }, os.ErrDeadlineExceeded},
		{"deadline passes", func(own, _ net.Conn) { own.SetReadDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
		{"closed here", func(own, _ net.Conn) { own.Close() }, net.ErrClosed},
		{"closed there", func(_, peer net.Conn) { peer.Close() }, io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			own, peer := tcpPair(t)
			var b buffer
			b.reset(own)
			got := make(chan error, 1)
			go func() { got <- b.fill(smallBuffer) }()
			tt.end(own, peer)
			if err := <-got; !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestRawIOOnResetConnection(t *testing.T) {
	own, peer := tcpPair(t)
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close() // with a reset
	var b buffer
	b.reset(own)
	if err := b.fill(smallBuffer); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after a reset: %v", err)
	}
	var w rawWriter
	w.reset(own)
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("write after a reset: no error")
	}
}
