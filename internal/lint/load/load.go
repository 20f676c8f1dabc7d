// Package load finds the documents that a user names and decodes them on all
// processors. It knows files, directories and standard input, and which files
// of a directory are not meant to be applied as they are: chart templates and
// kustomize patches. What a document means is the work of package manifest.
package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
	"github.com/evenkeel-dev/evenkeel/internal/lint/terraform"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// A Reader reads manifests. The zero value reads the file system.
type Reader struct {
	// Stdin is what "-" names.
	Stdin io.Reader
	// Overlay holds texts to be read in place of the files of these names, which
	// need not exist.
	Overlay map[string][]byte
	// Workers is how many documents are decoded at once; the number of
	// processors if zero. Each may need up to 300 MiB for the worst of documents.
	Workers int
}

// A Result is everything that was read.
type Result struct {
	Set *manifest.Set
	// Invalid lists the first documents that could not be read, in input order;
	// InvalidCount counts all.
	Invalid      []*manifest.Error
	InvalidCount int
	// Notes say what was left out on purpose.
	Notes []string
}

// maxInvalid bounds the errors kept: a large file of noise has one in each line.
const maxInvalid = 100

// Read reads the named files, directories and streams. The error is about the
// file system; documents that are malformed are in the result.
func (r *Reader) Read(ctx context.Context, paths []string) (*Result, error) {
	files, notes, err := r.list(paths)
	if err != nil {
		return nil, err
	}
	parts, err := r.decode(ctx, files)
	if err != nil {
		return nil, err
	}
	out := &Result{Set: &manifest.Set{}, Notes: notes}
	for _, p := range parts {
		out.Set.Add(p.set)
		out.InvalidCount += p.errCount
		out.Invalid = append(out.Invalid, p.errs[:min(len(p.errs), maxInvalid-len(out.Invalid))]...)
		out.Notes = append(out.Notes, p.notes...)
	}
	return out, nil
}

// A part is what one job yields.
type part struct {
	set      *manifest.Set
	errs     []*manifest.Error
	errCount int
	notes    []string
}

func (p *part) fail(errs ...*manifest.Error) {
	p.errCount += len(errs)
	p.errs = append(p.errs, errs[:min(len(errs), max(0, maxInvalid-len(p.errs)))]...)
}

// A job is a run of documents of one file, or the Terraform files of one
// directory.
type job struct {
	file   file
	docs   []manifest.Document
	module []terraform.File
	out    *part
}

// batchBytes is how much text makes a job: enough to make handing it over cheap.
const batchBytes = 64 << 10

// decode splits files into jobs and decodes them in parallel. The parts are in
// input order whatever order they are decoded in.
func (r *Reader) decode(ctx context.Context, files []file) ([]*part, error) {
	workers := r.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan job, workers)
	var parts []*part // owned by the splitting goroutine until Wait returns
	newPart := func() *part {
		p := &part{set: &manifest.Set{}}
		parts = append(parts, p)
		return p
	}
	send := func(j job) error {
		select {
		case jobs <- j:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	group.Go(func() error {
		defer close(jobs)
		for _, f := range files {
			if f.module != nil {
				module, err := r.readModule(f.module)
				if err != nil {
					return err
				}
				if err := send(job{module: module, out: newPart()}); err != nil {
					return err
				}
				continue
			}
			if err := r.split(f, newPart, send); err != nil {
				return err
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for j := range jobs {
				j.run()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return parts, nil
}

// split reads the documents of one file into jobs.
func (r *Reader) split(f file, newPart func() *part, send func(job) error) error {
	in, err := r.open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	j, size := job{file: f}, 0
	flush := func() error {
		if len(j.docs) == 0 {
			return nil
		}
		j.out = newPart()
		full := j
		j, size = job{file: f}, 0
		return send(full)
	}
	for doc, err := range manifest.Split(f.path, in) {
		if err != nil {
			if err := flush(); err != nil {
				return err
			}
			newPart().fail(err.(*manifest.Error)) // Split yields no other type
			continue
		}
		j.docs = append(j.docs, doc)
		if size += len(doc.Text); size >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (j *job) run() {
	if j.module != nil {
		set, errs := terraform.Decode(j.module)
		j.out.set.Add(set)
		j.out.fail(errs...)
		return
	}
	for _, doc := range j.docs {
		set, errs := manifest.Decode(j.file.path, doc)
		if len(errs) > 0 && j.file.found && !objects(doc.Text) {
			// A directory holds other files too: only what looks like objects is
			// meant for us.
			j.out.notes = append(j.out.notes, fmt.Sprintf("%s: skipped: no Kubernetes objects", errs[0].File))
			continue
		}
		j.out.set.Add(set)
		j.out.fail(errs...)
	}
}

// objects reports whether text looks like objects to be applied, rather than
// other YAML or a template of any kind.
func objects(text []byte) bool {
	return bytes.Contains(text, []byte("apiVersion")) && bytes.Contains(text, []byte("kind")) && !bytes.Contains(text, []byte("{{"))
}

func (r *Reader) open(path string) (io.ReadCloser, error) {
	if path == Stdin {
		if r.Stdin == nil {
			return io.NopCloser(strings.NewReader("")), nil
		}
		return io.NopCloser(r.Stdin), nil
	}
	if text, ok := r.Overlay[path]; ok {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	return f, nil
}

// readModule reads the Terraform files of a directory, each no further than the
// size at which it is refused.
func (r *Reader) readModule(paths []string) ([]terraform.File, error) {
	var out []terraform.File
	for _, path := range paths {
		in, err := r.open(path)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(in, terraform.MaxFile+1))
		in.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		out = append(out, terraform.File{Name: filepath.ToSlash(path), Text: text})
	}
	return out, nil
}
