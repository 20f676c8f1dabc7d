package lifecycle

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// frame is a frame as a server sends it.
func frame(opcode byte, payload []byte) []byte {
	b := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

// However the bytes are split, the tracker is at a boundary exactly where a frame
// has ended.
func TestFrameTrackerBoundaries(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		stream := []byte(switching)
		ends := map[int]bool{len(stream): true}
		for range 1 + r.IntN(5) {
			size := []int{0, 1, 125, 126, 127, 1000, 65535, 65536, 70000}[r.IntN(9)]
			stream = append(stream, frame(2, make([]byte, size))...)
			ends[len(stream)] = true
		}
		var f frameTracker
		for at := 0; at < len(stream); {
			n := min(1+r.IntN(500), len(stream)-at)
			if r.IntN(2) == 0 { // meet the ends
				for e := range ends {
					if e > at && e-at < 5000 {
						n = e - at
					}
				}
			}
			f.feed(stream[at : at+n])
			at += n
			if f.boundary() != ends[at] {
				t.Fatalf("seed %d: at %d of %d: boundary %v", seed, at, len(stream), f.boundary())
			}
		}
		if f.closed {
			t.Fatalf("seed %d: closed without a Close frame", seed)
		}
		if f.feed(goingAway); !f.closed || !f.boundary() {
			t.Fatalf("seed %d: Close frame not seen", seed)
		}
	}
}

func TestFrameTrackerRefused(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"} {
		var f frameTracker
		for _, b := range []byte(answer) {
			f.feed([]byte{b})
			if f.boundary() {
				t.Fatalf("%q is not a handshake", answer)
			}
		}
	}
}

func FuzzFrameTracker(f *testing.F) {
	f.Add([]byte(switching), []byte{0x81, 1, 'x'}, 3)
	f.Add([]byte(switching), []byte{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 1)
	f.Add([]byte("\r\n\r\n"), []byte{0x88, 0x80, 1, 2, 3, 4}, 2)
	f.Fuzz(func(t *testing.T, head, body []byte, chunk int) {
		all := append(bytes.Clone(head), body...)
		var whole, parts frameTracker
		whole.feed(all)
		for chunk = max(1, chunk); len(all) > 0; all = all[min(chunk, len(all)):] {
			parts.feed(all[:min(chunk, len(all))])
		}
		if whole.boundary() != parts.boundary() || whole.closed != parts.closed || whole.payload != parts.payload {
			t.Errorf("split differently, understood differently: %+v, %+v", whole, parts)
		}
	})
}
