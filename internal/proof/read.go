package proof

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxLine bounds one line: MaxSteps steps with the longest names fit.
const maxLine = 4 << 20

// Read reads a proof record and puts together what several controllers have
// written of one interruption. The Lines come in the order of their notices. Lines
// that are none of ours are skipped and counted.
func Read(r io.Reader, add func(Line)) (skipped int, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		data, long, err := readLine(in)
		if len(data) > 0 || long {
			line, bad := Decode(data)
			switch {
			case long, errors.Is(bad, ErrForeign):
				skipped++
			case bad != nil:
				return skipped, fmt.Errorf("line %d: %w", n, bad)
			default:
				add(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return skipped, nil
		}
		if err != nil {
			return skipped, err
		}
	}
}

// readLine reads to the end of a line. Of one that is too long to be ours it keeps
// nothing.
func readLine(in *bufio.Reader) (data []byte, long bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if !long && len(data)+len(part) <= maxLine {
			data = append(data, part...)
		} else {
			data, long = nil, true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return trim(data), long, err
		}
	}
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r' || b[len(b)-1] == ' ') {
		b = b[:len(b)-1]
	}
	return b
}

// Merge puts together the Lines of each interruption: a controller that stops
// writes what it knows, and the one that goes on writes the rest. The result is in
// the order of the notices.
func Merge(lines []Line) []Line {
	byID := make(map[string]int)
	var out []Line
	for _, l := range lines {
		i, ok := byID[l.Interruption]
		if !ok {
			byID[l.Interruption] = len(out)
			out = append(out, l)
			continue
		}
		out[i] = join(out[i], l)
	}
	slices.SortStableFunc(out, func(a, b Line) int {
		return cmp.Or(a.Notice.Sent.Compare(b.Notice.Sent), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// join puts two Lines of one interruption together. The later one knows how it
// ended; of the two the earlier one knows how it began.
func join(a, b Line) Line {
	if a.Outcome != Unfinished && b.Outcome == Unfinished {
		a, b = b, a
	}
	begin := a
	if !a.ResumedAt.IsZero() && (b.ResumedAt.IsZero() || b.ResumedAt.Before(a.ResumedAt)) {
		begin = b
	}
	out := b
	out.Cordoned, out.ResumedAt = begin.Cordoned, begin.ResumedAt
	out.Lost, out.Left, out.Omitted = max(a.Lost, b.Lost), max(a.Left, b.Left), a.Omitted+b.Omitted
	out.Pool, out.Zone, out.InstanceType = cmp.Or(b.Pool, a.Pool), cmp.Or(b.Zone, a.Zone), cmp.Or(b.InstanceType, a.InstanceType)
	out.Steps = nil
	seen := make(map[Step]bool)
	for _, s := range slices.Concat(a.Steps, b.Steps) {
		if s.Reason == "" && begin.ResumedAt.IsZero() {
			continue // told after the event, from the Record: the other Line has it first hand
		}
		s.At = s.At.UTC()
		if !seen[s] {
			seen[s] = true
			out.Steps = append(out.Steps, s)
		}
	}
	slices.SortStableFunc(out.Steps, func(x, y Step) int { return x.At.Compare(y.At) })
	if len(out.Steps) > MaxSteps {
		out.Omitted += len(out.Steps) - MaxSteps
		out.Steps = out.Steps[:MaxSteps]
	}
	if out.Outcome != Unfinished && len(b.Steps) > 0 {
		out.Outcome = outcome(&out, b.Steps[len(b.Steps)-1].Event)
	}
	return out
}
