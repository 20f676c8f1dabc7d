// Package engine follows the prices of the topic of ticks: what is known of each
// after its last tick, and the signals that led there, so that who was cut off goes
// on after the last one that it had, at this replica or at another.
//
// State is a function of the records it took. Service owns the goroutines and the
// broker.
package engine

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/indicator"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

const (
	keptSignals  = 1024 // of each partition
	keptPrices   = 100  // of each partition; the one that was quiet for longest is forgotten
	keptReadings = 300  // of each price
)

// A Signal is a price and what is known of it.
type Signal struct {
	Feed   string    `json:"feed"`
	Symbol string    `json:"symbol"`
	Time   time.Time `json:"time"`
	Source string    `json:"source"`
	indicator.Reading
}

// A Kept is a signal and where its tick is in the topic.
type Kept struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
	Signal
}

// A State is what an engine knows. Its fields are exported for JSON.
type State struct {
	Partitions [stream.Partitions]Partition
	Taken      int64 // ticks from which a signal followed
}

// A Partition is what is known of one partition.
type Partition struct {
	Next   int64             // the offset of the next tick
	Prices map[string]*Price // by stream.Tick.Key
	Kept   []Kept            // the last signals, the oldest first
	From   int64             // signals of ticks from this offset on are kept
}

// A Price is what is known of one price.
type Price struct {
	Live  *indicator.Live
	Last  Kept
	Taken int64    // State.Taken at the last signal
	Past  []Signal // the last ones, the oldest first
}

// NewState returns a state that begins at these offsets, one for each partition.
func NewState(from [stream.Partitions]int64) *State {
	s := new(State)
	for p := range s.Partitions {
		s.Partitions[p] = Partition{Next: from[p], From: from[p], Prices: make(map[string]*Price)}
	}
	return s
}

// Step takes the tick at an offset of a partition, and returns whether a signal
// follows from it. Offsets before the next one have been taken already.
func (s *State) Step(partition int32, offset int64, t stream.Tick) (Kept, bool) {
	p := &s.Partitions[partition]
	if offset < p.Next {
		return Kept{}, false
	}
	p.Next = offset + 1
	price := p.Prices[t.Key()]
	switch {
	case price == nil:
		price = &Price{Live: indicator.NewLive()}
		p.Prices[t.Key()] = price
		price.Last.Offset = offset
		p.forget()
	case !t.Time.After(price.Last.Time):
		return Kept{}, false // repeated, or too late for averages
	}
	k := Kept{partition, offset, Signal{t.Feed, t.Symbol, t.Time.UTC(), t.Source, price.Live.Add(t.Time, t.Price)}}
	price.Last = k
	s.Taken++
	price.Taken = s.Taken
	if len(price.Past) >= 2*keptReadings { // moved seldom, not every time
		price.Past = append(price.Past[:0], price.Past[len(price.Past)-keptReadings+1:]...)
	}
	price.Past = append(price.Past, k.Signal)
	if len(p.Kept) >= 2*keptSignals {
		p.Kept = append(p.Kept[:0], p.Kept[len(p.Kept)-keptSignals+1:]...)
		p.From = p.Kept[0].Offset
	}
	p.Kept = append(p.Kept, k)
	return k, true
}

// Skip passes over a record that is no tick.
func (s *State) Skip(partition int32, offset int64) {
	p := &s.Partitions[partition]
	p.Next = max(p.Next, offset+1)
}

func (p *Partition) forget() {
	if len(p.Prices) <= keptPrices {
		return
	}
	var quiet string
	for key, price := range p.Prices {
		if quiet == "" || price.Last.Offset < p.Prices[quiet].Last.Offset {
			quiet = key
		}
	}
	delete(p.Prices, quiet)
}

// Position is how far a state has come, or how far a client has.
type Position [stream.Partitions]int64

// Position returns the offsets of the next ticks.
func (s *State) Position() Position {
	var at Position
	for p := range s.Partitions {
		at[p] = s.Partitions[p].Next
	}
	return at
}

// Latest returns the last signal of each price of a feed, or of all, the one that was
// quiet for longest first.
func (s *State) Latest(feed string) []Kept {
	var prices []*Price
	for i := range s.Partitions {
		for _, price := range s.Partitions[i].Prices {
			if feed == "" || price.Last.Feed == feed {
				prices = append(prices, price)
			}
		}
	}
	slices.SortFunc(prices, func(a, b *Price) int { return cmp.Compare(a.Taken, b.Taken) })
	list := make([]Kept, len(prices))
	for i, price := range prices {
		list[i] = price.Last
	}
	return list
}

// Past returns at most the last n signals of a price, the oldest first, or nil if it
// is unknown.
func (s *State) Past(feed, symbol string, n int) []Signal {
	key := stream.Tick{Feed: feed, Symbol: symbol}.Key()
	for i := range s.Partitions {
		if price := s.Partitions[i].Prices[key]; price != nil {
			return slices.Clone(price.Past[max(0, len(price.Past)-min(n, keptReadings)):])
		}
	}
	return nil
}

// After returns the signals that are kept of ticks at a position or after it, at most
// so many, each partition's in their order, and whether some are not kept any more. A
// position that is ahead of this state gets nothing until the state has come there.
func (s *State) After(at Position, most int) (signals []Kept, gap bool) {
	for p := range s.Partitions {
		part := &s.Partitions[p]
		gap = gap || at[p] < part.From
		i, _ := slices.BinarySearchFunc(part.Kept, at[p], func(k Kept, offset int64) int { return cmp.Compare(k.Offset, offset) })
		signals = append(signals, part.Kept[i:min(len(part.Kept), i+most-len(signals))]...)
	}
	return signals, gap
}

// Kept returns the position, and where signals after it are not kept any more the
// first one from which on they are.
func (s *State) Kept(at Position) Position {
	for p := range s.Partitions {
		at[p] = max(at[p], s.Partitions[p].From)
	}
	return at
}

// Token returns the position as text that means nothing to a client.
func (at Position) Token() string {
	b := []byte{tokenVersion}
	for _, o := range at {
		b = binary.AppendUvarint(b, uint64(o))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

const tokenVersion = 1

// ErrToken says that a text is no resume token.
var ErrToken = errors.New("is no resume token of this engine")

// ParseToken reads what Token wrote.
func ParseToken(s string) (Position, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != tokenVersion {
		return Position{}, ErrToken
	}
	b = b[1:]
	var at Position
	for p := range at {
		v, n := binary.Uvarint(b)
		if n <= 0 || int64(v) < 0 {
			return Position{}, ErrToken
		}
		at[p], b = int64(v), b[n:]
	}
	if len(b) > 0 {
		return Position{}, ErrToken
	}
	return at, nil
}

// check says whether a state that was decoded can be used.
func (s *State) check() error {
	for i := range s.Partitions {
		p := &s.Partitions[i]
		if p.Prices == nil || p.Next < 0 || p.From < 0 || p.From > p.Next || len(p.Kept) > 2*keptSignals {
			return errors.New("a partition is not whole")
		}
		for key, price := range p.Prices {
			if price == nil || price.Live == nil || len(price.Past) > 2*keptReadings {
				return errors.New("there is nothing of " + key)
			}
		}
		for j, k := range p.Kept {
			if int(k.Partition) != i || k.Offset < p.From || k.Offset >= p.Next || j > 0 && k.Offset <= p.Kept[j-1].Offset {
				return errors.New("signals are not in order")
			}
		}
	}
	return nil
}
