package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/fix"
	"github.com/evenkeel-dev/evenkeel/internal/lint/load"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// repair applies the fixes of a result to the files and replaces in and result
// by what linting the repaired text gives. A file is written only if the repair
// has made findings fewer and none new; otherwise it stays as it was.
func (o *lintOptions) repair(ctx context.Context, io Streams, args []string, rules []lint.Rule, in *load.Result, result *lint.Result) (fixed int, err error) {
	fixes := map[string][]*lint.Fix{}
	var order []string
	for i := range result.Findings {
		if f := &result.Findings[i]; f.Fix != nil && !renderedFrom(in.Set.Platforms, f.File) {
			if fixes[f.File] == nil {
				order = append(order, f.File)
			}
			fixes[f.File] = append(fixes[f.File], f.Fix)
		}
	}
	overlay := map[string][]byte{}
	for _, file := range order {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("repairing: %w", err)
		}
		repaired, n := fix.Apply(text, fixes[file])
		if n == 0 {
			continue
		}
		overlay[file] = repaired
		after, err := o.read(ctx, io, args, overlay)
		if err != nil {
			return fixed, err
		}
		now := lint.Run(lint.NewTarget(after.Set, o.lintOptions()), rules)
		if after.InvalidCount > in.InvalidCount || !better(result, &now) {
			delete(overlay, file)
			fmt.Fprintf(io.Err, "note: %s: not repaired: the repair would not help; do it by hand\n", file)
			continue
		}
		if err := replaceFile(file, repaired); err != nil {
			return fixed, fmt.Errorf("repairing %s: %w", file, err)
		}
		delete(overlay, file)
		fixed += n
		*in, *result = *after, now
	}
	return fixed, nil
}

// renderedFrom reports whether a file is what a platform renders to: there is no
// such file to repair.
func renderedFrom(platforms []*manifest.Meta, file string) bool {
	return slices.ContainsFunc(platforms, func(m *manifest.Meta) bool { return strings.HasPrefix(file, m.File+"/") })
}

// better reports whether there are fewer findings after a repair, and none that
// was not there before.
func better(before, after *lint.Result) bool {
	type key struct{ rule, file, object string }
	had := map[key]int{}
	for i := range before.Findings {
		f := &before.Findings[i]
		had[key{f.Rule, f.File, f.Object}]++
	}
	for i := range after.Findings {
		f := &after.Findings[i]
		k := key{f.Rule, f.File, f.Object}
		if had[k]--; had[k] < 0 {
			return false
		}
	}
	return len(after.Findings) < len(before.Findings)
}

// replaceFile writes a file whole or not at all, keeping its mode.
func replaceFile(path string, text []byte) error {
	path, err := filepath.EvalSymlinks(path) // a link stays a link
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".evenkeel-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // a no-op once renamed
	if _, err := tmp.Write(text); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(info.Mode().Perm()); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
