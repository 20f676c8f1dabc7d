package lifecycle

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

const (
	defaultGrace = 30 * time.Second
	defaultFloor = 2 * time.Second
	minGrace     = time.Second
	maxGrace     = 24 * time.Hour
)

// settings applies defaults and the environment to the options. Nonsense is
// corrected and noted, not refused: a service that serves with a default is worth
// more than one that does not start.
func settings(o Options) (p policy, deadlineFile string, notes []string) {
	p.grace = o.Grace
	if p.grace == 0 {
		p.grace = defaultGrace
		if v := os.Getenv("EVENKEEL_GRACE_SECONDS"); v != "" {
			if d, err := parseSeconds(v); err != nil {
				notes = append(notes, fmt.Sprintf("EVENKEEL_GRACE_SECONDS: %v; using %s", err, defaultGrace))
			} else {
				p.grace = d
			}
		}
	}
	if held := min(max(p.grace, minGrace), maxGrace); held != p.grace {
		notes = append(notes, fmt.Sprintf("a grace period of %s is out of range; using %s", p.grace, held))
		p.grace = held
	}

	switch {
	case o.PropagationFloor == 0:
		p.floor = defaultFloor
	case o.PropagationFloor > 0:
		p.floor = o.PropagationFloor
	}

	deadlineFile = o.DeadlineFile
	if deadlineFile == "" {
		deadlineFile = os.Getenv("EVENKEEL_DEADLINE_FILE")
	}
	return p, deadlineFile, notes
}

// parseSeconds reads a number of seconds; what no Duration can hold becomes the
// nearest that one can.
func parseSeconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) {
		return 0, fmt.Errorf("%q is not a number of seconds", s)
	}
	if limit := (1000 * time.Hour).Seconds(); math.Abs(f) > limit {
		f = math.Copysign(limit, f)
	}
	return time.Duration(f * float64(time.Second)), nil
}
