package wrapper

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
)

// gracefulSignals are the signals by which programs end gracefully that take
// SIGTERM for something else.
var gracefulSignals = map[string]syscall.Signal{
	"nginx":     syscall.SIGQUIT,  // TERM is the fast end, which cuts requests
	"openresty": syscall.SIGQUIT,  // is nginx
	"angie":     syscall.SIGQUIT,  // is nginx
	"php-fpm":   syscall.SIGQUIT,  // as nginx
	"uwsgi":     syscall.SIGQUIT,  // TERM reloads it, unless it is told otherwise
	"postgres":  syscall.SIGINT,   // TERM waits for clients to leave by themselves
	"haproxy":   syscall.SIGUSR1,  // TERM is the fast end
	"httpd":     syscall.SIGWINCH, // TERM cuts requests
	"apache2":   syscall.SIGWINCH, // is httpd
}

// StopSignal returns the signal by which a command ends gracefully. It looks at
// the program and at its first argument, since images have entry points that start
// the program named there.
func StopSignal(command []string) syscall.Signal {
	for _, word := range command[:min(2, len(command))] {
		name := filepath.Base(word)
		name = strings.TrimRight(name, "0123456789.") // php-fpm8.2
		if sig, ok := gracefulSignals[name]; ok {
			return sig
		}
	}
	return syscall.SIGTERM
}

// isShell reports whether the command is a shell: it does not pass signals on to
// what it runs, so the whole group has to get them.
func isShell(command []string) bool {
	switch filepath.Base(command[0]) {
	case "sh", "bash", "dash", "ash", "busybox":
		return true
	}
	return false
}

var signalNames = map[string]syscall.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "HUP": syscall.SIGHUP,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH, "KILL": syscall.SIGKILL,
}

// ParseSignal reads a signal's name, with or without SIG.
func ParseSignal(s string) (syscall.Signal, error) {
	sig, ok := signalNames[strings.TrimPrefix(strings.ToUpper(s), "SIG")]
	if !ok {
		return 0, fmt.Errorf("%q is not a stop signal; known are TERM, INT, QUIT, HUP, USR1, USR2, WINCH and KILL", s)
	}
	return sig, nil
}

// SignalName is the inverse of ParseSignal.
func SignalName(sig syscall.Signal) string {
	for name, s := range signalNames {
		if s == sig {
			return "SIG" + name
		}
	}
	return fmt.Sprintf("signal %d", int(sig))
}
