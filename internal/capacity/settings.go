package capacity

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// settle brings the group's settings to where the advice wants them: record, act,
// mark.
func (p *pool) settle(in Input, a *Advice, out *Output) {
	g, now := p.group, in.Now
	if g.Kind == "" {
		return
	}
	r, recorded := in.Records[g.Key()]
	if recorded && !r.Left.IsZero() {
		p.hinder(a, now, PersonsChange, fmt.Sprintf("%s is left alone: somebody else has set it at %s; take its entry away to have it changed again", g.Name, r.Left.UTC().Format(time.RFC3339)), out)
		return
	}
	if !recorded {
		r = Record{Was: g.Set, From: g.Set, Want: g.Set, Made: true}
	}
	if !r.Made {
		switch {
		case g.Set.Equal(r.Want):
			r.Made = true
			out.Effects = append(out.Effects, p.store(r, r.Reason))
			out.Events = append(out.Events, Event{Kind: Marked, At: now, Group: g, Reason: r.Reason, Text: difference(r.From, r.Want)})
		case g.Set.Equal(r.From):
			out.Effects = append(out.Effects, Effect{Kind: Change, Key: g.Key(), Group: g, From: r.From, To: r.Want, Reason: r.Reason})
		default:
			p.leave(r, now, out)
		}
		return
	}
	if !g.Set.Equal(r.Want) {
		p.leave(r, now, out)
		return
	}
	if p.c.Mode == Restore {
		switch {
		case !r.Want.Equal(r.Was):
			p.change(r, r.Was, Restored, now, out)
		case recorded:
			out.Effects = append(out.Effects, Effect{Kind: Store, Key: g.Key(), Group: g, Reason: Restored})
		}
		return
	}
	if g.Fixed != "" {
		p.note("its settings are not changed: " + g.Fixed)
		a.Notes = p.notes
		return
	}
	target, why := p.target(in, a, r.Was, out)
	next := p.keep(r.Want, target)
	if next.Equal(r.Want) {
		switch {
		case target.Equal(r.Want):
			p.calm = time.Time{}
			if recorded && r.Want.Equal(r.Was) && len(p.holds(now)) == 0 && len(r.recent(now)) == 0 {
				out.Effects = append(out.Effects, Effect{Kind: Store, Key: g.Key(), Group: g, Reason: Calmed})
			}
			return
		case p.calm.IsZero():
			p.calm = now
		}
		if back := p.calm.Add(p.c.Calm); now.Before(back) {
			out.Wake = earliest(out.Wake, back)
			return
		}
		next, why = target, Calmed
	}
	if ready := r.At.Add(p.c.Pause); now.Before(ready) {
		out.Wake = earliest(out.Wake, ready)
		return
	}
	if recent := r.recent(now); len(recent) >= p.c.Hourly {
		p.hinder(a, now, TooManyChanges, fmt.Sprintf("%s was changed %d times within an hour: no more until %s", g.Name, len(recent), clock(recent[0].Add(time.Hour))), out)
		out.Wake = earliest(out.Wake, recent[0].Add(time.Hour))
		return
	}
	p.change(r, next, why, now, out)
}

// change records what is to be set. The change itself follows when that is stored.
func (p *pool) change(r Record, to Settings, why Reason, now time.Time, out *Output) {
	p.calm = time.Time{}
	r.From, r.Want, r.Made, r.Reason, r.At = r.Want, to, false, why, now
	r.Changes, r.Holds = append(r.recent(now), now), p.holds(now)
	out.Effects = append(out.Effects, p.store(r, why))
	out.Events = append(out.Events, Event{Kind: Recorded, At: now, Group: p.group, Reason: why, Text: difference(r.From, r.Want)})
}

// leave records that somebody else has changed the group.
func (p *pool) leave(r Record, now time.Time, out *Output) {
	text := fmt.Sprintf("somebody else has set %s (%s): it is left alone until its entry is taken away", p.group.Name, difference(r.Want, p.group.Set))
	r.Left = now
	out.Effects = append(out.Effects, p.store(r, PersonsChange))
	out.Events = append(out.Events, Event{Kind: Left, At: now, Group: p.group, Reason: PersonsChange, Text: text})
}

func (p *pool) store(r Record, why Reason) Effect {
	return Effect{Kind: Store, Key: p.group.Key(), Record: &r, Group: p.group, Reason: why}
}

// hinder says once why something that should be done is not.
func (p *pool) hinder(a *Advice, now time.Time, why Reason, text string, out *Output) {
	if !slices.Contains(a.Hindered, why) {
		a.Hindered = append(a.Hindered, why)
	}
	a.Notes = append(a.Notes, text)
	if p.hindered[why] {
		return
	}
	p.hindered[why] = true
	out.Events = append(out.Events, Event{Kind: Hindered, At: now, Group: p.group, Reason: why, Text: text})
}

// holds are the places that are avoided for having been reclaimed.
func (p *pool) holds(now time.Time) []Hold {
	var out []Hold
	for _, s := range p.places {
		if now.Before(s.hold.Until) {
			out = append(out, s.hold)
		}
	}
	slices.SortFunc(out, func(a, b Hold) int { return a.Place.Compare(b.Place) })
	return out
}

// target is how the group should be set now, starting from how a person has set it.
func (p *pool) target(in Input, a *Advice, was Settings, out *Output) (Settings, Reason) {
	before := p.hindered
	var s Settings
	var why Reason
	if p.group.Kind == ScalingGroup {
		s, why = p.targetOfScalingGroup(in.Now, a, was, out)
	} else {
		s, why = p.targetOfNodePool(in, a, was, out)
	}
	p.hindered = make(map[Reason]bool) // what hinders no more may be told again
	for _, r := range a.Hindered {
		p.hindered[r] = before[r]
	}
	return s, why
}

// heldPlaces are the places of holds.
func (p *pool) heldPlaces(now time.Time) []Place {
	var out []Place
	for _, h := range p.holds(now) {
		out = append(out, h.Place)
	}
	return out
}

// offered lists what the group buys: types and zones, as declared or, where nothing
// is, as seen.
func (p *pool) offered() (types, zones []string) {
	types, zones = slices.Clone(p.group.Types), slices.Clone(p.group.Zones)
	for _, s := range p.places {
		if len(p.group.Types) == 0 {
			types = append(types, s.InstanceType)
		}
		if len(p.group.Zones) == 0 {
			zones = append(zones, s.Zone)
		}
	}
	return union(types, nil), union(zones, nil)
}

// targetOfScalingGroup raises the base on demand to what the policy wants there, and
// leaves out types that were just reclaimed. Zones stay: a group that leaves a zone
// terminates what it has there.
func (p *pool) targetOfScalingGroup(now time.Time, a *Advice, was Settings, out *Output) (Settings, Reason) {
	s, why := was, Calmed
	for _, at := range p.heldPlaces(now) {
		rest := slices.DeleteFunc(slices.Clone(s.Offers), func(o string) bool { return typeOf(o) == at.InstanceType })
		switch {
		case len(rest) == len(s.Offers):
		case len(rest) == 0:
			p.hinder(a, now, LastPlace, fmt.Sprintf("%s is not excluded: it is the last type that %s offers", at.InstanceType, p.group.Name), out)
		default:
			s.Offers, why = rest, PoolReclaimed
		}
	}
	if a.Asked > 0 && a.BridgeNodes > s.Base {
		s.Base, why = a.BridgeNodes, Bridge
	} else if a.BridgeNodes > s.Base && a.Group.Set.Base > s.Base {
		// The bridge stands: it must not be taken away before spot is ready.
		s.Base = min(a.BridgeNodes, a.Group.Set.Base)
	}
	return s, why
}

// targetOfNodePool excludes places that were just reclaimed, where that replaces
// nothing that stays, and lowers the weight below that of NodePools which sell on
// demand while the policy wants machines from there.
func (p *pool) targetOfNodePool(in Input, a *Advice, was Settings, out *Output) (Settings, Reason) {
	s, why, now := was, Calmed, in.Now
	types, zones := p.offered()
	keepsType, keepsZone := p.staying()
	left := func(all, none []string) int {
		return len(slices.DeleteFunc(slices.Clone(all), func(v string) bool { return slices.Contains(none, v) }))
	}
	noType := func(v string) bool { return slices.Contains(s.NoTypes, v) }
	noZone := func(v string) bool { return slices.Contains(s.NoZones, v) }
	exclude := func(list *[]string, all []string, value string, stay map[string]bool) bool {
		if stay[value] || left(all, union(*list, []string{value})) == 0 {
			return false
		}
		*list, why = union(*list, []string{value}), PoolReclaimed
		return true
	}
	held := p.heldPlaces(now)
	// A zone in which every type is held goes as one.
	for _, zone := range zones {
		n := 0
		for _, t := range types {
			if noType(t) || slices.ContainsFunc(held, func(h Place) bool { return h.Zone == zone && h.InstanceType == t }) {
				n++
			}
		}
		if n == len(types) && len(types) > 1 {
			exclude(&s.NoZones, zones, zone, keepsZone)
		}
	}
	open := 0
	for _, h := range held {
		if noType(h.InstanceType) || noZone(h.Zone) || exclude(&s.NoTypes, types, h.InstanceType, keepsType) || exclude(&s.NoZones, zones, h.Zone, keepsZone) {
			continue
		}
		open++
		if keepsType[h.InstanceType] && keepsZone[h.Zone] {
			p.hinder(a, now, MachinesThere, fmt.Sprintf("%s is not excluded from %s: it has other machines of that type and in that zone, and Karpenter would replace them", h, p.group.Name), out)
		} else if left(types, append(slices.Clone(s.NoTypes), h.InstanceType)) == 0 && left(zones, append(slices.Clone(s.NoZones), h.Zone)) == 0 {
			p.hinder(a, now, LastPlace, fmt.Sprintf("%s is not excluded from %s: nothing else would be left to buy", h, p.group.Name), out)
		}
	}
	all := open > 0 && open == len(p.places) // everything that it could buy was reclaimed
	if a.Asked > 0 || all {
		if weight, ok := p.below(in.Groups); !ok {
			p.hinder(a, now, NoBridgePool, fmt.Sprintf("the weight of %s is not lowered: no NodePool that sells on demand has a weight of 2 or more", p.group.Name), out)
		} else if s.Weight > weight {
			s.Weight, why = weight, Bridge
			if a.Asked == 0 {
				why = PoolReclaimed
			}
		}
	}
	return s, why
}

// below is the weight at which Karpenter tries every NodePool that sells on demand
// before this one; false if there is none, or none that is heavy enough.
func (p *pool) below(groups []Group) (int, bool) {
	least := 0
	for _, g := range groups {
		if g.Kind == NodePool && g.OnDemand && !g.Spot && g.Set.Weight >= 2 && (least == 0 || g.Set.Weight < least) {
			least = g.Set.Weight
		}
	}
	return least - 1, least > 0
}

// staying are the types and zones of machines that stay: Karpenter replaces a machine
// whose NodePool does not allow it any more.
func (p *pool) staying() (types, zones map[string]bool) {
	types, zones = make(map[string]bool), make(map[string]bool)
	for _, m := range p.nodes {
		if m.fate == stays {
			types[m.place.InstanceType], zones[m.place.Zone] = true, true
		}
	}
	return types, zones
}

// keep is the stricter of what is set and what is wanted: protection is added at
// once, and taken back only after a calm. An exclusion that would have machines
// replaced is not kept.
func (p *pool) keep(set, target Settings) Settings {
	out := target
	if set.Weight > 0 && set.Weight < out.Weight {
		out.Weight = set.Weight
	}
	out.Base = max(out.Base, set.Base)
	if len(set.Offers) > 0 && len(target.Offers) > 0 {
		both := slices.DeleteFunc(slices.Clone(target.Offers), func(o string) bool { return !slices.Contains(set.Offers, o) })
		if len(both) > 0 {
			out.Offers = both
		}
	}
	if p.group.Kind == NodePool {
		types, zones := p.offered()
		keepsType, keepsZone := p.staying()
		join := func(all, target, set []string, stay map[string]bool) []string {
			kept := slices.DeleteFunc(slices.Clone(set), func(v string) bool { return stay[v] && !slices.Contains(target, v) })
			both := union(target, kept)
			for _, v := range all {
				if !slices.Contains(both, v) {
					return both
				}
			}
			return target
		}
		out.NoTypes = join(types, target.NoTypes, set.NoTypes, keepsType)
		out.NoZones = join(zones, target.NoZones, set.NoZones, keepsZone)
	}
	return out
}

// difference says in words what differs between two settings.
func difference(from, to Settings) string {
	var out []string
	if from.Weight != to.Weight {
		out = append(out, fmt.Sprintf("weight %d to %d", from.Weight, to.Weight))
	}
	if from.Base != to.Base {
		out = append(out, fmt.Sprintf("on-demand base %d to %d", from.Base, to.Base))
	}
	list := func(what string, a, b []string) {
		for _, v := range b {
			if !slices.Contains(a, v) {
				out = append(out, what+" "+v)
			}
		}
	}
	list("exclude type", from.NoTypes, to.NoTypes)
	list("exclude zone", from.NoZones, to.NoZones)
	list("allow type", to.NoTypes, from.NoTypes)
	list("allow zone", to.NoZones, from.NoZones)
	list("leave out type", to.Offers, from.Offers)
	list("take in type", from.Offers, to.Offers)
	if len(out) == 0 {
		if !from.Equal(to) {
			return "the order of types"
		}
		return "nothing"
	}
	return strings.Join(out, ", ")
}
