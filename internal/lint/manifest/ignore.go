package manifest

import (
	"regexp"
	"strings"
)

// IgnoreAnnotation silences rules for one object. Its value is a list of
// "EK003: reason" separated by semicolons or line ends.
const IgnoreAnnotation = "evenkeel.dev/lint-ignore"

// An Ignore asks that one rule be silent for one object. An Ignore without a
// reason has no effect; a rule reports it.
type Ignore struct {
	Rule, Reason string
	Pos          Pos
}

// ruleLike is how an entry begins. What follows a semicolon and does not begin
// so is more of the reason before it.
var ruleLike = regexp.MustCompile(`(?i)^ek\d`)

// ParseIgnores reads the value of the annotation.
func ParseIgnores(value string, pos Pos) []Ignore {
	var out []Ignore
	for entry := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ';' || r == '\n' }) {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Reason != "" && !ruleLike.MatchString(entry) {
			out[n-1].Reason += "; " + entry
			continue
		}
		rule, reason, _ := strings.Cut(entry, ":")
		out = append(out, Ignore{
			Rule:   strings.ToUpper(strings.TrimSpace(rule)),
			Reason: strings.TrimSpace(reason),
			Pos:    pos,
		})
	}
	return out
}
