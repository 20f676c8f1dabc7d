// Package store keeps documents and finds them by words and by meaning. What it
// has acknowledged survives a crash at any moment: there is no other way to stop it
// than that, and closing only saves the work of reading the log again.
//
// Everything is in memory. On the disk there is a snapshot and the log of what came
// after it; indexes are made from these and are never the only copy of anything.
package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle/snapshot"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/search"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/vector"
)

// An Item is a document and the vector of its text.
type Item struct {
	corpus.Document
	Vector []float32
}

// A Hit is a document that was found. Similarity says how the hits of one answer
// compare; it is no probability, and no forecast of anything.
type Hit struct {
	corpus.Document
	Similarity float64 `json:"similarity"`
}

// A Query says what to look for. Zero fields do not restrict.
type Query struct {
	Text     string    // compared by words; empty: by meaning only
	Vector   []float32 // compared by meaning; nil or all zero: by words only
	Kind     string
	From, To time.Time // of documents' dates, both included
	K        int       // how many; 10 if zero
}

// graphFrom is the number of documents from which a graph is quicker than looking
// at all of them by enough to be worth what it misses.
const graphFrom = 200_000

const (
	defaultK   = 10
	candidates = 200 // of each ranking, to be merged
	effort     = 400 // of a search by graph, for as many candidates
)

// A Store is safe for concurrent use.
type Store struct {
	dir string
	dim int

	// changeMu orders changes and snapshots, which wait for the disk. kept is where
	// the log begins that the snapshot before the newest needs.
	changeMu sync.Mutex
	log      *log
	kept     uint64

	// mu guards what is in memory. Only who holds changeMu writes it, and never
	// while waiting for the disk: searches wait for nothing but other memory.
	mu   sync.RWMutex
	rows []row             // by number; numbers are also those of the indexes
	byID map[string]uint32 // numbers of the documents that are there
	indexes
	marks map[string]int64
}

type row struct {
	doc  corpus.Document
	dead bool
}

type indexes struct {
	// words has an index for each kind: how rare a word is and how long a text is
	// mean something among texts of one kind, not between reports and names.
	words   map[string]*search.Index
	vectors *vector.Matrix
	graph   *vector.Graph // nil while there are few documents
}

const (
	snapshotName    = "documents"
	snapshotVersion = 2 // 1 had no marks
	logOffset       = "log"
)

// Open opens the store in a directory, which must exist and belong to nobody else.
// All vectors in it are of dim and must come from one embedder: keep one directory
// for each.
func Open(dir string, dim int) (*Store, error) {
	s := &Store{dir: dir, dim: dim}
	s.clear()
	info, unloaded := s.snapshots().Load(s.decode)
	if unloaded != nil {
		s.clear() // decode may have come half way
	}
	first := uint64(max(0, info.Offsets[logOffset]))
	var err error
	if s.log, err = openLog(dir, first, s.apply); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log in %s: %w", dir, err), unloaded)
	}
	// A store that opens with a part of its documents would be worse than one that
	// does not.
	if unloaded != nil && !onlyNone(unloaded) && (len(s.log.segments) == 0 || s.log.segments[0] != 0) {
		return nil, unloaded
	}
	return s, nil
}

// OpenFor opens the store of an embedder in a directory, and makes both if they are
// not there: vectors of another embedder cannot be compared with its own.
func OpenFor(data, embedder string, dim int) (*Store, error) {
	dir := filepath.Join(data, fmt.Sprintf("documents-%x", sha256.Sum256([]byte(embedder)))[:len("documents-")+12])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return Open(dir, dim)
}

// onlyNone reports whether there is no snapshot at all, good or bad.
func onlyNone(err error) bool {
	var joined interface{ Unwrap() []error }
	return errors.Is(err, snapshot.ErrNone) && (!errors.As(err, &joined) || len(joined.Unwrap()) == 1)
}

func (s *Store) snapshots() snapshot.Store { return snapshot.Store{Dir: s.dir, Name: snapshotName} }

func (s *Store) clear() {
	s.marks = make(map[string]int64)
	s.empty()
}

// empty removes the documents.
func (s *Store) empty() {
	s.rows, s.byID = nil, make(map[string]uint32)
	s.indexes = indexes{words: make(map[string]*search.Index), vectors: vector.NewMatrix(s.dim)}
}

// Len returns the number of documents.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byID)
}

// Has reports whether the document is there.
func (s *Store) Has(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.byID[id]
	return ok
}

// Get returns a document and its vector, which must not be changed.
func (s *Store) Get(id string) (Item, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, ok := s.byID[id]
	if !ok {
		return Item{}, false
	}
	return Item{s.rows[n].doc, s.vectors.Row(n)}, true
}

// Marked returns the value of a mark.
func (s *Store) Marked(name string) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.marks[name]
	return v, ok
}

// An Op is a change: Put, Drop or Mark.
type Op struct {
	kind  byte
	item  Item
	name  string // of a document that is dropped, or of a mark
	value int64
}

// Put adds a document, or replaces the one with the same id.
func Put(item Item) Op { return Op{kind: opUpsert, item: item} }

// Drop removes a document; if it is not there, nothing happens.
func Drop(id string) Op { return Op{kind: opDelete, name: id} }

// Mark remembers a number under a name: how far the input has been read that the
// other changes come from.
func Mark(name string, value int64) Op { return Op{kind: opMark, name: name, value: value} }

// Commit makes changes in their order. They are durable when it returns nil. If it
// fails, the first of them may be there after the store is opened again, each of
// them whole: a mark comes after what it stands for.
func (s *Store) Commit(ops ...Op) error {
	payloads := make([][]byte, len(ops))
	for i, op := range ops {
		var err error
		if payloads[i], err = s.encodeOp(op); err != nil {
			return err
		}
	}
	return s.commit("changing", payloads)
}

func (s *Store) encodeOp(op Op) ([]byte, error) {
	switch op.kind {
	case opUpsert:
		return s.check(op.item)
	case opMark:
		return append(binary.BigEndian.AppendUint64([]byte{opMark}, uint64(op.value)), op.name...), nil
	default:
		return append([]byte{opDelete}, op.name...), nil
	}
}

// check encodes an item that can be a document of this store.
func (s *Store) check(item Item) ([]byte, error) {
	if item.ID == "" {
		return nil, errors.New("upserting: a document has no id")
	}
	if len(item.Vector) != s.dim {
		return nil, fmt.Errorf("upserting %s: its vector has %d dimensions, not %d", item.ID, len(item.Vector), s.dim)
	}
	for _, x := range item.Vector {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("upserting %s: its vector has an element that is no number", item.ID)
		}
	}
	b, err := encodeUpsert(item)
	if err != nil {
		return nil, fmt.Errorf("upserting %s: %w", item.ID, err)
	}
	return b, nil
}

// Upsert adds documents, or replaces those with the same ids, as Commit does.
func (s *Store) Upsert(items ...Item) error {
	ops := make([]Op, len(items))
	for i, item := range items {
		ops[i] = Put(item)
	}
	return s.Commit(ops...)
}

// Delete deletes documents, as Commit does.
func (s *Store) Delete(ids ...string) error {
	ops := make([]Op, len(ids))
	for i, id := range ids {
		ops[i] = Drop(id)
	}
	return s.Commit(ops...)
}

// commit is where a change happens: first in the log, then in memory, by the same
// function that reads the log.
func (s *Store) commit(doing string, payloads [][]byte) error {
	if len(payloads) == 0 {
		return nil
	}
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	if err := s.log.append(payloads...); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range payloads {
		if err := s.apply(p); err != nil {
			return fmt.Errorf("%s: %w", doing, err) // unreachable: it was encoded here
		}
	}
	return nil
}

func (s *Store) apply(payload []byte) error {
	if len(payload) == 0 {
		return errors.New("an empty record")
	}
	switch payload[0] {
	case opUpsert:
		item, err := decodeUpsert(payload, s.dim)
		if err != nil {
			return err
		}
		s.remove(item.ID)
		s.add(item)
	case opDelete:
		s.remove(string(payload[1:]))
	case opMark:
		if len(payload) < 9 {
			return errors.New("a mark is cut short")
		}
		s.marks[string(payload[9:])] = int64(binary.BigEndian.Uint64(payload[1:]))
	default:
		return fmt.Errorf("a record of the unknown kind %d", payload[0])
	}
	return nil
}

func (s *Store) add(item Item) {
	n := s.vectors.Add(item.Vector)
	s.rows = append(s.rows, row{doc: item.Document})
	s.byID[item.ID] = n
	words := s.words[item.Kind]
	if words == nil {
		words = new(search.Index)
		s.words[item.Kind] = words
	}
	words.Add(n, item.Text)
	switch {
	case s.graph != nil:
		s.graph.Add()
	case s.vectors.Len() >= graphFrom:
		s.graph = vector.NewGraph(s.vectors, 1)
	}
}

func (s *Store) remove(id string) {
	n, ok := s.byID[id]
	if !ok {
		return
	}
	delete(s.byID, id)
	s.words[s.rows[n].doc.Kind].Remove(n)
	s.rows[n] = row{dead: true}
	if dead := len(s.rows) - len(s.byID); dead > 1000 && dead > len(s.byID) {
		s.compact()
	}
}

// compact makes everything anew from the documents that are there.
func (s *Store) compact() {
	rows, vectors := s.rows, s.vectors
	s.empty()
	for n, r := range rows {
		if !r.dead {
			s.add(Item{r.doc, vectors.Row(uint32(n))})
		}
	}
}

// Search returns what is nearest to the query by words and by meaning, merged by
// rank. The same documents give the same answer, however they came in, except for
// what a graph misses.
func (s *Store) Search(q Query) ([]Hit, error) {
	if q.Vector != nil && len(q.Vector) != s.dim {
		return nil, fmt.Errorf("searching: the vector has %d dimensions, not %d", len(q.Vector), s.dim)
	}
	if q.K <= 0 {
		q.K = defaultK
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	keep := func(n uint32) bool {
		d := &s.rows[n]
		return !d.dead && (q.Kind == "" || d.doc.Kind == q.Kind) &&
			(q.From.IsZero() || !d.doc.Date.Before(q.From)) && (q.To.IsZero() || !d.doc.Date.After(q.To))
	}
	wide := max(candidates, q.K)
	var rankings [][]search.Result
	for kind, words := range s.words {
		if q.Text != "" && (q.Kind == "" || q.Kind == kind) {
			rankings = append(rankings, s.settle(words.Search(q.Text, wide, keep)))
		}
	}
	if known(q.Vector) {
		var near []vector.Hit
		if s.graph != nil {
			near = s.graph.Search(q.Vector, wide, effort, keep)
		} else {
			near = s.vectors.Search(q.Vector, wide, keep)
		}
		ranking := make([]search.Result, len(near))
		for i, h := range near {
			ranking[i] = search.Result{Doc: h.Row, Score: float64(h.Cosine)}
		}
		rankings = append(rankings, s.settle(ranking))
	}
	merged := s.settle(search.Merge(len(rankings)*wide, rankings...))
	var hits []Hit
	for _, r := range merged[:min(q.K, len(merged))] {
		hits = append(hits, Hit{s.rows[r.Doc].doc, r.Score})
	}
	return hits, nil
}

// settle puts results with the same score into the order of their documents' ids:
// numbers tell when a document came, which is not the same everywhere.
func (s *Store) settle(results []search.Result) []search.Result {
	slices.SortFunc(results, func(a, b search.Result) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(s.rows[a.Doc].doc.ID, s.rows[b.Doc].doc.ID))
	})
	return results
}

func known(v []float32) bool {
	for _, x := range v {
		if x != 0 {
			return true
		}
	}
	return false
}

// Save writes a snapshot, so that the next Open has less of the log to read, and
// removes what neither it nor the snapshot before it needs. Changes wait meanwhile;
// searches do not.
func (s *Store) Save(ctx context.Context) error {
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	next := s.log.next
	err := s.snapshots().Save(ctx, snapshot.Info{Version: snapshotVersion, Offsets: map[string]int64{logOffset: int64(next)}}, s.encode)
	if err != nil {
		return err
	}
	before := s.kept
	s.kept = next
	return s.log.forget(before)
}

// Close gives the files back. It does not save.
func (s *Store) Close() error {
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	s.log.broken = errors.New("the store is closed")
	return s.log.close()
}

// A snapshot is the changes that would make the store what it is, each with its
// length before it.
func (s *Store) encode(w io.Writer) error {
	var head [4]byte
	write := func(p []byte, err error) error {
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(head[:], uint32(len(p)))
		_, err = w.Write(append(head[:], p...))
		return err
	}
	for n, r := range s.rows {
		if r.dead {
			continue
		}
		if err := write(encodeUpsert(Item{r.doc, s.vectors.Row(uint32(n))})); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.marks)) {
		if err := write(s.encodeOp(Mark(name, s.marks[name]))); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) decode(info snapshot.Info, r io.Reader) error {
	s.clear()
	if info.Version != snapshotVersion && info.Version != 1 {
		return fmt.Errorf("version %d is unknown", info.Version)
	}
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[:])
		if size > maxRecord {
			return fmt.Errorf("a document of %d bytes is too long", size)
		}
		p := make([]byte, size)
		if _, err := io.ReadFull(r, p); err != nil {
			return err
		}
		if err := s.apply(p); err != nil {
			return err
		}
	}
}

// Kinds of records.
const (
	opUpsert = 1
	opDelete = 2
	opMark   = 3 // the value, 8 bytes, and the name
)

// encodeUpsert makes a record: its kind, the length of the document as JSON, that,
// and the vector.
func encodeUpsert(item Item) ([]byte, error) {
	doc, err := json.Marshal(item.Document)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 1+4+len(doc)+4*len(item.Vector))
	b = append(b, opUpsert)
	b = binary.BigEndian.AppendUint32(b, uint32(len(doc)))
	b = append(b, doc...)
	for _, x := range item.Vector {
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(x))
	}
	if len(b) > maxRecord {
		return nil, fmt.Errorf("%d bytes are too many", len(b))
	}
	return b, nil
}

func decodeUpsert(b []byte, dim int) (Item, error) {
	if len(b) < 5 || b[0] != opUpsert {
		return Item{}, errors.New("not an upsert")
	}
	size, rest := int64(binary.BigEndian.Uint32(b[1:])), b[5:]
	if size+int64(4*dim) != int64(len(rest)) {
		return Item{}, fmt.Errorf("%d bytes do not hold a document of %d and a vector of %d dimensions", len(rest), size, dim)
	}
	var item Item
	dec := json.NewDecoder(bytes.NewReader(rest[:size]))
	if err := dec.Decode(&item.Document); err != nil {
		return Item{}, fmt.Errorf("decoding a document: %w", err)
	}
	if item.ID == "" {
		return Item{}, errors.New("a document has no id")
	}
	item.Vector = make([]float32, dim)
	for i := range item.Vector {
		item.Vector[i] = math.Float32frombits(binary.BigEndian.Uint32(rest[size+int64(4*i):]))
	}
	return item, nil
}
