package wrapper

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// CopySelf writes the running program to dest, which is a file or a folder that
// exists. An init container does so with a volume that it shares: images without a
// shell have no cp.
func CopySelf(dest string) (path string, err error) {
	if info, err := os.Stat(dest); err == nil && info.IsDir() {
		dest = filepath.Join(dest, "evenkeel-run")
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	in, err := os.Open(self)
	if err != nil {
		return "", fmt.Errorf("opening this program: %w", err)
	}
	defer in.Close()

	// A file of another name that is renamed: nobody can start half a program, and
	// a program that runs can be replaced.
	out, err := os.CreateTemp(filepath.Dir(dest), ".evenkeel-run-")
	if err != nil {
		return "", fmt.Errorf("copying this program: %w", err)
	}
	defer os.Remove(out.Name()) // fails once it is renamed
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return "", fmt.Errorf("copying this program: %w", err)
	}
	if err := out.Chmod(0o755); err != nil {
		out.Close()
		return "", fmt.Errorf("copying this program: %w", err)
	}
	if err := out.Close(); err != nil {
		return "", fmt.Errorf("copying this program: %w", err)
	}
	if err := os.Rename(out.Name(), dest); err != nil {
		return "", fmt.Errorf("copying this program: %w", err)
	}
	return dest, nil
}
