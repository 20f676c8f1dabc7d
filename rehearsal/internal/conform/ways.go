package conform

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// way is one way to end that the matrix compares. The service is the same
// throughout, this program in another role; only what it does at SIGTERM differs.
type way struct {
	name string // as the table and the results say it
	end  string // of the service, see package sample

	mode  string // of evenkeel-run before the service; empty: it stands alone
	keeps bool   // it is ours, and has to lose nothing
}

// The ways.
var (
	exitWay     = way{name: "exit", end: "exit"}
	shutdownWay = way{name: "http.Server.Shutdown", end: "shutdown"}
	sleepWay    = way{name: "readiness, 3 s, Shutdown", end: "sleep"}
	closeWay    = way{name: "readiness, 3 s with Connection: close, Shutdown", end: "close"}
	offWay      = way{name: "readiness, 3 s, keep-alives off, 0.5 s, Shutdown", end: "off"}
	libraryWay  = way{name: "library", end: "library", keeps: true}
	proxyWay    = way{name: "wrapper, child exits", end: "exit", mode: "proxy", keeps: true}
	readyWay    = way{name: "wrapper in mode ready, child exits", end: "exit", mode: "ready"}

	stopWay        = way{name: "Stop", end: "stop"}
	gracefulWay    = way{name: "GracefulStop", end: "graceful"}
	gracefulForWay = way{name: "GracefulStop, Stop after 5 s", end: "graceful-for"}
	grpcSleepWay   = way{name: "3 s, GracefulStop, Stop after 5 s", end: "sleep"}
)

// common are the ways that every part of the matrix over HTTP compares.
var common = []way{exitWay, shutdownWay, sleepWay, libraryWay, proxyWay}

// command returns what runs a copy that ends in this way. self runs the sample
// service, wrapper is evenkeel-run.
func (w way) command(self []string, wrapper string, args []string) []string {
	service := append(append(append([]string{}, self...), "--end", w.end), args...)
	switch w.mode {
	case "":
		return service
	case "proxy":
		return append([]string{wrapper, "--listen", "127.0.0.1:" + portMark, "--health", "127.0.0.1:" + healthPortMark, "--"}, service...)
	}
	return append([]string{wrapper, "--mode", w.mode, "--child-port", portMark, "--health", "127.0.0.1:" + healthPortMark, "--"}, service...)
}

// findWrapper finds evenkeel-run.
func findWrapper(path string) (string, error) {
	if path != "" {
		return exec.LookPath(path)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "evenkeel-run")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("evenkeel-run")
	if err != nil {
		return "", errors.New("evenkeel-run is neither beside this program nor in PATH: build it, or name it with --wrapper")
	}
	return path, nil
}
