package drainproxy

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

func crlf(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n") }

func TestParseRequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		raw  []byte
		want head // of the fields that are compared below
		bad  bool
	}{
		{name: "plain", raw: crlf("GET /x HTTP/1.1", "Host: a"), want: head{minor: 1}},
		{name: "length", raw: crlf("POST /x HTTP/1.1", "Content-Length: 17"), want: head{minor: 1, framing: byLength, length: 17}},
		{name: "same length twice", raw: crlf("POST /x HTTP/1.1", "Content-Length: 17", "content-length: 17"), want: head{minor: 1, framing: byLength, length: 17}},
		{name: "chunks", raw: crlf("POST /x HTTP/1.1", "Transfer-Encoding: CHUNKED"), want: head{minor: 1, framing: byChunks}},
		{name: "close among others", raw: crlf("GET /x HTTP/1.1", "Connection: upgrade, Close"), want: head{minor: 1, closes: true}},
		{name: "HTTP/1.0", raw: crlf("GET /x HTTP/1.0", "Connection: keep-alive"), want: head{keeps: true}},

		// What two readers could understand differently.
		{name: "length and chunks", raw: crlf("POST /x HTTP/1.1", "Content-Length: 17", "Transfer-Encoding: chunked"), bad: true},
		{name: "chunks and length", raw: crlf("POST /x HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 17"), bad: true},
		{name: "two lengths", raw: crlf("POST /x HTTP/1.1", "Content-Length: 17", "Content-Length: 18"), bad: true},
		{name: "list of lengths", raw: crlf("POST /x HTTP/1.1", "Content-Length: 17, 17"), bad: true},
		{name: "signed length", raw: crlf("POST /x HTTP/1.1", "Content-Length: +17"), bad: true},
		{name: "empty length", raw: crlf("POST /x HTTP/1.1", "Content-Length:"), bad: true},
		{name: "huge length", raw: crlf("POST /x HTTP/1.1", "Content-Length: 99999999999999999999"), bad: true},
		{name: "other coding", raw: crlf("POST /x HTTP/1.1", "Transfer-Encoding: gzip, chunked"), bad: true},
		{name: "chunks twice", raw: crlf("POST /x HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), bad: true},
		{name: "chunks in 1.0", raw: crlf("POST /x HTTP/1.0", "Transfer-Encoding: chunked"), bad: true},
		{name: "space before colon", raw: crlf("POST /x HTTP/1.1", "Content-Length : 17"), bad: true},
		{name: "folded line", raw: crlf("POST /x HTTP/1.1", "A: b", " Content-Length: 17"), bad: true},
		{name: "lone LF", raw: []byte("GET /x HTTP/1.1\nHost: a\r\n\r\n"), bad: true},
		{name: "lone CR", raw: crlf("GET /x HTTP/1.1", "A: b\rContent-Length: 17"), bad: true},
		{name: "NUL", raw: crlf("GET /x HTTP/1.1", "A: b\x00"), bad: true},
		{name: "no target", raw: crlf("GET  HTTP/1.1"), bad: true},
		{name: "other version", raw: crlf("GET /x HTTP/1.2"), bad: true},
		{name: "space in target", raw: crlf("GET /a b HTTP/1.1"), bad: true},
		{name: "not HTTP", raw: crlf("\x16\x03\x01"), bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseRequest(tt.raw)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if err != nil {
				return
			}
			got := head{minor: h.minor, framing: h.framing, length: h.length, closes: h.closes, keeps: h.keeps}
			if got.minor != tt.want.minor || got.framing != tt.want.framing || got.length != tt.want.length ||
				got.closes != tt.want.closes || got.keeps != tt.want.keeps {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParseResponse(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		raw          []byte
		framing      framing
		bad          bool
	}{
		{"length", "GET", crlf("HTTP/1.1 200 OK", "Content-Length: 3"), byLength, false},
		{"no reason phrase", "GET", crlf("HTTP/1.1 200", "Content-Length: 3"), byLength, false},
		{"empty", "GET", crlf("HTTP/1.1 200 OK", "Content-Length: 0"), noBody, false},
		{"to HEAD", "HEAD", crlf("HTTP/1.1 200 OK", "Content-Length: 3"), noBody, false},
		{"not modified", "GET", crlf("HTTP/1.1 304 Not Modified", "Content-Length: 3"), noBody, false},
		{"chunks", "GET", crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), byChunks, false},
		{"until close", "GET", crlf("HTTP/1.0 200 OK"), untilClose, false},
		{"length and chunks", "GET", crlf("HTTP/1.1 200 OK", "Content-Length: 3", "Transfer-Encoding: chunked"), 0, true},
		{"status of two digits", "GET", crlf("HTTP/1.1 20 OK"), 0, true},
		{"status below 100", "GET", crlf("HTTP/1.1 099 ?"), 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseResponse(tt.raw, tt.method)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if err == nil && h.framing != tt.framing {
				t.Errorf("framing %d, want %d", h.framing, tt.framing)
			}
		})
	}
}

func TestWithClose(t *testing.T) {
	for name, lines := range map[string][]string{
		"none":       {"HTTP/1.1 200 OK", "Content-Length: 3"},
		"keep-alive": {"HTTP/1.1 200 OK", "Connection: keep-alive", "Content-Length: 3"},
		"last":       {"HTTP/1.1 200 OK", "Content-Length: 3", "connection:keep-alive"},
		"two":        {"HTTP/1.1 200 OK", "Connection: a", "Content-Length: 3", "CONNECTION: b"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := crlf(lines...)
			h, err := parseResponse(raw, "GET")
			if err != nil {
				t.Fatal(err)
			}
			got, err := withClose(nil, raw, h)
			if err != nil {
				t.Fatal(err)
			}
			if want := crlf("HTTP/1.1 200 OK", "Content-Length: 3", "Connection: close"); !bytes.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// What this package takes for a request, net/http must take for the same one, with
// a body of the same length: else one of the two sees a request that the other does
// not.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /smuggled HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: x\r\n\r\nrest",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i := bytes.Index(data, emptyLine)
		if i < 0 {
			return
		}
		i += len(emptyLine)
		h, err := parseRequest(data[:i])
		if err != nil || string(h.method) == http.MethodConnect {
			return
		}
		b := bodyOf(h)
		n, err := b.scan(data[i:])
		if err != nil || !b.done() {
			return
		}
		ours := data[i : i+n]

		r := bufio.NewReader(bytes.NewReader(data))
		req, err := http.ReadRequest(r)
		if err != nil {
			return // net/http is stricter: no harm
		}
		if req.Method != string(h.method) || req.RequestURI != string(h.target) {
			t.Fatalf("request line: ours %q %q, net/http %q %q", h.method, h.target, req.Method, req.RequestURI)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		if h.framing == byLength && !bytes.Equal(body, ours) {
			t.Fatalf("body: ours %q, net/http %q", ours, body)
		}
		rest, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if want := data[i+n:]; !bytes.Equal(rest, want) {
			t.Fatalf("what follows: ours %q, net/http %q", want, rest)
		}
	})
}

// However the bytes of a body are cut into pieces, its end is the same.
func TestBodyInPieces(t *testing.T) {
	whole := []byte("5\r\nhello\r\n1;ext=\"a\"\r\n!\r\n0\r\nTrailer: x\r\n\r\nNEXT")
	for size := 1; size <= len(whole); size++ {
		b := bodyOf(head{framing: byChunks})
		passed := 0
		for p := whole; len(p) > 0 && !b.done(); {
			n, err := b.scan(p[:min(size, len(p))])
			if err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			passed += n
			p = p[n:]
		}
		if !b.done() || string(whole[passed:]) != "NEXT" {
			t.Errorf("pieces of %d: done %v, left %q", size, b.done(), whole[passed:])
		}
	}
}

func TestFrames(t *testing.T) {
	long := append([]byte{0x82, 126, 0x01, 0x00}, make([]byte, 256)...)
	stream := append(append([]byte{0x81, 2, 'h', 'i'}, long...), 0x89, 0)
	for size := 1; size <= len(stream); size++ {
		var f frames
		boundaries := 0
		for p := stream; len(p) > 0; {
			n := f.scan(p[:min(size, len(p))], true)
			if f.atBoundary() {
				boundaries++
				n += f.scan(p[n:min(n+1, len(p))], false) // on into the next frame
			}
			if n == 0 {
				t.Fatalf("pieces of %d: stuck with %d left", size, len(p))
			}
			p = p[n:]
		}
		if !f.atBoundary() {
			t.Errorf("pieces of %d: does not end at a boundary", size)
		}
		if boundaries < 2 {
			t.Errorf("pieces of %d: %d boundaries seen", size, boundaries)
		}
	}
}
