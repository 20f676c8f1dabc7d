package interruption

import (
	"errors"
	"fmt"
)

// ErrNotOurs says that a notice names an instance that is not a node of this
// cluster. A source that gets it from its emit function must leave the message
// to whoever owns the instance.
var ErrNotOurs = errors.New("instance is not a node of this cluster")

// ErrIgnored says that a payload is well formed and announces nothing that is
// acted on. A source counts it and acknowledges the message.
var ErrIgnored = errors.New("event is not acted on")

// A MalformedError says what is wrong with a payload, and where. Its text is
// bounded, however large or hostile the payload is.
type MalformedError struct {
	// Field names the part that is wrong, for example "detail.instance-id". It
	// comes from a small fixed set, so it can be a metric label or the key of
	// "said already".
	Field string
	// Problem is what is wrong with it.
	Problem string
	// Excerpt is the beginning of the payload, quoted.
	Excerpt string
}

// What an error may quote of a payload, in characters.
const (
	maxProblem = 200
	maxExcerpt = 240
)

// How long the words of a sender may be that end in a Record, in bytes.
const (
	maxID     = 128
	maxAction = 64
)

// malformed leaves the excerpt to the decoder's entry point, which alone holds
// the whole payload.
func malformed(field, problem string, args ...any) *MalformedError {
	return &MalformedError{Field: field, Problem: fmt.Sprintf("%.*s", maxProblem, fmt.Sprintf(problem, args...))}
}

// excerpted gives a MalformedError the beginning of its payload.
func excerpted(err error, payload []byte) error {
	if m, ok := errors.AsType[*MalformedError](err); ok {
		m.Excerpt = fmt.Sprintf("%.*q", maxExcerpt, payload)
	}
	return err
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("malformed event: %s: %s, in %s", e.Field, e.Problem, e.Excerpt)
}
