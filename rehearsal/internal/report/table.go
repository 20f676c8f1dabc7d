package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// SGR codes of the few colours in use; the terminal's own palette decides what
// they look like on its background.
const (
	sgrBold  = "1"
	sgrDim   = "2"
	sgrRed   = "31"
	sgrGreen = "32"
)

// paint sets text in a colour. Widths are settled before: the codes take no
// room on the screen.
type paint bool

func (p paint) in(text string, codes ...string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + strings.Join(codes, ";") + "m" + text + "\x1b[0m"
}

// WriteTable writes the figures with the handlers side by side and then the
// verdict with its reasons. Width is that of the terminal in columns, 80 if not
// known (0 or less); three handlers fit 80.
func (r *Report) WriteTable(w io.Writer, width int, color bool) error {
	if width <= 0 {
		width = 80
	}
	const indent = 2
	p := paint(color)
	names := order(r.Handlers)
	rows := r.figures()

	label := 0
	for _, f := range rows {
		label = max(label, utf8.RuneCountInString(f.Label)+indent)
		if f.Sub {
			label = max(label, utf8.RuneCountInString(f.Label)+2*indent)
		}
	}
	columns := make([]int, len(names))
	for i, name := range names {
		columns[i] = utf8.RuneCountInString(name)
		for _, f := range rows {
			columns[i] = max(columns[i], utf8.RuneCountInString(f.Cells[i].Text))
		}
	}
	gap := fit(width, label, columns)

	var b bytes.Buffer
	b.WriteString(p.in(wrap("Rehearsal of "+r.Scenario, width, ""), sgrBold))
	b.WriteString(p.in(wrap(r.setting(), width, ""), sgrDim))
	if len(names) > 0 {
		b.WriteByte('\n')
		b.WriteString(strings.Repeat(" ", label))
		for i, name := range names {
			b.WriteString(p.in(pad(name, columns[i]+gap), sgrBold))
		}
		b.WriteByte('\n')
	}
	for _, f := range rows {
		if f.Group != "" {
			b.WriteString(p.in(f.Group, sgrBold) + "\n")
		}
		text := strings.Repeat(" ", indent) + f.Label
		if f.Sub {
			text = strings.Repeat(" ", 2*indent) + f.Label
		}
		b.WriteString(text + strings.Repeat(" ", label-utf8.RuneCountInString(text)))
		for i, c := range f.Cells {
			b.WriteString(p.cell(pad(c.Text, columns[i]+gap), c.Grade))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	r.writeVerdict(&b, width, p)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

func (r *Report) writeVerdict(b *bytes.Buffer, width int, p paint) {
	mark, code := "PASS", sgrGreen
	if r.Verdict != Pass {
		mark, code = "FAIL", sgrRed
	}
	b.WriteString(p.in(mark, sgrBold, code) + "  ")
	for i, sentence := range r.sentences() {
		lines := wrap(sentence, width-6, "      ")
		if i == 0 {
			lines = strings.TrimPrefix(lines, "      ")
		}
		b.WriteString(lines)
	}
	if r.Verdict != Pass {
		b.WriteString("Why it failed:\n")
		for _, reason := range r.Reasons {
			b.WriteString("  - " + strings.TrimPrefix(wrap(reason, width-4, "    "), "    "))
		}
	}
}

// setting is one line of what the figures hold for.
func (r *Report) setting() string {
	parts := []string{r.reclaimsFrom(), fmt.Sprintf("seed %d", r.Seed)}
	if r.KubernetesVersion != "" {
		parts = append(parts, "Kubernetes "+r.KubernetesVersion)
	}
	parts = append(parts, seconds(r.DurationSeconds)+" s", "time scale "+trimmed(r.TimeScale))
	if len(r.Faults) > 0 {
		parts = append(parts, "faults: "+strings.Join(r.Faults, ", "))
	}
	return strings.Join(parts, ", ")
}

// reclaimsFrom says who decided which nodes go, and when.
func (r *Report) reclaimsFrom() string {
	if r.Trace == "" {
		return "reclaims as scripted"
	}
	return "trace " + r.Trace
}

// fit returns the space before a column: as much as the width leaves, between 2
// and 6. A terminal too narrow for the table wraps it.
func fit(width, label int, columns []int) int {
	if len(columns) == 0 {
		return 0
	}
	room := width - label
	for _, c := range columns {
		room -= c
	}
	return min(max(room/len(columns), 2), 6)
}

func (p paint) cell(text string, g grade) string {
	switch g {
	case good:
		return p.in(text, sgrGreen)
	case bad:
		return p.in(text, sgrBold, sgrRed)
	}
	return text
}

// pad aligns text to the right.
func pad(text string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text))) + text
}

// wrap breaks text between words so that no line is longer than width, if its
// words are not, and begins each line with indent.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
			b.WriteString(indent)
		case column+1+n > width:
			b.WriteString("\n" + indent)
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteByte('\n')
	return b.String()
}
