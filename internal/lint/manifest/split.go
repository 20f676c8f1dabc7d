package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// MaxDocument is the size in bytes above which a document is not read. The API
// server stores no object above 1.5 MiB; what exceeds that legitimately is a
// List of many objects.
const MaxDocument = 16 << 20

// maxStructure bounds the nodes that parsing one document can create, by an
// upper bound that is cheap to count. A node costs about 200 bytes, so the tree
// of one document stays under 200 MiB whatever its text looks like.
const maxStructure = 1 << 20

// A Document is the text of one YAML document and the line it starts on.
type Document struct {
	Line int
	Text []byte
}

// Split yields the documents of a stream. It holds one document at a time: one
// that is too large is reported, skipped to its end without being kept, and the
// next one is read. A read error ends the sequence.
//
// A line that starts with "---" ends a document everywhere in YAML, inside
// block scalars too, so no parser is needed to find the ends.
func Split(file string, r io.Reader) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		var (
			text     bytes.Buffer
			start    = 1
			line     = 0
			oversize bool
		)
		// flush yields the document that has been collected.
		flush := func(next int) bool {
			defer func() { text.Reset(); start, oversize = next, false }()
			switch {
			case oversize:
				return yield(Document{Line: start}, &Error{File: file, Pos: Pos{start, 1},
					Msg: fmt.Sprintf("the document is larger than %d MiB and was skipped; split it, or lint the cluster with --cluster", MaxDocument>>20)})
			case blank(text.Bytes()):
				return true
			case structure(text.Bytes()) > maxStructure:
				return yield(Document{Line: start}, &Error{File: file, Pos: Pos{start, 1},
					Msg: fmt.Sprintf("the document has more than %d values and was skipped; split it", maxStructure)})
			}
			return yield(Document{Line: start, Text: bytes.Clone(text.Bytes())}, nil)
		}
		lineStart := true
		for {
			// A chunk is a line, or a part of one longer than the buffer.
			chunk, err := in.ReadSlice('\n')
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
				yield(Document{Line: start}, &Error{File: file, Pos: Pos{line + 1, 1}, Msg: "reading: " + err.Error()})
				return
			}
			if lineStart {
				line++
				if line == 1 {
					chunk = bytes.TrimPrefix(chunk, []byte("\ufeff"))
				}
			}
			if lineStart && separator(chunk) {
				if !flush(line + 1) {
					return
				}
				// "--- {a: b}" starts the next document on the same line.
				if rest := chunk[3:]; !blank(rest) {
					start = line
					text.WriteString("   ")
					text.Write(rest)
				}
			} else if text.Len()+len(chunk) > MaxDocument {
				oversize = true
				text.Reset()
			} else if !oversize {
				text.Write(chunk)
			}
			lineStart = err == nil
			if errors.Is(err, io.EOF) {
				flush(0)
				return
			}
		}
	}
}

// separator reports whether a line ends one document and starts another.
func separator(line []byte) bool {
	if len(line) < 3 || string(line[:3]) != "---" {
		return false
	}
	return len(line) == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\n' || line[3] == '\r'
}

// blank reports whether text holds nothing but space, comments, directives and
// end marks.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && string(line) != "..." {
			return false
		}
	}
	return true
}

// structure returns an upper bound of the nodes in text: every node but the
// first of a line is preceded by one of the characters counted here.
func structure(text []byte) int {
	n := 1
	for _, sep := range []string{"\n", ",", ":", "-", "[", "{", "?"} {
		n += bytes.Count(text, []byte(sep))
	}
	return n
}
