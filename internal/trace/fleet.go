package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/rows"
)

// A Fleet is how many machines of one spot pool a group really held over time,
// with what it lost and got back. It is what Bamboo's traces record.
type Fleet struct {
	Name string
	Span time.Duration
	Up   Series
	Peak int64
}

// maxFleet bounds the machines of one fleet.
const maxFleet = 1 << 20

// ReadFleet reads a fleet's history in either of two forms, told apart by the
// header: t_seconds,up has a row at every change of the number, its last row
// closes the history; t_seconds,event,node has a row for every machine that comes
// (add) and goes (remove).
//
// Rows go forward in time. A machine that is added twice, or removed without
// being there, is an error that names the line.
func ReadFleet(r io.Reader, name string) (*Fleet, error) {
	in := bufio.NewReaderSize(r, rows.MaxLine)
	head, _ := in.Peek(rows.MaxLine) // whatever is wrong shows again below
	f := &Fleet{Name: name}
	var err error
	if header, _, _ := bytes.Cut(head, []byte("\n")); bytes.Contains(header, []byte("event")) {
		err = f.readNodes(in, name)
	} else {
		err = f.readCounts(in, name)
	}
	if err != nil {
		return nil, err
	}
	if f.Span == 0 {
		return nil, fmt.Errorf("%s: no time passes", name)
	}
	return f, nil
}

func (f *Fleet) readCounts(r io.Reader, name string) error {
	return rows.File{Name: name, Columns: []string{"t_seconds", "up"}, Exact: true}.Each(r, func(row []string) error {
		up, err := strconv.ParseInt(row[1], 10, 64)
		if err != nil || up < 0 || up > maxFleet {
			return fmt.Errorf("%q is not a number of machines", row[1])
		}
		return f.at(row[0], up)
	})
}

func (f *Fleet) readNodes(r io.Reader, name string) error {
	up := make(map[string]bool)
	return rows.File{Name: name, Columns: []string{"t_seconds", "event", "node"}, Exact: true}.Each(r, func(row []string) error {
		node := row[2]
		switch {
		case node == "":
			return errors.New("no node")
		case row[1] == "add" && up[node]:
			return fmt.Errorf("node %s is added, and is there already", node)
		case row[1] == "add" && len(up) == maxFleet:
			return fmt.Errorf("more than %d machines", maxFleet)
		case row[1] == "add":
			up[node] = true
		case row[1] == "remove" && !up[node]:
			return fmt.Errorf("node %s is removed, and is not there", node)
		case row[1] == "remove":
			delete(up, node)
		default:
			return fmt.Errorf("event %q is neither add nor remove", row[1])
		}
		return f.at(row[0], int64(len(up)))
	})
}

// at takes in how many machines are up from a moment on.
func (f *Fleet) at(seconds string, up int64) error {
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil || !(s >= 0 && s <= maxSpan.Seconds()) {
		return fmt.Errorf("%q is not a number of seconds from 0 on, at most 50 years", seconds)
	}
	at := time.Duration(math.Round(s * float64(time.Second)))
	if at < f.Span {
		return fmt.Errorf("%v comes after %v", at, f.Span)
	}
	if len(f.Up) == 0 && at > 0 {
		f.Up = Series{{Value: 0}}
	}
	f.Up, f.Span, f.Peak = f.Up.set(at, up), at, max(f.Peak, up)
	return nil
}

// Removals returns when machines went, one moment for each machine.
func (f *Fleet) Removals() []time.Duration {
	var out []time.Duration
	for i := 1; i < len(f.Up); i++ {
		for range max(0, f.Up[i-1].Value-f.Up[i].Value) {
			out = append(out, f.Up[i].At)
		}
	}
	return out
}

// Bunched is the share of machines that went at most within after or before
// another one.
func (f *Fleet) Bunched(within time.Duration) float64 {
	all := f.Removals()
	if len(all) == 0 {
		return 0
	}
	n := 0
	for i, at := range all {
		if i > 0 && at-all[i-1] <= within || i+1 < len(all) && all[i+1]-at <= within {
			n++
		}
	}
	return float64(n) / float64(len(all))
}

// Market returns the fleet as a market of one pool, whose capacity is what the
// group held: more could have been there than it asked for, never less.
func (f *Fleet) Market(o Offer) *Market {
	o.Capacity = f.Up
	if len(o.Spot) == 0 {
		o.Spot = Series{{Value: int64(max(1, o.OnDemand.Less(65)))}} // the advisor's median saving
	}
	return &Market{Name: f.Name, Span: f.Span, Pools: []Offer{o}}
}
