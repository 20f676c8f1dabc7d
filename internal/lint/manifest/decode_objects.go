package manifest

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

func decodeBudget(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	b := &Budget{Meta: m}
	if spec != nil {
		if s := d.deref(spec); s.Kind == yaml.MappingNode && s.Style&yaml.FlowStyle == 0 && len(s.Content) > 0 && s == spec {
			b.SpecFirst = d.pos(s.Content[0])
		}
		d.fields(spec, "spec", func(key string, k, v *yaml.Node) {
			switch key {
			case "selector":
				b.Selector = d.selector(v, "spec.selector")
			case "minAvailable":
				b.MinAvailable = d.amount(v, "spec.minAvailable")
			case "maxUnavailable":
				b.MaxUnavailable = d.amount(v, "spec.maxUnavailable")
			case "unhealthyPodEvictionPolicy":
				b.UnhealthyPolicy = d.text(v, "spec.unhealthyPodEvictionPolicy")
			}
		})
	}
	out.Budgets = append(out.Budgets, b)
}

func decodeService(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	s := &Service{Meta: m}
	if spec != nil {
		d.fields(spec, "spec", func(key string, k, v *yaml.Node) {
			switch key {
			case "type":
				s.Type = d.text(v, "spec.type").Value
			case "selector":
				s.Selector = d.pairs(v, "spec.selector")
			case "publishNotReadyAddresses":
				s.PublishNotReady = d.yes(v, "spec.publishNotReadyAddresses")
			case "ports":
				d.items(v, "spec.ports", func(item *yaml.Node) {
					var p ServicePort
					d.fields(item, "spec.ports[]", func(key string, k, v *yaml.Node) {
						switch key {
						case "name":
							p.Name = d.text(v, "spec.ports[].name").Value
						case "port":
							p.Port = d.number(v, "spec.ports[].port").Value
						case "targetPort":
							if d.deref(v).Tag == "!!int" {
								p.TargetPort = d.number(v, "spec.ports[].targetPort").Value
							} else {
								p.TargetName = d.text(v, "spec.ports[].targetPort").Value
							}
						}
					})
					if p.TargetPort == 0 && p.TargetName == "" {
						p.TargetPort = p.Port
					}
					s.Ports = append(s.Ports, p)
				})
			}
		})
	}
	out.Services = append(out.Services, s)
}

func decodeHPA(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	d.scaler(m, spec, out, "minReplicas", "maxReplicas")
}

func decodeScaledObject(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	d.scaler(m, spec, out, "minReplicaCount", "maxReplicaCount")
}

func (d *decoder) scaler(m Meta, spec *yaml.Node, out *Set, minKey, maxKey string) {
	s := &Scaler{Meta: m, TargetKind: "Deployment"}
	if spec != nil {
		d.fields(spec, "spec", func(key string, k, v *yaml.Node) {
			switch key {
			case minKey:
				s.Min = d.number(v, "spec."+minKey)
			case maxKey:
				s.Max = d.number(v, "spec."+maxKey)
			case "scaleTargetRef":
				d.fields(v, "spec.scaleTargetRef", func(key string, k, v *yaml.Node) {
					switch key {
					case "kind":
						s.TargetKind = d.text(v, "spec.scaleTargetRef.kind").Or(s.TargetKind)
					case "name":
						s.TargetName = d.text(v, "spec.scaleTargetRef.name").Value
					}
				})
			}
		})
	}
	out.Scalers = append(out.Scalers, s)
}

func decodeIngress(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	in := &Ingress{Meta: m}
	backend := func(n *yaml.Node) {
		d.fields(n, "backend", func(key string, k, v *yaml.Node) {
			switch key {
			case "serviceName": // extensions/v1beta1
				in.Services = append(in.Services, d.text(v, "backend.serviceName").Value)
			case "service":
				d.fields(v, "backend.service", func(key string, k, v *yaml.Node) {
					if key == "name" {
						in.Services = append(in.Services, d.text(v, "backend.service.name").Value)
					}
				})
			}
		})
	}
	if spec != nil {
		d.fields(spec, "spec", func(key string, k, v *yaml.Node) {
			switch key {
			case "defaultBackend", "backend":
				backend(v)
			case "rules":
				d.items(v, "spec.rules", func(rule *yaml.Node) {
					d.fields(rule, "spec.rules[]", func(key string, k, v *yaml.Node) {
						if key != "http" {
							return
						}
						d.fields(v, "spec.rules[].http", func(key string, k, v *yaml.Node) {
							if key != "paths" {
								return
							}
							d.items(v, "spec.rules[].http.paths", func(path *yaml.Node) {
								d.fields(path, "spec.rules[].http.paths[]", func(key string, k, v *yaml.Node) {
									if key == "backend" {
										backend(v)
									}
								})
							})
						})
					})
				})
			}
		})
	}
	out.Ingresses = append(out.Ingresses, in)
}

func decodeTargetGroup(d *decoder, m Meta, n, spec *yaml.Node, out *Set) {
	g := &TargetGroup{Meta: m}
	if spec != nil {
		d.fields(spec, "spec", func(key string, k, v *yaml.Node) {
			if key != "serviceRef" {
				return
			}
			d.fields(v, "spec.serviceRef", func(key string, k, v *yaml.Node) {
				if key == "name" {
					g.Service = d.text(v, "spec.serviceRef.name").Value
				}
			})
		})
	}
	out.TargetGroups = append(out.TargetGroups, g)
}

// A StorageClass has no spec: its fields are at the top.
func decodeStorageClass(d *decoder, m Meta, n, _ *yaml.Node, out *Set) {
	c := &StorageClass{Meta: m}
	d.fields(n, "StorageClass", func(key string, k, v *yaml.Node) {
		switch key {
		case "provisioner":
			c.Provisioner = d.text(v, "provisioner").Value
		case "volumeBindingMode":
			c.BindingMode = d.text(v, "volumeBindingMode")
		case "allowedTopologies":
			d.items(v, "allowedTopologies", func(*yaml.Node) { c.HasTopologies = true })
		}
	})
	c.Default = strings.EqualFold(m.Annotations.Get("storageclass.kubernetes.io/is-default-class"), "true")
	out.StorageClasses = append(out.StorageClasses, c)
}
