package lint

import (
	"fmt"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func hostPortConflict() Rule {
	return Rule{
		ID:       "EK030",
		Title:    "host port that is taken on the nodes, or wants more nodes than there are",
		Severity: Error,
		Why: `Only one pod of a node can have a host port. If a DaemonSet holds it on every node, no pod of another workload with
that port is ever placed. A workload with a host port needs one node for each replica, and one more for a replacement
to start before the old pod has ended.`,
		Remedy: "Use a Service instead of the host port, or another port number.",
		Bad: `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-agent}
spec:
  selector: {matchLabels: {app: node-agent}}
  template:
    metadata: {labels: {app: node-agent}}
    spec:
      containers:
        - name: agent
          image: agent
          ports: [{containerPort: 9100, hostPort: 9100}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: exporter}
spec:
  selector: {matchLabels: {app: exporter}}
  template:
    metadata: {labels: {app: exporter}}
    spec:
      containers:
        - name: exporter
          image: exporter
          ports: [{containerPort: 8080, hostPort: 9100}] # EK030
`,
		Good: `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-agent}
spec:
  selector: {matchLabels: {app: node-agent}}
  template:
    metadata: {labels: {app: node-agent}}
    spec:
      containers:
        - name: agent
          image: agent
          ports: [{containerPort: 9100, hostPort: 9100}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: exporter}
spec:
  selector: {matchLabels: {app: exporter}}
  template:
    metadata: {labels: {app: exporter}}
    spec:
      containers:
        - name: exporter
          image: exporter
          ports: [{containerPort: 8080}]
`,
		Check: func(t *Target) (out []Finding) {
			// What DaemonSets hold on every node.
			held := map[string]*App{}
			for _, a := range t.Apps {
				if a.Kind != "DaemonSet" || len(a.Pod.NodeSelector) > 0 || len(a.Pod.NodeTerms) > 0 {
					continue
				}
				for _, p := range hostPorts(a) {
					if first := held[p.key]; first == nil {
						held[p.key] = a
					} else if first.Name != a.Name || first.Namespace != a.Namespace {
						out = append(out, at(&a.Meta, p.pos, "host port %s is held on every node by DaemonSet %s", p.key, first.Name))
					}
				}
			}
			for _, a := range t.Apps {
				if a.Kind == "DaemonSet" {
					continue
				}
				for _, p := range hostPorts(a) {
					if ds := held[p.key]; ds != nil {
						out = append(out, at(&a.Meta, p.pos, "host port %s is held on every node by DaemonSet %s: the pods stay Pending", p.key, ds.Name))
					} else if nodes, known := maxNodes(a.Placement.Pools); known && a.Replicated() && a.Floor() > nodes {
						out = append(out, at(&a.Meta, p.pos, "host port %s allows one pod a node; %s has %d replicas, its pools at most %d nodes", p.key, a.Name, a.Floor(), nodes))
					}
				}
			}
			return out
		},
	}
}

type hostPort struct {
	key string // number/protocol
	pos manifest.Pos
}

// hostPorts returns the ports that each pod takes of its node. On the host's
// network every declared port is one.
func hostPorts(a *App) (out []hostPort) {
	for i := range a.Pod.Containers {
		for _, p := range a.Pod.Containers[i].Ports {
			number, pos := p.HostPort.Value, p.HostPort.Pos
			if a.Pod.HostNetwork {
				number, pos = p.Number, a.Pod.Containers[i].Pos
			}
			if number != 0 && (p.HostIP == "" || p.HostIP == "0.0.0.0") {
				out = append(out, hostPort{fmt.Sprintf("%d/%s", number, p.Protocol), pos})
			}
		}
	}
	return out
}
