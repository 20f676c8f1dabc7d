package capacity

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
)

// Advice is what the policy would do with a pool now.
type Advice struct {
	Pool  string `json:"pool"`
	Group Group  `json:"-"`
	// What is seen. Want is how many machines are to be ready.
	Want     int `json:"want"`
	Ready    int `json:"ready"`
	Starting int `json:"starting"`
	Leaving  int `json:"leaving"`
	OnDemand int `json:"onDemand"` // of Ready and Starting
	// BridgeNodes is how many machines on demand there should be now.
	BridgeNodes int `json:"onDemandAdvised"`
	// Asked is how many of those are not there yet.
	Asked  int      `json:"onDemandAsked"`
	Places []Quoted `json:"places"`
	Lines  []Line   `json:"advice"`
	Notes  []string `json:"notes,omitempty"`
	// Hindered are reasons why something that should be changed is not.
	Hindered []Reason `json:"hindered,omitempty"`
}

// Quoted is a Place as the policy sees it.
type Quoted struct {
	Place
	Ready    int          `json:"ready"`
	Starting int          `json:"starting"`
	Leaving  int          `json:"leaving"`
	Price    price.Micros `json:"usdPerHour"`
	// Score is what an hour is expected to cost with its reclaims, and Hazard how
	// often a day it is expected to be reclaimed.
	Score    price.Micros `json:"usdPerHourWithReclaims"`
	Hazard   float64      `json:"reclaimsADayExpected"`
	Reclaims int          `json:"reclaimsSeen"`
	Avoided  time.Time    `json:"avoidedUntil,omitzero"`
	Ask      int          `json:"ask,omitempty"`     // machines to be asked for here
	Why      Reason       `json:"reason,omitempty"`  // of that
	Release  int          `json:"release,omitempty"` // machines that may go
	Move     int          `json:"move,omitempty"`    // machines that would be cheaper here
}

// Line is one thing to do, for a person.
type Line struct {
	Reason Reason `json:"reason"`
	Text   string `json:"text"`
}

// advice puts together what the policy has ordered. Without a view there was nothing
// to ask it.
func (p *pool) advice(now time.Time, v *provision.View) Advice {
	a := Advice{Pool: p.group.Pool, Group: p.group, Want: p.want, Notes: p.notes}
	ready, starting := p.onDemand()
	a.OnDemand, a.BridgeNodes, a.Asked = ready+starting-p.asked(onDemandPlace), ready+starting-p.free, p.asked(onDemandPlace)
	a.Ready, a.Starting = ready, starting-a.Asked
	for i := range p.places {
		s := &p.places[i]
		a.Ready, a.Starting, a.Leaving = a.Ready+s.ready, a.Starting+s.starting, a.Leaving+s.leaving
		q := Quoted{
			Place: s.Place, Ready: s.ready, Starting: s.starting, Leaving: s.leaving, Reclaims: s.reclaims,
			Ask: p.asked(i), Release: s.release,
		}
		for _, k := range p.asks {
			if k.place == i && k.nodes > 0 {
				q.Why = k.why
			}
		}
		for _, m := range p.moves {
			if m.place == i {
				q.Move += m.nodes
			}
		}
		if until, ok := p.avoids(i, now); ok {
			q.Avoided = until
		}
		if v != nil {
			q.Price, q.Hazard = price.Micros(v.Pools[i].Price), p.policy.Hazard(v, i)
			q.Score = price.Micros(p.policy.Score(v, i))
		}
		a.Places = append(a.Places, q)
	}
	slices.SortFunc(a.Places, func(x, y Quoted) int { return cmp.Or(cmp.Compare(x.Score, y.Score), x.Place.Compare(y.Place)) })
	p.lines(&a)
	return a
}

// avoids reports until when a place is avoided.
func (p *pool) avoids(i int, now time.Time) (time.Time, bool) {
	until := p.places[i].hold.Until
	if p.policy != nil && i < len(p.market.Pools) {
		if t := p.policy.Avoided(i); t > p.axis(now) {
			if at := p.began.Add(time.Duration(t) * time.Second); at.After(until) {
				until = at
			}
		}
	}
	return until, until.After(now)
}

// lines says in words what there is to do.
func (p *pool) lines(a *Advice) {
	say := func(why Reason, format string, args ...any) {
		a.Lines = append(a.Lines, Line{why, fmt.Sprintf(format, args...)})
	}
	if a.Asked > 0 {
		say(Bridge, "buy %s on demand: no spot machine would be ready in time", plural(a.Asked))
	}
	for _, q := range a.Places {
		if q.Ask > 0 {
			text := "%s fewer than wanted"
			if q.Why == SpotReady {
				text = "%s on demand stands in for spot"
			}
			say(q.Why, "buy %s in %s, at %s $/h: "+text, plural(q.Ask), q.Place, q.Price, plural(q.Ask))
		}
	}
	if p.free > 0 {
		say(SpotReady, "let %s on demand go: enough spot machines are ready", plural(p.free))
	}
	for _, q := range a.Places {
		if q.Release > 0 {
			say(Surplus, "let %s in %s go: there are more than wanted", plural(q.Release), q.Place)
		}
		if q.Move > 0 {
			say(CheaperPool, "move %s to %s, at %s $/h: cheaper than the dearest in use", plural(q.Move), q.Place, q.Price)
		}
	}
	for _, q := range a.Places {
		if !q.Avoided.IsZero() {
			why, text := PoolReclaimed, "it was reclaimed"
			if q.Reclaims == 0 {
				why, text = SpotMissing, "what was asked for there did not come"
			} else if q.Reclaims > 1 {
				text = fmt.Sprintf("it was reclaimed %d times", q.Reclaims)
			}
			say(why, "buy nothing in %s until %s: %s", q.Place, q.Avoided.UTC().Format(time.RFC3339), text)
		}
	}
	if len(a.Lines) == 0 && len(p.market.Pools) > 0 {
		say("", "nothing: %s wanted, %d ready", plural(a.Want), a.Ready)
	}
}
