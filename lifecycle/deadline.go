package lifecycle

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// deadlineKey is the pod annotation in which the time of the machine's end is
// announced.
const deadlineKey = "evenkeel.dev/deadline"

// maxDeadlineFile bounds what is read: Kubernetes allows 256 KiB of annotations,
// and quoting can make them longer.
const maxDeadlineFile = 1 << 20

// readDeadline reads the deadline file. The file is opened by name every time
// and not watched: the kubelet replaces it by swapping a symlink.
func readDeadline(name string) (time.Time, error) {
	f, err := os.Open(name)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDeadlineFile))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the deadline file: %w", err)
	}
	return parseDeadline(data)
}

// parseDeadline finds the deadline in the content of a deadline file: an RFC 3339
// time alone, or lines of the form key="value" as a downward API volume writes
// annotations. The result is zero if there is none.
func parseDeadline(data []byte) (time.Time, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return time.Time{}, nil
	}
	if !bytes.ContainsAny(data, "=\n") {
		return parseTime(string(data))
	}
	for line := range strings.Lines(string(data)) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), deadlineKey+"=")
		if !ok {
			continue
		}
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		if value == "" { // an announcement taken back
			return time.Time{}, nil
		}
		return parseTime(value)
	}
	return time.Time{}, nil
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
	if err != nil {
		if len(s) > 64 {
			s = s[:64] + "..."
		}
		return time.Time{}, fmt.Errorf("reading the deadline: %q is not an RFC 3339 time", s)
	}
	return t, nil
}
