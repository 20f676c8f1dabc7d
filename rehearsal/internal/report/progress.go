package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// A Status is how a rehearsal stands.
type Status struct {
	Handler           string // empty before the first one runs
	Phase             string // "starting Kubernetes", "load", ...
	NodesReady, Nodes int
	RequestsPerSecond float64
	Sent, Failed      int
	Elapsed           time.Duration
	Total             time.Duration // expected; 0 if not known
}

// Progress shows the Status of a running rehearsal. On a terminal it is one line
// that is written over; elsewhere, for example in CI, a plain line every five
// seconds and at each new phase. It is safe for concurrent use.
type Progress struct {
	w        io.Writer
	terminal bool
	paint    paint
	width    func() int

	mu     sync.Mutex
	last   Status // last one shown
	shown  bool   // anything at all
	status string // text of the line that is on the screen; empty if none is
}

// plainInterval is the time between lines where they cannot be written over,
// redrawInterval between redraws where they can.
const (
	plainInterval  = 5 * time.Second
	redrawInterval = 100 * time.Millisecond
)

// NewProgress returns a Progress that finds out what it writes to.
func NewProgress(w io.Writer) *Progress {
	terminal, color, _ := Terminal(w)
	p := NewProgressFor(w, terminal, color)
	p.width = func() int { _, _, width := Terminal(w); return width }
	return p
}

// NewProgressFor returns a Progress for a writer of which it is known whether it
// is a terminal, 80 columns wide, and whether it shows colours.
func NewProgressFor(w io.Writer, terminal, color bool) *Progress {
	return &Progress{w: w, terminal: terminal, paint: paint(color), width: func() int { return 80 }}
}

// Terminal reports whether a writer is a terminal that can write over a line,
// whether to use colours there (NO_COLOR is honoured), and how many columns it
// has (80 if that cannot be found out).
func Terminal(w io.Writer) (terminal, color bool, width int) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return false, false, 80
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	return true, os.Getenv("NO_COLOR") == "", width
}

// Update shows a status, unless the last one was shown only just before. A new
// phase, handler or failure is always shown. Writing is best effort: a rehearsal
// does not fail because nobody can watch it.
func (p *Progress) Update(s Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	interval := plainInterval
	if p.terminal {
		interval = redrawInterval
	}
	turn := s.Phase != p.last.Phase || s.Handler != p.last.Handler || (p.terminal && s.Failed != p.last.Failed)
	if p.shown && !turn && s.Elapsed-p.last.Elapsed < interval && s.Elapsed >= p.last.Elapsed {
		return
	}
	p.last, p.shown = s, true
	if !p.terminal {
		fmt.Fprintln(p.w, p.line(s, false))
		return
	}
	text := p.line(s, true)
	p.status = p.line(s, false)
	fmt.Fprint(p.w, "\r\x1b[2K"+text)
}

// Log writes a line that stays, above the status.
func (p *Progress) Log(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == "" {
		fmt.Fprintln(p.w, text)
		return
	}
	fmt.Fprint(p.w, "\r\x1b[2K"+text+"\n"+p.line(p.last, true))
}

// Done removes the status from a terminal. The Progress can be used again.
func (p *Progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != "" {
		fmt.Fprint(p.w, "\r\x1b[2K")
		p.status = ""
	}
}

// line writes a status in one line. On a terminal it is cut to its width: a line
// that wraps could not be written over.
func (p *Progress) line(s Status, cut bool) string {
	elapsed := clock(s.Elapsed)
	if s.Total > 0 {
		elapsed += " of about " + clock(s.Total)
	}
	phase := s.Phase
	if s.Handler != "" {
		phase = s.Handler + ": " + phase
	}
	parts := []string{elapsed, phase}
	if s.Nodes > 0 {
		parts = append(parts, fmt.Sprintf("nodes %d/%d ready", s.NodesReady, s.Nodes))
	}
	failures := ""
	if s.Sent > 0 {
		parts = append(parts, fmt.Sprintf("%.0f requests/s", s.RequestsPerSecond))
		failures = count(s.Failed) + " failed"
		parts = append(parts, failures)
	}
	text := strings.Join(parts, "  ")
	if !cut {
		return text
	}
	if width := p.width() - 1; utf8.RuneCountInString(text) > width {
		return string([]rune(text)[:max(width, 0)])
	}
	if failures != "" {
		code := sgrGreen
		if s.Failed > 0 {
			code = sgrRed
		}
		text = strings.TrimSuffix(text, failures) + p.paint.in(failures, code)
	}
	return text
}

// clock writes minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
