package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The log is a row of segment files, each named by the number of its first record.
// A record is
//
//	length of the payload (4 bytes), CRC-32C of the rest (4 bytes), number (8 bytes), payload
//
// with numbers in big-endian order. Numbers have no gaps.
//
// A record is durable when append has returned nil. A crash can leave a part of a
// record, or records of which nobody was told, at the end of the last segment only:
// a new one is begun after everything before it has been synced. So what is bad in
// the last segment ends the log there, and what is bad in any other is damage.
type log struct {
	dir      string
	open     func(path string) (file, error) // for appending
	segments []uint64                        // numbers of their first records, ascending
	last     file                            // nil: the next append begins a segment
	next     uint64                          // the number of the next record
	broken   error                           // a write failed: what is on the disk is unknown until the log is opened again
}

// file is what the log needs of *os.File, so that tests can make it fail.
type file interface {
	io.WriteCloser
	Sync() error
}

func openFile(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

const (
	segmentPrefix = "log."
	recordHead    = 4 + 4 + 8
	maxRecord     = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn says that a record is not whole, whatever the reason.
var errTorn = errors.New("a record is cut short or damaged")

// openLog reads the records from number first on, and cuts off what a crash left
// behind.
func openLog(dir string, first uint64, apply func(payload []byte) error) (*log, error) {
	l := &log{dir: dir, open: openFile, next: first}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), segmentPrefix); ok {
			n, err := strconv.ParseUint(number, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s is not a segment of the log", e.Name())
			}
			l.segments = append(l.segments, n)
		}
	}
	slices.Sort(l.segments)
	for i, n := range l.segments {
		final := i == len(l.segments)-1
		if !final && l.segments[i+1] <= first {
			continue // the snapshot has all of it
		}
		if n > l.next {
			return nil, fmt.Errorf("the log goes on with record %d, but %d is expected: a segment or a snapshot is missing", n, l.next)
		}
		if err := l.replay(n, first, final, apply); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(l.path(n)), err)
		}
	}
	return l, nil
}

func (l *log) path(first uint64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%s%020d", segmentPrefix, first))
}

func (l *log) replay(segment, first uint64, final bool, apply func([]byte) error) error {
	f, err := os.Open(l.path(segment))
	if err != nil {
		return err
	}
	defer f.Close()
	r, whole := bufio.NewReaderSize(f, 1<<20), int64(0)
	for n := segment; ; n++ {
		number, payload, err := readRecord(r)
		if err == nil && number != n {
			err = fmt.Errorf("%w: it has the number %d, not %d", errTorn, number, n)
		}
		switch {
		case final && (errors.Is(err, io.EOF) || errors.Is(err, errTorn)):
			// Synced even if nothing is cut off: what was read may not be on the disk yet.
			return cut(l.path(segment), whole)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("record %d: %w", n, err)
		}
		whole += recordHead + int64(len(payload))
		if n < first {
			continue
		}
		if err := apply(payload); err != nil {
			return fmt.Errorf("record %d: %w", n, err) // its checksum is right: no crash did this
		}
		l.next = n + 1
	}
}

// cut makes a file as long as what is good of it, for good.
func cut(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// readRecord returns io.EOF at the end, and errTorn for what is no record.
func readRecord(r io.Reader) (number uint64, payload []byte, err error) {
	var head [recordHead]byte
	switch _, err := io.ReadFull(r, head[:]); {
	case errors.Is(err, io.EOF):
		return 0, nil, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, errTorn
	case err != nil:
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxRecord {
		return 0, nil, errTorn
	}
	payload = make([]byte, size)
	switch _, err := io.ReadFull(r, payload); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, errTorn
	case err != nil:
		return 0, nil, err
	}
	if crc32.Update(crc32.Checksum(head[8:], castagnoli), castagnoli, payload) != binary.BigEndian.Uint32(head[4:]) {
		return 0, nil, errTorn
	}
	return binary.BigEndian.Uint64(head[8:]), payload, nil
}

func appendRecord(b []byte, number uint64, payload []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, number)
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	return b
}

// append makes payloads durable, with one write and one sync for all of them. If
// it fails, some of them may be in the log all the same, in their order; nothing is
// appended any more then.
func (l *log) append(payloads ...[]byte) error {
	if l.broken != nil {
		return fmt.Errorf("the log has failed before: %w", l.broken)
	}
	if err := l.write(payloads); err != nil {
		l.broken = err
		return err
	}
	return nil
}

func (l *log) write(payloads [][]byte) error {
	if l.last == nil {
		if err := l.beginSegment(); err != nil {
			return err
		}
	}
	var b []byte
	next := l.next
	for _, p := range payloads {
		if len(p) > maxRecord {
			return fmt.Errorf("a record of %d bytes is too long", len(p))
		}
		b = appendRecord(b, next, p)
		next++
	}
	if _, err := l.last.Write(b); err != nil {
		return err
	}
	if err := l.last.Sync(); err != nil {
		return err
	}
	l.next = next
	return nil
}

// beginSegment makes the segment that the next record goes into. It may be there
// already, and empty, if a crash came after this and before the first record.
func (l *log) beginSegment() error {
	f, err := l.open(l.path(l.next))
	if err != nil {
		return err
	}
	d, err := os.Open(l.dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.last = f
	if len(l.segments) == 0 || l.segments[len(l.segments)-1] != l.next {
		l.segments = append(l.segments, l.next)
	}
	return nil
}

// forget removes the segments that have no record from number first on, and makes
// the next append begin a segment.
func (l *log) forget(first uint64) error {
	if l.broken != nil {
		return nil // the end of the log has to stay where it is
	}
	err := l.close()
	for len(l.segments) > 0 {
		end := l.next
		if len(l.segments) > 1 {
			end = l.segments[1]
		}
		if end > first || end == l.segments[0] {
			break
		}
		if e := os.Remove(l.path(l.segments[0])); e != nil {
			return errors.Join(err, e)
		}
		l.segments = l.segments[1:]
	}
	return err
}

func (l *log) close() error {
	if l.last == nil {
		return nil
	}
	f := l.last
	l.last = nil
	return f.Close()
}
