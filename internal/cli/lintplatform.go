package cli

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/lint/load"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
	"github.com/evenkeel-dev/evenkeel/internal/render"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// readRendered adds to in what the platform specs among args render to, under
// names such as platform.yaml/kubernetes/30-engine.yaml. A spec that was found
// in a directory is only mentioned: its output is usually beside it.
func readRendered(ctx context.Context, args []string, in *load.Result) error {
	for _, m := range in.Set.Platforms {
		if m.File == load.Stdin || !slices.Contains(args, m.File) {
			in.Notes = append(in.Notes, m.File+": not rendered: name the platform file itself to lint what it renders to")
			continue
		}
		f, err := os.Open(m.File)
		if err != nil {
			return fmt.Errorf("reading the platform: %w", err)
		}
		p, err := spec.Parse(f, m.File)
		f.Close()
		if err != nil {
			in.Invalid = append(in.Invalid, &manifest.Error{File: m.File, Pos: m.Pos, Msg: err.Error()})
			in.InvalidCount++
			continue
		}
		files, err := render.Render(p, render.Options{})
		if err != nil {
			return fmt.Errorf("rendering %s: %w", m.File, err)
		}
		overlay := map[string][]byte{}
		var names []string
		for _, file := range files {
			switch name := path.Join(m.File, file.Path); path.Ext(name) {
			case ".yaml", ".tf":
				overlay[name] = file.Data
				names = append(names, name)
			}
		}
		rendered, err := (&load.Reader{Overlay: overlay}).Read(ctx, names)
		if err != nil {
			return err
		}
		in.Set.Add(rendered.Set)
		in.Invalid = append(in.Invalid, rendered.Invalid...)
		in.InvalidCount += rendered.InvalidCount
	}
	return nil
}
