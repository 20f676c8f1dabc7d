package load

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A file is one input. Those of a directory are found, not named, and are held
// to less: what is not for us is left out silently.
type file struct {
	path   string
	found  bool
	module []string // the Terraform files of a directory, instead of path
}

// list turns paths into files: a directory stands for the manifests under it.
func (r *Reader) list(paths []string) (files []file, notes []string, err error) {
	modules := map[string][]string{}
	var dirs []string // of modules, in input order
	addTerraform := func(path string) {
		dir := filepath.Dir(path)
		if modules[dir] == nil {
			dirs = append(dirs, dir)
		}
		if !slices.Contains(modules[dir], path) {
			modules[dir] = append(modules[dir], path)
		}
	}
	for _, path := range paths {
		if path == Stdin {
			files = append(files, file{path: Stdin})
			continue
		}
		directory, err := r.isDir(path)
		if err != nil {
			return nil, nil, fmt.Errorf("reading manifests: %w", err)
		}
		if !directory {
			if filepath.Ext(path) == ".tf" {
				addTerraform(path)
			} else {
				files = append(files, file{path: filepath.ToSlash(path)})
			}
			continue
		}
		found, said, err := walk(path)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, said...)
		for _, path := range found {
			if filepath.Ext(path) == ".tf" {
				addTerraform(path)
			} else {
				files = append(files, file{path: filepath.ToSlash(path), found: true})
			}
		}
	}
	for _, dir := range dirs {
		files = append(files, file{module: modules[dir]})
	}
	return files, notes, nil
}

func (r *Reader) isDir(path string) (bool, error) {
	if _, ok := r.Overlay[path]; ok {
		return false, nil
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir(), err
}

// walk returns the manifests under a directory. Hidden directories, vendored
// code, chart templates and the patches of a kustomization are left out.
func walk(root string) (files, notes []string, err error) {
	patches := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("reading manifests: %w", err)
		}
		if entry.IsDir() {
			switch name := entry.Name(); {
			case path == root:
			case strings.HasPrefix(name, "."), name == "node_modules", name == "vendor":
				return filepath.SkipDir
			case name == "templates" && isChart(filepath.Dir(path)):
				notes = append(notes, fmt.Sprintf("%s: skipped: a Helm chart; lint it with: helm template %s | evenkeel lint -", filepath.ToSlash(path), filepath.ToSlash(filepath.Dir(path))))
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json", ".tf":
		default:
			return nil
		}
		switch entry.Name() {
		case "kustomization.yaml", "kustomization.yml":
			for _, p := range patchesOf(path) {
				patches[p] = true
			}
			return nil
		case "values.yaml", "Chart.yaml", "package.json", "package-lock.json":
			return nil
		}
		files = append(files, path)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	files = slices.DeleteFunc(files, func(path string) bool { return patches[filepath.Clean(path)] })
	return files, notes, nil
}

func isChart(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "Chart.yaml"))
	return err == nil
}

// patchesOf returns the files that a kustomization uses as patches. They are
// parts of objects, which are linted in kustomize's output. A kustomization that
// cannot be read has none.
func patchesOf(path string) (out []string) {
	in, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return nil
	}
	type ref struct {
		Path string `yaml:"path"`
	}
	var k struct {
		Patches   []ref    `yaml:"patches"`
		JSON      []ref    `yaml:"patchesJson6902"`
		Strategic []string `yaml:"patchesStrategicMerge"`
	}
	if yaml.Unmarshal(text, &k) != nil {
		return nil
	}
	names := k.Strategic
	for _, r := range append(k.Patches, k.JSON...) {
		names = append(names, r.Path)
	}
	for _, name := range names {
		if name != "" && !strings.Contains(name, "\n") {
			out = append(out, filepath.Join(filepath.Dir(path), name))
		}
	}
	return out
}
