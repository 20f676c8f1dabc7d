package lifecycle

import "time"

// This file is the decision core: what follows from the time and from what was
// observed. It starts nothing, reads no clock and knows no HTTP; ending.go is the
// shell that observes, calls step and does what the effects say.

// A Phase is a stage in the life of a process. Phases only ever go up, one at a
// time.
type Phase uint8

// The phases, in their order. See the package comment for what happens in each.
const (
	Serving Phase = iota
	Noticed
	Unready
	Propagate
	Discourage
	Finish
	Save
	Cut
)

// String returns the name in lower case.
func (p Phase) String() string {
	if int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

var phaseNames = [...]string{"serving", "noticed", "unready", "propagate", "discourage", "finish", "save", "cut"}

// A Reason says why a phase began.
type Reason string

// Why the ending began.
const (
	ReasonNotice    Reason = "notice"          // the machine has been announced to go
	ReasonLatest    Reason = "latest start"    // nobody sent SIGTERM, and waiting longer would leave less than the grace period
	ReasonSignal    Reason = "SIGTERM"         // what Kubernetes sends
	ReasonInterrupt Reason = "SIGINT"          // a person at a terminal
	ReasonContext   Reason = "context ended"   // the context given to Run
	ReasonCall      Reason = "call"            // Drain
	ReasonControl   Reason = "control"         // POST /drain
	ReasonServer    Reason = "server failed"   // a listener broke
	ReasonStart     Reason = "start-up failed" // an OnStart function returned an error
	ReasonJob       Reason = "job failed"      // a Consumer or a Job did
)

// Why a phase of the ending gave way to the next.
const (
	ReasonAtOnce  Reason = "at once" // the phase before takes no time
	ReasonQuiet   Reason = "quiet"   // traffic has stopped
	ReasonUnused  Reason = "unused"  // there never was any
	ReasonHurried Reason = "hurried" // a further signal
	ReasonIdle    Reason = "no idle connections"
	ReasonDrained Reason = "drained" // nothing left to wait for
	ReasonTime    Reason = "time"    // the share of the phase is used up
)

// How the time from the start of the ending to the deadline is split. Each share
// is of the whole. Finish has no share: it gets what the others leave.
const (
	propagateShare  = 40 // percent, at most
	discourageShare = 15 // percent, at most
	saveShare       = 15 // percent, reserved if there is something to save; nothing can borrow it

	cutMargin = 500 * time.Millisecond // between cutting and the deadline; at most a tenth of the whole

	// reaction is what handlers have at least to answer when WorkContext has ended;
	// at most a twentieth of the whole. Where state is saved they have that time.
	reaction = 500 * time.Millisecond

	quietMin  = 600 * time.Millisecond // shortest silence that counts as the end of traffic
	quietGaps = 12                     // and it must be so many times the usual gap: a pause is not the end (e^-12)
)

// policy is what the owner of the process decided.
type policy struct {
	grace time.Duration // from SIGTERM to SIGKILL, > 0
	floor time.Duration // least time in propagate, >= 0
	most  time.Duration // longest time in propagate, if > 0 and less than its share
	saves bool          // there is something to save
}

// urgency says how much of a hurry those have who want the process to end. Every
// signal after the first raises it by one.
type urgency int

const (
	calm    urgency = iota // nobody asked for an end
	asked                  // take the time that is needed
	hurried                // do not wait for balancers and idle clients, finish what is in flight
	now                    // do not wait for requests either; state is still saved
)

// observation is what the shell sees at one moment.
type observation struct {
	urgency urgency
	trigger Reason // why the urgency is above calm

	nodeDeadline time.Time // when the machine goes, on the process's own clock (see onClock); zero if not announced

	used        bool          // the process serves and was ready, or it had a request
	busy        int           // requests whose answer is not complete, and jobs that run
	idle        int           // open connections without a request
	untold      int           // streams whose turn to end has not come
	open        int           // servers that have not taken leave of all their connections
	lastArrival time.Time     // of a request or a connection; zero if there was none
	meanGap     time.Duration // between requests over the last minute; zero if unknown
	saved       bool          // the save functions have returned, or there are none
}

// state is where the ending stands. The zero value is a process that serves.
type state struct {
	phase    Phase
	why      Reason    // why phase began
	entered  time.Time // when phase began
	trigger  Reason    // why the ending began
	started  time.Time // when unready began; zero before
	deadline time.Time // when the process has to be gone; zero before unready
	quiet    time.Duration
}

// effect asks the shell to do what belongs to the beginning of a phase.
type effect struct {
	enter Phase
	why   Reason
}

// step moves the state to where the observation allows it to be, through as many
// phases as are over. It never leaves one out, so whatever belongs to a phase is
// done in every ending.
func step(p policy, s state, at time.Time, o observation) (state, []effect) {
	var effects []effect
	for {
		if s.phase >= Unready {
			s = s.tighten(at, o)
		}
		why, over := s.over(p, at, o)
		if !over {
			return s, effects
		}
		s = s.next(p, at, o, why)
		effects = append(effects, effect{s.phase, why})
	}
}

// next enters the phase that follows.
func (s state) next(p policy, at time.Time, o observation, why Reason) state {
	s.phase, s.why, s.entered = s.phase+1, why, at
	if s.phase == Unready {
		s.started, s.trigger = at, why
		s.deadline = at.Add(p.grace)
		// Frozen here: in the phases to come the traffic fades, and with it the rate.
		s.quiet = max(quietMin, quietGaps*o.meanGap)
	}
	return s
}

// tighten takes over a deadline of the machine that is earlier than ours. A
// deadline in the past is no deadline: the machine is still there, so the note is
// stale or a clock is wrong, and acting on it would cut every request for nothing.
func (s state) tighten(at time.Time, o observation) state {
	if o.nodeDeadline.After(at) && o.nodeDeadline.Before(s.deadline) {
		s.deadline = o.nodeDeadline
	}
	return s
}

// over reports whether the current phase is over, and why.
func (s state) over(p policy, at time.Time, o observation) (Reason, bool) {
	timeUp := func() (Reason, bool) { return ReasonTime, !at.Before(s.limit(p)) }

	switch s.phase {
	case Serving:
		if o.urgency >= asked {
			return o.trigger, true
		}
		return ReasonNotice, o.nodeDeadline.After(at)

	case Noticed:
		if o.urgency >= asked {
			return o.trigger, true
		}
		// Until the latest start the process serves on: whoever reclaims the
		// machine wants to replace this process before it ends it. The latest
		// start is the net for when nobody does.
		return ReasonLatest, o.nodeDeadline.After(at) && !o.nodeDeadline.Add(-p.grace).After(at)

	case Unready:
		return ReasonAtOnce, true

	case Propagate:
		switch {
		case o.urgency >= hurried:
			return ReasonHurried, true
		case !o.used:
			return ReasonUnused, true
		case at.Sub(s.started) >= p.floor && at.Sub(o.lastArrival) >= s.quiet:
			return ReasonQuiet, true
		}
		return timeUp()

	case Discourage:
		switch {
		case o.urgency >= hurried:
			return ReasonHurried, true
		case o.idle == 0 && o.untold == 0:
			return ReasonIdle, true
		}
		return timeUp()

	case Finish:
		switch {
		// Nothing in flight is not enough: what a client has sent and no handler has
		// seen yet is known to the servers alone.
		case o.busy == 0 && o.open == 0:
			return ReasonDrained, true
		case o.urgency >= now:
			return ReasonHurried, true
		}
		return timeUp()

	case Save:
		switch {
		case o.saved && o.busy == 0:
			return ReasonDrained, true
		case o.saved && o.urgency >= now:
			return ReasonHurried, true
		}
		return timeUp()
	}
	return "", false // Cut is the end
}

// limit returns when the current phase of the ending is over at the latest.
func (s state) limit(p policy) time.Time {
	whole := s.deadline.Sub(s.started)
	share := func(percent time.Duration) time.Duration { return whole / 100 * percent }

	cut := s.deadline.Add(-min(cutMargin, whole/10))
	finish := cut.Add(-min(reaction, whole/20))
	if p.saves {
		finish = cut.Add(-share(saveShare))
	}
	switch s.phase {
	case Unready:
		return s.started
	case Propagate:
		most := share(propagateShare)
		if p.most > 0 {
			most = min(most, max(p.most, p.floor))
		}
		return s.started.Add(most)
	case Discourage:
		return earlier(s.entered.Add(share(discourageShare)), finish)
	case Finish:
		return finish
	}
	return cut
}

// disorder reports whether jobs must no longer wait for each other: those that
// come last need time for what they have, too.
func (s state) disorder(p policy, at time.Time) bool {
	if s.phase != Finish {
		return s.phase > Finish
	}
	limit := s.limit(p)
	return !at.Before(limit.Add(-limit.Sub(s.entered) / 4))
}

// onClock puts a time of the wall clock, which others announced, on the clock of
// this process at the moment when it is learnt: later jumps of the wall clock do
// not move it.
func onClock(wall, at time.Time) time.Time {
	if wall.IsZero() {
		return wall
	}
	return at.Add(wall.Sub(at))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
