// Package snapshot hands the state of a process to its replacement: a snapshot,
// and the offsets in its input up to which the snapshot reflects it.
//
//	store := snapshot.Store{Dir: "/var/lib/analytics", Name: "prices"}
//	l.OnStart(func(ctx context.Context) error {
//		info, err := store.Load(prices.decode)
//		... // consume from info.Offsets, or from the beginning on snapshot.ErrNone
//	})
//	l.OnSave(func(ctx context.Context) error {
//		return store.Save(ctx, snapshot.Info{Version: 3, Offsets: offsets}, prices.encode)
//	})
//
// Both are in one file, so they cannot disagree. A file is written under another
// name, synced, renamed, and then its directory is synced: a crash or a full disk
// at any moment leaves the snapshots before it as they were. A checksum finds
// those that were damaged later. The newest good one wins.
//
// The package does not know what the state is, nor where the disk goes with the
// machine: on a node that is reclaimed the directory has to be on a volume that
// outlives it.
package snapshot

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNone is in the error of Load if there is no good snapshot.
var ErrNone = errors.New("no good snapshot")

const (
	defaultKeep = 2
	suffix      = ".snapshot"
	tempSuffix  = ".temp"

	// abandoned is the age at which a temporary file belongs to nobody any more.
	abandoned = time.Hour
)

// A Store keeps snapshots of one state in a directory. It holds nothing in
// memory; several processes may use the same directory.
type Store struct {
	Dir  string // must exist
	Name string // distinguishes states in the same directory; letters, digits, '-' and '_'

	// Keep is how many snapshots stay. If zero, it is 2: should the newest turn out
	// to be damaged, the one before it is still there.
	Keep int
}

// Info describes a snapshot.
type Info struct {
	// Version is the format of the state, which the caller chooses.
	Version int `json:"version"`

	// Offsets says from where to go on in each input, for example
	// {"trades/0": 1041}: the first that the state does not reflect.
	Offsets map[string]int64 `json:"offsets,omitempty"`

	Generation uint64    `json:"generation"` // set by Save: one more than the newest
	Saved      time.Time `json:"saved"`      // set by Save
}

// Save writes a snapshot; encode writes the state. If anything goes wrong, or ctx
// ends, the snapshots before it are as they were and stay the newest, unless only
// syncing the directory failed: then a crash of the machine may undo the save.
func (s Store) Save(ctx context.Context, info Info, encode func(io.Writer) error) error {
	if err := s.save(ctx, info, encode); err != nil {
		return fmt.Errorf("saving snapshot %s: %w", s.Name, err)
	}
	return nil
}

func (s Store) save(ctx context.Context, info Info, encode func(io.Writer) error) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	info.Generation, info.Saved = 1, time.Now().UTC()
	if len(files) > 0 {
		info.Generation = files[0].generation + 1
	}
	s.removeAbandoned(info.Saved)

	// The random part keeps apart two processes that save at the same moment.
	final := filepath.Join(s.Dir, fmt.Sprintf("%s.%020d-%s%s", s.Name, info.Generation, rand.Text()[:8], suffix))
	f, err := os.OpenFile(final+tempSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	renamed := false
	defer func() { // also after a panic of encode
		if !renamed {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(ctx, f, info, encode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // too late: the caller has reported a failure
		return err
	}
	if err := os.Rename(f.Name(), final); err != nil {
		return err
	}
	renamed = true
	if err := syncDir(s.Dir); err != nil {
		return err
	}
	s.prune()
	return nil
}

// Load calls decode with the newest snapshot that is whole. If decode does not
// accept it, for example because its version is unknown after a rollback, the one
// before it is tried, so decode has to begin afresh each time. The result
// describes the snapshot that was accepted. Without one the error is ErrNone,
// joined with what was wrong with those that there are.
func (s Store) Load(decode func(Info, io.Reader) error) (Info, error) {
	files, err := s.files()
	if err != nil {
		return Info{}, fmt.Errorf("loading snapshot %s: %w", s.Name, err)
	}
	wrong := []error{ErrNone}
	for _, file := range files {
		info, err := load(file.path, decode)
		if err == nil {
			return info, nil
		}
		wrong = append(wrong, fmt.Errorf("%s: %w", filepath.Base(file.path), err))
	}
	return Info{}, fmt.Errorf("loading snapshot %s: %w", s.Name, errors.Join(wrong...))
}

func load(path string, decode func(Info, io.Reader) error) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	info, payload, err := parse(f, st.Size())
	if err != nil {
		return Info{}, err
	}
	return info, decode(info, payload)
}

// file is a snapshot by its name; whether it is good is another question.
type file struct {
	path       string
	generation uint64
}

// files returns the snapshots, the newest first.
func (s Store) files() ([]file, error) {
	if s.Name == "" || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return nil, fmt.Errorf("the name %q is not made of letters, digits, '-' and '_'", s.Name)
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, e := range entries {
		middle, ok := strings.CutPrefix(e.Name(), s.Name+".")
		if !ok || !strings.HasSuffix(middle, suffix) {
			continue
		}
		number, _, _ := strings.Cut(middle, "-")
		if g, err := strconv.ParseUint(number, 10, 64); err == nil {
			files = append(files, file{filepath.Join(s.Dir, e.Name()), g})
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(cmp.Compare(b.generation, a.generation), cmp.Compare(b.path, a.path))
	})
	return files, nil
}

// prune removes what Keep does not keep. It counts good ones only, so that a
// damaged snapshot never displaces a good one.
func (s Store) prune() {
	files, err := s.files()
	if err != nil {
		return // the snapshot is saved; the next Save prunes
	}
	keep := s.Keep
	if keep <= 0 {
		keep = defaultKeep
	}
	for _, file := range files {
		if keep == 0 {
			_ = os.Remove(file.path)
			continue
		}
		if _, err := load(file.path, func(Info, io.Reader) error { return nil }); err == nil {
			keep--
		}
	}
}

// removeAbandoned removes what processes left behind that were killed while they
// saved: on a full disk it is in the way.
func (s Store) removeAbandoned(now time.Time) {
	names, err := filepath.Glob(filepath.Join(s.Dir, s.Name+".*"+suffix+tempSuffix))
	if err != nil {
		return // unreachable: the pattern is well-formed unless Dir has brackets
	}
	for _, name := range names {
		if st, err := os.Stat(name); err == nil && now.Sub(st.ModTime()) > abandoned {
			_ = os.Remove(name)
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// A file is
//
//	magic, length of the header (4 bytes), header (Info as JSON),
//	state, length of the state (8 bytes), CRC-32C of all before it (4 bytes)
//
// with numbers in big-endian order.
const (
	magic     = "evksnap1"
	trailer   = 8 + 4
	maxHeader = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func write(ctx context.Context, f io.Writer, info Info, encode func(io.Writer) error) error {
	header, err := json.Marshal(info)
	if err != nil {
		return err
	}
	if len(header) > maxHeader {
		return fmt.Errorf("a header of %d bytes is too long", len(header))
	}
	buffer := bufio.NewWriterSize(f, 1<<20)
	sum := crc32.New(castagnoli)
	w := &stoppable{ctx: ctx, w: io.MultiWriter(buffer, sum)}
	head := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(header)))
	if _, err := w.Write(append(head, header...)); err != nil {
		return err
	}
	begin := w.n
	if err := encode(w); err != nil {
		return err
	}
	if _, err := w.Write(binary.BigEndian.AppendUint64(nil, uint64(w.n-begin))); err != nil {
		return err
	}
	if _, err := buffer.Write(binary.BigEndian.AppendUint32(nil, sum.Sum32())); err != nil {
		return err
	}
	return buffer.Flush()
}

// stoppable counts what it writes, and refuses to when its context has ended.
type stoppable struct {
	ctx context.Context
	w   io.Writer
	n   int64
}

func (s *stoppable) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.w.Write(p)
	s.n += int64(n)
	return n, err
}

// parse checks the whole file and returns what it says.
func parse(f io.ReaderAt, size int64) (Info, io.Reader, error) {
	fixed := int64(len(magic)+4) + trailer
	if size < fixed {
		return Info{}, nil, fmt.Errorf("%d bytes are too few", size)
	}
	var head [len(magic) + 4]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return Info{}, nil, err
	}
	if !bytes.HasPrefix(head[:], []byte(magic)) {
		return Info{}, nil, errors.New("not a snapshot")
	}
	var tail [trailer]byte
	if _, err := f.ReadAt(tail[:], size-trailer); err != nil {
		return Info{}, nil, err
	}
	headerLen := int64(binary.BigEndian.Uint32(head[len(magic):]))
	stateLen := binary.BigEndian.Uint64(tail[:])
	if headerLen > maxHeader || headerLen > size-fixed || stateLen != uint64(size-fixed-headerLen) {
		return Info{}, nil, errors.New("its lengths do not add up: it is cut short or damaged")
	}
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size-4)); err != nil {
		return Info{}, nil, err
	}
	if sum.Sum32() != binary.BigEndian.Uint32(tail[8:]) {
		return Info{}, nil, errors.New("its checksum is wrong: it is damaged")
	}
	header := make([]byte, headerLen)
	if _, err := f.ReadAt(header, int64(len(head))); err != nil {
		return Info{}, nil, err
	}
	var info Info
	if err := json.Unmarshal(header, &info); err != nil {
		return Info{}, nil, fmt.Errorf("reading its header: %w", err)
	}
	return info, io.NewSectionReader(f, int64(len(head))+headerLen, int64(stateLen)), nil
}
