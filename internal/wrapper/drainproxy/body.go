package drainproxy

// body finds the end of a message's body in the bytes that pass. The zero value
// is a body that is empty.
type body struct {
	framing framing
	left    int64 // byLength: bytes to come. byChunks: bytes of the chunk to come
	state   chunkState
	digits  int // of the size of the chunk so far
	blank   bool
}

func bodyOf(h head) body {
	b := body{framing: h.framing, left: h.length}
	if h.framing == byChunks {
		b.left = 0
	}
	return b
}

// done reports whether the whole body has passed.
func (b *body) done() bool {
	switch b.framing {
	case byLength:
		return b.left == 0
	case byChunks:
		return b.state == chunksDone
	case untilClose:
		return false
	}
	return true
}

// scan returns how many bytes of p belong to the body.
func (b *body) scan(p []byte) (n int, err error) {
	switch b.framing {
	case byLength:
		n = int(min(int64(len(p)), b.left))
		b.left -= int64(n)
		return n, nil
	case byChunks:
		return b.scanChunks(p)
	case untilClose:
		return len(p), nil
	}
	return 0, nil
}

// chunkState is where in the chunked coding the next byte stands.
type chunkState uint8

const (
	inSize      chunkState = iota
	inExtension            // after the size, up to its CR
	sizeLF
	inData
	dataCR
	dataLF
	inTrailer // a trailer line, or the empty line that ends it all
	trailerLF
	chunksDone
)

// maxChunkDigits bounds a chunk's size to 2^60 bytes.
const maxChunkDigits = 15

func (b *body) scanChunks(p []byte) (n int, err error) {
	for n < len(p) && b.state != chunksDone {
		if b.state == inData {
			k := int(min(int64(len(p)-n), b.left))
			n += k
			b.left -= int64(k)
			if b.left == 0 {
				b.state = dataCR
			}
			continue
		}
		if err := b.step(p[n]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// step takes one byte that is not data of a chunk.
func (b *body) step(c byte) error {
	switch b.state {
	case inSize:
		if d, ok := hexDigit(c); ok {
			if b.digits++; b.digits > maxChunkDigits {
				return errMessage
			}
			b.left = b.left<<4 | d
			return nil
		}
		if b.digits == 0 {
			return errMessage
		}
		switch c {
		case '\r':
			b.state = sizeLF
		case ';', ' ', '\t':
			b.state = inExtension
		default:
			return errMessage
		}
	case inExtension:
		switch c {
		case '\r':
			b.state = sizeLF
		case '\n', 0:
			return errMessage
		}
	case sizeLF:
		if c != '\n' {
			return errMessage
		}
		if b.state = inData; b.left == 0 { // the last chunk
			b.state, b.blank = inTrailer, true
		}
	case dataCR:
		if c != '\r' {
			return errMessage
		}
		b.state = dataLF
	case dataLF:
		if c != '\n' {
			return errMessage
		}
		b.state, b.digits = inSize, 0
	case inTrailer:
		switch c {
		case '\r':
			b.state = trailerLF
		case '\n', 0:
			return errMessage
		default:
			b.blank = false
		}
	case trailerLF:
		if c != '\n' {
			return errMessage
		}
		if b.blank {
			b.state = chunksDone
		} else {
			b.state, b.blank = inTrailer, true
		}
	}
	return nil
}

func hexDigit(c byte) (int64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int64(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int64(c-'A') + 10, true
	}
	return 0, false
}
