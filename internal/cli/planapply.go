package cli

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"

	"github.com/evenkeel-dev/evenkeel/internal/plan"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// applyPlan writes the advised sizes into a platform file. It changes numbers where
// they stand and nothing else, so comments and layout stay; the result is parsed
// before it replaces the file.
func applyPlan(s Streams, path string, advice []plan.Advice) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return failed(err)
	}
	p, err := spec.Parse(bytes.NewReader(data), path)
	if err != nil {
		return &ExitError{ExitUsage, err}
	}
	changed := 0
	for i, pool := range p.Pools {
		for _, a := range advice {
			want := a.Nodes + a.Headroom
			if a.Pool != pool.Name || pool.Desired == want {
				continue
			}
			// The limit first: the file must be valid after each change, for a change
			// moves what stands behind it, and only parsing says where things are.
			for _, c := range []struct {
				field    string
				old, now int
			}{{"max", pool.Max, max(pool.Max, want)}, {"desired", pool.Desired, want}} {
				if c.old == c.now {
					continue
				}
				field := fmt.Sprintf("pools[%d].size.%s", i, c.field)
				if data, err = setNumber(data, p.Position(field), c.old, c.now); err != nil {
					return &ExitError{ExitUsage, fmt.Errorf("%s: %w; write %s: %d there", field, err, c.field, c.now)}
				}
				if p, err = spec.Parse(bytes.NewReader(data), path); err != nil {
					return &ExitError{ExitUsage, fmt.Errorf("what is advised is not valid in this file: %w", err)}
				}
			}
			changed++
		}
	}
	if changed == 0 {
		fmt.Fprintf(s.Err, "%s is as advised\n", path)
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return failed(err)
	}
	if err := os.WriteFile(path, data, info.Mode().Perm()); err != nil {
		return failed(err)
	}
	fmt.Fprintf(s.Err, "changed the size of %d pools in %s\n", changed, path)
	return nil
}

var leadingNumber = regexp.MustCompile(`^\d+\b`)

// setNumber replaces the number at a position. That another one stands there means
// that the field itself was left out, and the position is that of what encloses it.
func setNumber(data []byte, at spec.Position, old, number int) ([]byte, error) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	if at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Column > len(lines[at.Line-1]) {
		return nil, fmt.Errorf("%s is outside of the file", at)
	}
	line := lines[at.Line-1]
	rest := line[at.Column-1:]
	found := leadingNumber.Find(rest)
	if string(found) != strconv.Itoa(old) {
		return nil, fmt.Errorf("%s: %d does not stand there", at, old)
	}
	lines[at.Line-1] = slices.Concat(line[:at.Column-1], []byte(strconv.Itoa(number)), rest[len(found):])
	return bytes.Join(lines, nil), nil
}
