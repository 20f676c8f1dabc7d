package wrapper

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// PreStop waits until balancers have left a server that it does not wrap, as far
// as that can be seen from outside: until floor has passed and nobody is connected
// to its port, or until limit has passed. It is for a preStop hook of an image
// whose entry point cannot change; the kubelet sends SIGTERM when it returns.
//
// Clients that keep connections for ever make it wait for limit, and are cut then:
// nothing outside the server can ask them to leave.
func PreStop(ctx context.Context, port int, floor, limit time.Duration) error {
	start := time.Now()
	for {
		waited := time.Since(start)
		if waited >= limit {
			return nil
		}
		if waited >= floor {
			n, err := connections("/proc/net", port)
			if err != nil {
				return err
			}
			if n == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// connections counts the established TCP connections whose local port is port.
func connections(procNet string, port int) (n int, err error) {
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(procNet, name))
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			return 0, fmt.Errorf("reading connections: %w", err)
		}
		k, err := countEstablished(f, port)
		f.Close()
		if err != nil {
			return 0, fmt.Errorf("reading connections from %s: %w", name, err)
		}
		n += k
	}
	return n, nil
}

// countEstablished reads the format of /proc/net/tcp.
func countEstablished(r io.Reader, port int) (n int, err error) {
	const established = "01"
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// sl local_address rem_address st ...
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != established {
			continue
		}
		_, hex, ok := strings.Cut(fields[1], ":")
		if !ok {
			continue
		}
		if p, err := strconv.ParseUint(hex, 16, 16); err == nil && int(p) == port {
			n++
		}
	}
	return n, lines.Err()
}
