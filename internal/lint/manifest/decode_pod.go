package manifest

import (
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"
)

func (d *decoder) selector(n *yaml.Node, what string) Selector {
	if isNull(d.deref(n)) {
		return Selector{}
	}
	s := Selector{Set: true, Pos: d.pos(n)}
	d.fields(n, what, func(key string, k, v *yaml.Node) {
		switch key {
		case "matchLabels":
			s.MatchLabels = d.pairs(v, what+".matchLabels")
		case "matchExpressions":
			s.Expressions = d.requirements(v, what+".matchExpressions")
		}
	})
	return s
}

func (d *decoder) requirements(n *yaml.Node, what string) (out []Requirement) {
	d.items(n, what, func(item *yaml.Node) {
		r := Requirement{Pos: d.pos(item)}
		d.fields(item, what+"[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "key":
				f := d.text(v, what+"[].key")
				r.Key, r.Pos = f.Value, f.Pos
			case "operator":
				r.Operator = d.text(v, what+"[].operator").Value
			case "values":
				r.Values = d.texts(v, what+"[].values")
			}
		})
		out = append(out, r)
	})
	return out
}

func (d *decoder) tolerations(n *yaml.Node) (out []Toleration) {
	d.items(n, "tolerations", func(item *yaml.Node) {
		t := Toleration{Pos: d.pos(item)}
		d.fields(item, "tolerations[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "key":
				t.Key = d.text(v, "tolerations[].key").Value
			case "operator":
				t.Operator = d.text(v, "tolerations[].operator").Value
			case "value":
				t.Value = d.text(v, "tolerations[].value").Value
			case "effect":
				t.Effect = d.text(v, "tolerations[].effect").Value
			}
		})
		out = append(out, t)
	})
	return out
}

func (d *decoder) spread(n *yaml.Node) (out []Spread) {
	const at = "topologySpreadConstraints"
	d.items(n, at, func(item *yaml.Node) {
		s := Spread{Pos: d.pos(item)}
		d.fields(item, at+"[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "maxSkew":
				s.MaxSkew = d.number(v, at+"[].maxSkew")
			case "minDomains":
				s.MinDomains = d.number(v, at+"[].minDomains")
			case "topologyKey":
				s.TopologyKey = d.text(v, at+"[].topologyKey").Value
			case "whenUnsatisfiable":
				s.WhenUnsatisfiable = d.text(v, at+"[].whenUnsatisfiable")
			case "nodeTaintsPolicy":
				s.NodeTaintsPolicy = d.text(v, at+"[].nodeTaintsPolicy").Value
			case "labelSelector":
				s.Selector = d.selector(v, at+"[].labelSelector")
			}
		})
		out = append(out, s)
	})
	return out
}

func (d *decoder) affinity(n *yaml.Node, pod *Pod) {
	d.fields(n, "affinity", func(key string, k, v *yaml.Node) {
		switch key {
		case "nodeAffinity":
			d.nodeAffinity(v, pod)
		case "podAntiAffinity":
			d.fields(v, "podAntiAffinity", func(key string, k, v *yaml.Node) {
				d.items(v, "podAntiAffinity."+key, func(item *yaml.Node) {
					switch key {
					case "requiredDuringSchedulingIgnoredDuringExecution":
						pod.AntiAffinity = append(pod.AntiAffinity, d.podTerm(item, true))
					case "preferredDuringSchedulingIgnoredDuringExecution":
						d.fields(item, "podAntiAffinity."+key, func(key string, k, v *yaml.Node) {
							if key == "podAffinityTerm" {
								pod.AntiAffinity = append(pod.AntiAffinity, d.podTerm(v, false))
							}
						})
					}
				})
			})
		}
	})
}

func (d *decoder) podTerm(n *yaml.Node, required bool) AntiAffinity {
	a := AntiAffinity{Pos: d.pos(n), Required: required}
	d.fields(n, "podAffinityTerm", func(key string, k, v *yaml.Node) {
		switch key {
		case "topologyKey":
			a.TopologyKey = d.text(v, "topologyKey").Value
		case "labelSelector":
			a.Selector = d.selector(v, "labelSelector")
		}
	})
	return a
}

func (d *decoder) nodeAffinity(n *yaml.Node, pod *Pod) {
	term := func(n *yaml.Node) (out []Requirement) {
		d.fields(n, "nodeSelectorTerm", func(key string, k, v *yaml.Node) {
			if key == "matchExpressions" {
				out = d.requirements(v, "matchExpressions")
			}
		})
		return out
	}
	d.fields(n, "nodeAffinity", func(key string, k, v *yaml.Node) {
		switch key {
		case "requiredDuringSchedulingIgnoredDuringExecution":
			d.fields(v, "nodeAffinity."+key, func(key string, k, v *yaml.Node) {
				if key == "nodeSelectorTerms" {
					d.items(v, key, func(item *yaml.Node) { pod.NodeTerms = append(pod.NodeTerms, term(item)) })
				}
			})
		case "preferredDuringSchedulingIgnoredDuringExecution":
			d.items(v, "nodeAffinity."+key, func(item *yaml.Node) {
				d.fields(item, "nodeAffinity."+key, func(key string, k, v *yaml.Node) {
					if key == "preference" {
						pod.PreferredNodes = append(pod.PreferredNodes, term(v))
					}
				})
			})
		}
	})
}

func (d *decoder) preStop(k, v *yaml.Node) *PreStop {
	p := &PreStop{Pos: d.pos(k)}
	d.fields(v, "preStop", func(key string, k, v *yaml.Node) {
		switch key {
		case "sleep":
			d.fields(v, "preStop.sleep", func(key string, k, v *yaml.Node) {
				if key == "seconds" {
					p.Sleep = d.number(v, "preStop.sleep.seconds")
				}
			})
		case "exec":
			d.fields(v, "preStop.exec", func(key string, k, v *yaml.Node) {
				if key == "command" {
					p.Sleep = sleepOf(d.texts(v, "preStop.exec.command"))
				}
			})
		}
	})
	return p
}

// sleepWord finds "sleep 15", "/bin/sleep 15s" and "sleep 1m" as a command of
// its own, at the start of a script or after a separator.
var sleepWord = regexp.MustCompile(`(?:^|[;&|\n]\s*)(?:\S*/)?sleep\s+(\d+(?:\.\d+)?)([smh]?)\s*(?:$|[;&|\n])`)

// sleepOf returns the length in seconds that a command sleeps, summed over the
// sleeps of a shell script. A script with a loop or a condition, and one that
// sleeps in the background, is of unknown length.
func sleepOf(command []Field[string]) Field[int] {
	if len(command) == 0 {
		return Field[int]{}
	}
	script := command[len(command)-1]
	if n := len(command); n >= 2 && loneSleep.MatchString(command[n-2].Value) {
		script = Field[string]{Value: "sleep " + command[n-1].Value, Set: true, Pos: command[n-1].Pos}
	}
	if compound.MatchString(script.Value) {
		return Field[int]{}
	}
	total, found := 0, false
	rest := script.Value
	for {
		m := sleepWord.FindStringSubmatchIndex(rest)
		if m == nil {
			break
		}
		unit := rest[m[4]:m[5]]
		if unit == "" {
			unit = "s"
		}
		length, err := time.ParseDuration(rest[m[2]:m[3]] + unit)
		if err != nil || length > 24*time.Hour {
			return Field[int]{}
		}
		total, found = total+int(length/time.Second), true
		rest = rest[m[5]:]
	}
	return Field[int]{Value: total, Set: found, Pos: script.Pos}
}

var (
	loneSleep = regexp.MustCompile(`^(?:\S*/)?sleep$`)
	compound  = regexp.MustCompile(`(?:^|[\s;])(?:while|until|for|if|case|trap)\s|\|\||[^&]&(?:[^&]|$)`)
)
