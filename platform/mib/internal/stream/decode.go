package stream

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// A Decoder decodes ticks. It accepts what encoding/json accepts and comes to the
// same values; what Tick.Record writes it reads without reflection, and names that
// come again are the same string again. A Decoder is for one goroutine.
type Decoder struct {
	names map[string]string
}

// maxNames bounds how many names are remembered; one that has too many begins anew.
const maxNames = 4096

// Tick decodes the value of a record and checks it.
func (d *Decoder) Tick(b []byte) (Tick, error) {
	t, ok := d.written(b)
	if !ok {
		t = Tick{}
		if err := json.Unmarshal(b, &t); err != nil {
			return Tick{}, fmt.Errorf("decoding a tick: %w", err)
		}
	}
	if err := t.Check(); err != nil {
		return Tick{}, fmt.Errorf("decoding a tick: %w", err)
	}
	return t, nil
}

// written reads what Tick.Record writes: these fields in this order, no spaces, no
// escapes, time in UTC. Anything else, right or wrong, is left to encoding/json.
func (d *Decoder) written(b []byte) (Tick, bool) {
	s := scan{rest: b, ok: true}
	var t Tick
	s.skip(`{"id":"`)
	t.ID = string(s.text())
	s.skip(`,"feed":"`)
	t.Feed = d.name(s.text())
	s.skip(`,"symbol":"`)
	t.Symbol = d.name(s.text())
	s.skip(`,"time":"`)
	t.Time = s.time()
	s.skip(`,"price":`)
	t.Price = s.number()
	s.skip(`,"source":"`)
	t.Source = d.name(s.text())
	s.skip(`}`)
	return t, s.ok && len(s.rest) == 0
}

func (d *Decoder) name(b []byte) string {
	if n, ok := d.names[string(b)]; ok {
		return n
	}
	if d.names == nil || len(d.names) >= maxNames {
		d.names = make(map[string]string)
	}
	n := string(b)
	if len(n) <= maxName {
		d.names[n] = n
	}
	return n
}

// scan reads from the front of rest until something is not as expected.
type scan struct {
	rest []byte
	ok   bool
}

func (s *scan) skip(prefix string) {
	if !s.ok || len(s.rest) < len(prefix) || string(s.rest[:len(prefix)]) != prefix {
		s.ok = false
		return
	}
	s.rest = s.rest[len(prefix):]
}

// text reads up to the closing quotation mark and skips it.
func (s *scan) text() []byte {
	for i, c := range s.rest {
		switch {
		case c == '"':
			t := s.rest[:i]
			s.rest = s.rest[i+1:]
			return t
		case c < ' ' || c == '\\' || c >= 0x80:
			s.ok = false
			return nil
		}
	}
	s.ok = false
	return nil
}

// time reads 2006-01-02T15:04:05Z and the closing quotation mark.
func (s *scan) time() time.Time {
	const form = "0000-00-00T00:00:00Z"
	if !s.ok || len(s.rest) <= len(form) || s.rest[len(form)] != '"' {
		s.ok = false
		return time.Time{}
	}
	b := s.rest[:len(form)]
	for i := range len(form) {
		if digit := b[i] >= '0' && b[i] <= '9'; digit != (form[i] == '0') || !digit && b[i] != form[i] {
			s.ok = false
			return time.Time{}
		}
	}
	two := func(i int) int { return int(b[i]-'0')*10 + int(b[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if month < 1 || month > 12 || day < 1 || !hasDay(year, month, day) || hour > 23 || minute > 59 || second > 59 {
		s.ok = false
		return time.Time{}
	}
	s.rest = s.rest[len(form)+1:]
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
}

// hasDay reports whether a month has that day.
func hasDay(year, month, day int) bool {
	switch month {
	case 2:
		return day <= 28 || day == 29 && year%4 == 0 && (year%100 != 0 || year%400 == 0)
	case 4, 6, 9, 11:
		return day <= 30
	default:
		return day <= 31
	}
}

// number reads a number as JSON has it.
func (s *scan) number() float64 {
	if !s.ok {
		return 0
	}
	b, i := s.rest, 0
	digits := func() int {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i - from
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	zero := i < len(b) && b[i] == '0'
	if n := digits(); n == 0 || zero && n > 1 {
		s.ok = false
		return 0
	}
	if i < len(b) && b[i] == '.' {
		i++
		if digits() == 0 {
			s.ok = false
			return 0
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if digits() == 0 {
			s.ok = false
			return 0
		}
	}
	v, err := strconv.ParseFloat(string(b[:i]), 64)
	if err != nil {
		s.ok = false
		return 0
	}
	s.rest = b[i:]
	return v
}
