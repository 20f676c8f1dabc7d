package rehearse

import (
	"fmt"
	"strings"
	"time"
)

// Fault is something that goes wrong on top of the reclaims.
type Fault struct {
	Kind     FaultKind
	Duration time.Duration // real time; of APIServerStop
}

// FaultKind says what goes wrong.
type FaultKind string

// The faults.
const (
	ControllerKill   FaultKind = "controller-kill"   // SIGKILL at a random point of every drain; its Deployment restarts it
	APIServerStop    FaultKind = "apiserver-stop"    // the API server is stopped just before every notice
	DuplicateNotices FaultKind = "duplicate-notices" // the queue delivers every notice twice
)

// FaultHelp explains the faults, for --help.
const FaultHelp = `controller-kill       SIGKILL the controller at random points of every drain
apiserver-stop=10s    stop the API server for that long at every notice
duplicate-notices     deliver every notice twice`

// ParseFault reads a fault as it is written on the command line.
func ParseFault(s string) (Fault, error) {
	name, value, hasValue := strings.Cut(s, "=")
	f := Fault{Kind: FaultKind(name)}
	switch f.Kind {
	case APIServerStop:
		f.Duration = 10 * time.Second
		if hasValue {
			d, err := time.ParseDuration(value)
			if err != nil || d <= 0 || d > 5*time.Minute {
				return Fault{}, fmt.Errorf("fault %q: %q is not a duration between 0 and 5m, such as 10s", s, value)
			}
			f.Duration = d
		}
		return f, nil
	case ControllerKill, DuplicateNotices:
		if hasValue {
			return Fault{}, fmt.Errorf("fault %q: %s takes no value", s, name)
		}
		return f, nil
	}
	return Fault{}, fmt.Errorf("fault %q is not known; the faults are:\n%s", s, FaultHelp)
}

// String returns the fault as it is written on the command line.
func (f Fault) String() string {
	if f.Kind == APIServerStop {
		return fmt.Sprintf("%s=%s", f.Kind, f.Duration)
	}
	return string(f.Kind)
}

// AtMost returns the largest time scale at which a fault can be survived at all: a
// fault lasts real seconds, however short the notice has become.
//
// A killed controller must start again, the second time after a back-off, and list
// the cluster: 60 s of notice leave room for that, for replacements to start and for
// the old pods' grace. After an outage of the API server, Kubernetes' own
// controllers may take up to 30 s to notice that it is back (client-go's pause
// between attempts); only then does a replacement start, and the grace must still
// fit in: 70 s for both.
func (f Fault) AtMost(noticeLead time.Duration) float64 {
	needs := time.Second
	switch f.Kind {
	case ControllerKill:
		needs = 60 * time.Second
	case APIServerStop:
		needs = f.Duration + 30*time.Second + 70*time.Second
	}
	return noticeLead.Seconds() / needs.Seconds()
}

func has(faults []Fault, kind FaultKind) (Fault, bool) {
	for _, f := range faults {
		if f.Kind == kind {
			return f, true
		}
	}
	return Fault{}, false
}
