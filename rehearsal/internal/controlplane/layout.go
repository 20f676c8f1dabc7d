package controlplane

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// layout says where below Config.Dir things are.
type layout struct{ dir string }

func (l layout) run() string                   { return filepath.Join(l.dir, "run") } // every role's working directory
func (l layout) cert(name string) string       { return filepath.Join(l.dir, "pki", name+".crt") }
func (l layout) key(name string) string        { return filepath.Join(l.dir, "pki", name+".key") }
func (l layout) kubeconfig(name string) string { return filepath.Join(l.dir, "kubeconfig", name) }
func (l layout) logs() string                  { return filepath.Join(l.dir, "logs") }
func (l layout) log(role Role) string          { return filepath.Join(l.logs(), string(role)+".log") }

// create makes the folders, closed to other users: there are keys in them, and
// whoever reaches etcd's socket may read and write everything.
func (l layout) create() error {
	for _, name := range []string{"pki", "kubeconfig", "logs", "run"} {
		if err := os.MkdirAll(filepath.Join(l.dir, name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// tail returns the last lines of a log, for an error message. It is best
// effort: when the log cannot be read, it says so instead.
func tail(path string) string {
	const maxLines, maxBytes = 20, 8 << 10
	f, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxBytes {
		if _, err := f.Seek(-maxBytes, io.SeekEnd); err != nil {
			return fmt.Sprintf("(%v)", err)
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if len(lines) > maxLines {
		lines = lines[len(lines)-maxLines:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}
