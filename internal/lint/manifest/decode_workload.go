package manifest

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

func decodePod(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	w := &Workload{Meta: m}
	w.Pod.Labels, w.Pod.Annotations = m.Labels, m.Annotations
	if spec != nil {
		d.podSpec(spec, &w.Pod)
	}
	out.addWorkload(w)
}

func decodeWorkload(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	w := &Workload{Meta: m}
	if spec != nil {
		d.fields(spec, "spec", func(key string, k, v *yaml.Node) {
			switch key {
			case "replicas":
				w.Replicas = d.number(v, "spec.replicas")
			case "selector":
				if m.Kind == "ReplicationController" {
					w.Selector = Selector{Set: true, Pos: d.pos(v), MatchLabels: d.pairs(v, "spec.selector")}
				} else {
					w.Selector = d.selector(v, "spec.selector")
				}
			case "strategy":
				d.fields(v, "spec.strategy", func(key string, k, v *yaml.Node) {
					if key == "type" {
						w.Strategy = d.text(v, "spec.strategy.type")
					}
				})
			case "template":
				d.podTemplate(v, &w.Pod)
			case "volumeClaimTemplates":
				w.VolumeClaims = d.volumeClaims(v)
			}
		})
	}
	out.addWorkload(w)
}

func decodeJob(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	w := &Workload{Meta: m, Job: &Job{}}
	if spec != nil {
		d.jobSpec(spec, w)
	}
	out.addWorkload(w)
}

func (d *decoder) jobSpec(n *yaml.Node, w *Workload) {
	d.fields(n, "spec", func(key string, k, v *yaml.Node) {
		switch key {
		case "jobTemplate": // CronJob
			d.fields(v, "spec.jobTemplate", func(key string, k, v *yaml.Node) {
				if key == "spec" && w.Kind == "CronJob" {
					d.jobSpec(v, &Workload{Meta: Meta{Kind: "Job"}, Job: w.Job})
					d.fields(v, "spec.jobTemplate.spec", func(key string, k, v *yaml.Node) {
						if key == "template" {
							d.podTemplate(v, &w.Pod)
						}
					})
				}
			})
		case "backoffLimit":
			w.Job.BackoffLimit = d.number(v, "spec.backoffLimit")
		case "podFailurePolicy":
			w.Job.IgnoresDisruption = d.ignoresDisruption(v)
		case "template":
			d.podTemplate(v, &w.Pod)
		}
	})
}

func (d *decoder) ignoresDisruption(n *yaml.Node) (found bool) {
	const at = "spec.podFailurePolicy"
	d.fields(n, at, func(key string, k, v *yaml.Node) {
		if key != "rules" {
			return
		}
		d.items(v, at+".rules", func(rule *yaml.Node) {
			ignore, disruption := false, false
			d.fields(rule, at+".rules[]", func(key string, k, v *yaml.Node) {
				switch key {
				case "action":
					ignore = d.text(v, at+".rules[].action").Value == "Ignore"
				case "onPodConditions":
					d.items(v, at+".rules[].onPodConditions", func(c *yaml.Node) {
						d.fields(c, at+".rules[].onPodConditions[]", func(key string, k, v *yaml.Node) {
							disruption = disruption || key == "type" && d.text(v, "type").Value == "DisruptionTarget"
						})
					})
				}
			})
			found = found || ignore && disruption
		})
	})
	return found
}

// addWorkload sorts whole workloads from fragments: without a container that
// has an image there is no pod, and apps/v1 refuses an object without a
// selector. Both are how a kustomize patch looks.
func (s *Set) addWorkload(w *Workload) {
	needsSelector := w.Kind != "Pod" && w.Job == nil && w.Group() == "apps"
	if len(w.Pod.Containers) == 0 || needsSelector && !w.Selector.Set {
		s.Fragments = append(s.Fragments, &w.Meta)
		return
	}
	s.Workloads = append(s.Workloads, w)
}

func (d *decoder) volumeClaims(n *yaml.Node) (out []VolumeClaim) {
	const at = "spec.volumeClaimTemplates"
	d.items(n, at, func(item *yaml.Node) {
		claim := VolumeClaim{Pos: d.pos(item)}
		d.fields(item, at+"[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "metadata":
				var m Meta
				d.metadata(v, &m)
				claim.Name = m.Name
			case "spec":
				d.fields(v, at+"[].spec", func(key string, k, v *yaml.Node) {
					if key == "storageClassName" {
						claim.StorageClass = d.text(v, at+"[].spec.storageClassName")
					}
				})
			}
		})
		out = append(out, claim)
	})
	return out
}

func (d *decoder) podTemplate(n *yaml.Node, pod *Pod) {
	d.fields(n, "template", func(key string, k, v *yaml.Node) {
		switch key {
		case "metadata":
			var m Meta
			d.metadata(v, &m)
			pod.Labels, pod.Annotations = m.Labels, m.Annotations
		case "spec":
			d.podSpec(v, pod)
		}
	})
}

func (d *decoder) podSpec(n *yaml.Node, pod *Pod) {
	pod.Pos = d.pos(n)
	var containers, sidecars []Container
	d.fields(n, "template.spec", func(key string, k, v *yaml.Node) {
		switch key {
		case "nodeSelector":
			pod.NodeSelector = d.pairs(v, "nodeSelector")
		case "affinity":
			d.affinity(v, pod)
		case "tolerations":
			pod.Tolerations = d.tolerations(v)
		case "topologySpreadConstraints":
			pod.Spread = d.spread(v)
		case "terminationGracePeriodSeconds":
			pod.Grace = d.number(v, "terminationGracePeriodSeconds")
		case "readinessGates":
			d.items(v, "readinessGates", func(item *yaml.Node) {
				d.fields(item, "readinessGates[]", func(key string, k, v *yaml.Node) {
					if key == "conditionType" {
						pod.ReadinessGates = append(pod.ReadinessGates, d.text(v, "readinessGates[].conditionType").Value)
					}
				})
			})
		case "hostNetwork":
			pod.HostNetwork = d.yes(v, "hostNetwork")
		case "restartPolicy":
			pod.Restart = d.text(v, "restartPolicy").Value
		case "containers":
			containers = d.containers(v, "containers")
		case "initContainers":
			sidecars = slices.DeleteFunc(d.containers(v, "initContainers"), func(c Container) bool { return !c.Sidecar })
		case "volumes":
			pod.Volumes = d.volumes(v)
		}
	})
	pod.Containers = append(containers, sidecars...)
}

func (d *decoder) containers(n *yaml.Node, at string) (out []Container) {
	d.items(n, at, func(item *yaml.Node) {
		c := Container{Pos: d.pos(item)}
		image := false
		d.fields(item, at+"[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "name":
				c.Name, c.Pos = d.text(v, at+"[].name").Value, d.pos(k)
			case "image":
				image = true
			case "command":
				c.Command = d.texts(v, at+"[].command")
			case "args":
				c.Args = d.texts(v, at+"[].args")
			case "ports":
				c.Ports = d.ports(v, at+"[].ports")
			case "readinessProbe":
				c.Readiness = !isNull(d.deref(v))
			case "restartPolicy":
				c.Sidecar = d.text(v, at+"[].restartPolicy").Value == "Always"
			case "lifecycle":
				d.fields(v, at+"[].lifecycle", func(key string, k, v *yaml.Node) {
					if key == "preStop" && !isNull(d.deref(v)) {
						c.PreStop = d.preStop(k, v)
					}
				})
			case "resources":
				d.fields(v, at+"[].resources", func(key string, k, v *yaml.Node) {
					switch key {
					case "requests":
						c.Requests = d.quantities(v)
					case "limits":
						c.Limits = d.quantities(v)
					}
				})
			case "volumeMounts":
				c.Mounts = d.mounts(v)
			}
		})
		if image {
			out = append(out, c)
		}
	})
	return out
}

func (d *decoder) quantities(n *yaml.Node) (out Pairs) {
	d.fields(n, "resources", func(key string, k, v *yaml.Node) {
		if q := d.scalar(v, "resources."+key); q.Set {
			out = append(out, Pair{key, q.Value, q.Pos})
		}
	})
	return out
}

func (d *decoder) ports(n *yaml.Node, at string) (out []Port) {
	d.items(n, at, func(item *yaml.Node) {
		p := Port{Protocol: "TCP"}
		d.fields(item, at+"[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "name":
				p.Name = d.text(v, at+"[].name").Value
			case "containerPort":
				p.Number = d.number(v, at+"[].containerPort").Value
			case "protocol":
				p.Protocol = d.text(v, at+"[].protocol").Or("TCP")
			case "hostPort":
				p.HostPort = d.number(v, at+"[].hostPort")
			case "hostIP":
				p.HostIP = d.text(v, at+"[].hostIP").Value
			}
		})
		out = append(out, p)
	})
	return out
}

func (d *decoder) mounts(n *yaml.Node) (out []Mount) {
	d.items(n, "volumeMounts", func(item *yaml.Node) {
		var m Mount
		d.fields(item, "volumeMounts[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "name":
				m.Volume = d.text(v, "volumeMounts[].name").Value
			case "mountPath":
				m.Path = d.text(v, "volumeMounts[].mountPath").Value
			case "readOnly":
				m.ReadOnly = d.yes(v, "volumeMounts[].readOnly")
			}
		})
		out = append(out, m)
	})
	return out
}

func (d *decoder) volumes(n *yaml.Node) (out []Volume) {
	d.items(n, "volumes", func(item *yaml.Node) {
		vol := Volume{Pos: d.pos(item)}
		d.fields(item, "volumes[]", func(key string, k, v *yaml.Node) {
			switch key {
			case "name":
				vol.Name = d.text(v, "volumes[].name").Value
			case "hostPath":
				d.fields(v, "volumes[].hostPath", func(key string, k, v *yaml.Node) {
					if key == "path" {
						vol.HostPath = d.text(v, "volumes[].hostPath.path")
					}
				})
			case "emptyDir":
				vol.EmptyDir = true
				d.fields(v, "volumes[].emptyDir", func(key string, k, v *yaml.Node) {
					if key == "medium" {
						vol.Memory = d.text(v, "volumes[].emptyDir.medium").Value == "Memory"
					}
				})
			case "persistentVolumeClaim":
				d.fields(v, "volumes[].persistentVolumeClaim", func(key string, k, v *yaml.Node) {
					if key == "claimName" {
						vol.Claim = d.text(v, "claimName").Value
					}
				})
			}
		})
		out = append(out, vol)
	})
	return out
}
