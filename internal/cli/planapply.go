package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/plan"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// applyPlan writes what is advised into a platform file: sizes, instance types and
// replicas. It changes numbers and names where they stand and nothing else, so
// comments and layout stay; the result is parsed before it replaces the file.
func applyPlan(s Streams, path string, advice []plan.Advice) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return failed(err)
	}
	e := &platformEdit{path: path, data: data}
	if err := e.parse(); err != nil {
		return &ExitError{ExitUsage, err}
	}
	changed := 0
	for _, a := range advice {
		before := e.edits
		if err := e.apply(a); err != nil {
			return &ExitError{ExitUsage, err}
		}
		if e.edits > before {
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
	if err := os.WriteFile(path, e.data, info.Mode().Perm()); err != nil {
		return failed(err)
	}
	fmt.Fprintf(s.Err, "changed %d pools in %s\n", changed, path)
	return nil
}

// platformEdit changes a platform file's text. After each change the text is
// parsed: a change moves what stands behind it, and only parsing says where things
// are.
type platformEdit struct {
	path  string
	data  []byte
	p     *spec.Platform
	edits int
}

func (e *platformEdit) parse() (err error) {
	e.p, err = spec.Parse(bytes.NewReader(e.data), e.path)
	return err
}

func (e *platformEdit) apply(a plan.Advice) error {
	i := slices.IndexFunc(e.p.Pools, func(p spec.Pool) bool { return p.Name == a.Pool })
	if i < 0 {
		return nil // the plan was made of another file
	}
	pool, want := e.p.Pools[i], a.Nodes+a.Headroom
	at := fmt.Sprintf("pools[%d].", i)
	// The limit first: the file must be valid after each change.
	if err := e.number(at+"size.max", pool.Max, max(pool.Max, want)); err != nil {
		return err
	}
	if err := e.number(at+"size.desired", pool.Desired, want); err != nil {
		return err
	}
	if err := e.types(at+"instanceTypes", pool.InstanceTypes, a.Types); err != nil {
		return err
	}
	for _, s := range a.Services {
		i := slices.IndexFunc(e.p.Services, func(o spec.Service) bool { return o.Name == s.Service })
		if i < 0 || s.Replicas == s.Declared {
			continue
		}
		service, at := e.p.Services[i], fmt.Sprintf("services[%d].", i)
		if !s.Scaled {
			if err := e.number(at+"replicas", service.Replicas, s.Replicas); err != nil {
				return err
			}
			continue
		}
		if err := e.number(at+"scaling.max", service.Scaling.Max, max(service.Scaling.Max, s.Replicas)); err != nil {
			return err
		}
		if err := e.number(at+"scaling.min", service.Scaling.Min, s.Replicas); err != nil {
			return err
		}
	}
	return nil
}

// number replaces a number.
func (e *platformEdit) number(field string, old, now int) error {
	if old == now {
		return nil
	}
	data, err := setNumber(e.data, e.p.Position(field), old, now)
	if err != nil {
		return fmt.Errorf("%s: %w; write %d there", field, err, now)
	}
	return e.take(data)
}

// types replaces the names of instance types. A pool that has requirements instead
// keeps them.
func (e *platformEdit) types(field string, old []string, advised []plan.TypeAdvice) error {
	var now []string
	for _, a := range advised {
		if a.Why == "" {
			now = append(now, a.Type)
		}
	}
	// Those that the file names keep their order.
	slices.SortStableFunc(now, func(a, b string) int { return cmp.Compare(place(old, a), place(old, b)) })
	if len(old) == 0 || len(now) == 0 || slices.Equal(old, now) {
		return nil
	}
	at := make([]spec.Position, len(old))
	for j := range old {
		at[j] = e.p.Position(fmt.Sprintf("%s[%d]", field, j))
	}
	data, err := setNames(e.data, at, old, now)
	if err != nil {
		return fmt.Errorf("%s: %w; write [%s] there", field, err, strings.Join(now, ", "))
	}
	return e.take(data)
}

func place(list []string, name string) int {
	if i := slices.Index(list, name); i >= 0 {
		return i
	}
	return len(list)
}

func (e *platformEdit) take(data []byte) error {
	e.data = data
	e.edits++
	if err := e.parse(); err != nil {
		return fmt.Errorf("what is advised is not valid in this file: %w", err)
	}
	return nil
}

// setNames replaces the names of a list, in brackets on one line or with one name a
// line. A name that stays keeps its line, and the comment on it.
func setNames(data []byte, at []spec.Position, old, now []string) ([]byte, error) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	for j, p := range at {
		if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1]) ||
			!bytes.HasPrefix(bytes.TrimLeft(lines[p.Line-1][p.Column-1:], "\"'"), []byte(old[j])) {
			return nil, fmt.Errorf("%s: %s does not stand there", p, old[j])
		}
	}
	first, last := at[0], at[len(at)-1]
	if line := lines[first.Line-1]; first.Line == last.Line && bytes.LastIndexByte(line[:first.Column-1], '[') >= 0 {
		open := bytes.LastIndexByte(line[:first.Column-1], '[')
		end := bytes.IndexByte(line[last.Column-1:], ']')
		if end < 0 {
			return nil, fmt.Errorf("%s: the list does not end on this line", last)
		}
		lines[first.Line-1] = slices.Concat(line[:open+1], []byte(strings.Join(now, ", ")), line[last.Column-1+end:])
		return bytes.Join(lines, nil), nil
	}
	for j, p := range at {
		dash := bytes.TrimSpace(lines[p.Line-1][:p.Column-1])
		if string(dash) != "-" || j > 0 && p.Line == at[j-1].Line {
			return nil, fmt.Errorf("%s: the list has neither one line nor a line for each name", p)
		}
	}
	added := slices.DeleteFunc(slices.Clone(now), func(n string) bool { return slices.Contains(old, n) })
	var more []byte
	for _, n := range added {
		more = fmt.Appendf(more, "%s%s\n", lines[last.Line-1][:last.Column-1], n)
	}
	line := lines[last.Line-1]
	if !bytes.HasSuffix(line, []byte("\n")) {
		line = append(slices.Clone(line), '\n')
	}
	lines[last.Line-1] = slices.Concat(line, more)
	if !slices.Contains(now, old[len(old)-1]) {
		lines[last.Line-1] = more
	}
	for j, p := range at[:len(at)-1] {
		if !slices.Contains(now, old[j]) {
			lines[p.Line-1] = nil
		}
	}
	return bytes.Join(lines, nil), nil
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
