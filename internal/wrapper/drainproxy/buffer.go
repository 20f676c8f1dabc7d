package drainproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
)

const (
	smallBuffer = 4 << 10  // what an idle connection holds, in bytes
	largeBuffer = 32 << 10 // what a body that fills the small one gets
	maxHead     = 64 << 10 // longest head that is forwarded
)

var errHeadTooLong = errors.New("message head is longer than 64 KiB")

// buffer reads from a connection and gives out what it has read without copying
// it. It is used by one goroutine at a time.
type buffer struct {
	conn net.Conn
	raw  rawReader
	buf  []byte
	r, w int // buf[r:w] is read and not consumed
}

func (b *buffer) reset(c net.Conn) {
	b.conn, b.r, b.w = c, 0, 0
	b.raw.reset(c)
}

// bytes is valid until the next call of fill.
func (b *buffer) bytes() []byte { return b.buf[b.r:b.w] }

func (b *buffer) consume(n int) {
	if b.r += n; b.r == b.w {
		b.r, b.w = 0, 0
	}
}

// fill reads at least one byte more, up to limit in all.
func (b *buffer) fill(limit int) error {
	if b.w == len(b.buf) {
		switch {
		case b.r > 0:
			b.w = copy(b.buf, b.buf[b.r:b.w])
			b.r = 0
		case len(b.buf) >= limit:
			return errHeadTooLong
		default:
			larger := make([]byte, min(max(2*len(b.buf), smallBuffer), limit))
			b.w = copy(larger, b.buf[:b.w])
			b.buf = larger
		}
	}
	n, ok, err := b.raw.read(b.buf[b.w:])
	if !ok {
		n, err = b.conn.Read(b.buf[b.w:])
	}
	b.w += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

var emptyLine = []byte("\r\n\r\n")

// head returns the bytes up to and with the first empty line. They are not
// consumed, so they stay valid while more is read only if that fits.
func (b *buffer) head() ([]byte, error) {
	searched := 0
	for {
		got := b.bytes()
		if i := bytes.Index(got[searched:], emptyLine); i >= 0 {
			return got[:searched+i+len(emptyLine)], nil
		}
		searched = max(0, len(got)-len(emptyLine)+1)
		if err := b.fill(maxHead); err != nil {
			return nil, err
		}
	}
}

// shrink gives back what a long message needed.
func (b *buffer) shrink() {
	if b.r == b.w && len(b.buf) > smallBuffer {
		b.buf = make([]byte, smallBuffer)
	}
}
