// Package cli holds the commands of evenkeel, one file each. A command gets its
// streams from its caller and reports how the process should end by its error;
// it never calls os.Exit.
package cli

import (
	"errors"
	"io"
)

// Streams are what a command reads and writes. Data goes to Out, talk to Err.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// The exit codes of all commands.
const (
	ExitClean    = 0 // done, nothing found
	ExitFindings = 1 // done, something found
	ExitUsage    = 2 // wrong usage, or input that cannot be read
	ExitFailed   = 3 // could not do it: a file, an API
)

// An ExitError ends the process with a code. Its message is empty where the
// command has already said everything.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode returns the code that an error asks for. An error without one comes
// from cobra's parsing of flags and arguments, so it is wrong usage.
func ExitCode(err error) int {
	if err == nil {
		return ExitClean
	}
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return exit.Code
	}
	return ExitUsage
}
