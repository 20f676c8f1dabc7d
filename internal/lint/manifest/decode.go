package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Decode reads one document into the model. The errors are of type *Error; the
// Set holds everything that could be read in spite of them.
func Decode(file string, doc Document) (*Set, []*Error) {
	set := &Set{Documents: 1}
	d := &decoder{file: file, offset: doc.Line - 1}
	root, err := parse(file, doc)
	if err != nil {
		return set, []*Error{err}
	}
	if root == nil {
		return set, nil
	}
	return set, d.all(root, set)
}

// all decodes a document's objects into set.
func (d *decoder) all(root *yaml.Node, set *Set) (errs []*Error) {
	seen := map[Pos]bool{}
	report := func(e *Error) {
		// An alias makes one fault appear in many objects.
		if !seen[e.Pos] {
			seen[e.Pos] = true
			errs = append(errs, e)
		}
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case errTooMany:
			report(&Error{File: d.file, Pos: d.pos(root), Msg: fmt.Sprintf("the document's aliases expand to more than %d values; the rest of it was skipped", maxVisits)})
		default:
			panic(r)
		}
	}()
	d.each(root, 0, set, report)
	return errs
}

// parse turns text into nodes. Aliases are left as references, so a document
// that expands enormously is still small here.
func parse(file string, doc Document) (root *yaml.Node, failure *Error) {
	defer func() {
		if r := recover(); r != nil {
			// The YAML package panics on some malformed input. That is a fault of
			// one document and must not cost the others.
			failure = &Error{File: file, Pos: Pos{doc.Line, 1}, Msg: fmt.Sprintf("malformed YAML: %v", r)}
		}
	}()
	text := doc.Text
	if trimmed := bytes.TrimLeft(text, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' && bytes.IndexByte(text, '\t') >= 0 {
		// JSON may be indented with tabs, which YAML refuses. In JSON a tab is
		// never part of a string.
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, syntaxError(file, doc, err)
	}
	if len(node.Content) == 0 {
		return nil, nil
	}
	return node.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxError moves the place out of the parser's message, whose lines count
// from the start of the document.
func syntaxError(file string, doc Document, err error) *Error {
	msg := err.Error()
	pos := Pos{doc.Line, 1}
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		msg = msg[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			pos.Line += n - 1
		}
	}
	hint := ""
	if bytes.Contains(doc.Text, []byte("{{")) {
		hint = " (this looks like a Helm template: lint the output of helm template)"
	}
	return &Error{File: file, Pos: pos, Msg: "malformed YAML: " + msg + hint}
}

// maxListDepth bounds lists within lists.
const maxListDepth = 4

// each decodes an object, or each object of a list.
func (d *decoder) each(n *yaml.Node, depth int, set *Set, report func(*Error)) {
	d.object(n, set, report, func(items *yaml.Node) {
		if depth >= maxListDepth {
			report(&Error{File: d.file, Pos: d.pos(items), Msg: "lists nest too deeply"})
			return
		}
		items = d.deref(items)
		if items.Kind != yaml.SequenceNode {
			return
		}
		for _, item := range items.Content {
			d.each(item, depth+1, set, report)
		}
	})
}

// object decodes one object and adds it to set. Items of a list are handed to
// list instead.
func (d *decoder) object(n *yaml.Node, set *Set, report func(*Error), list func(*yaml.Node)) {
	d.err = nil
	n = d.deref(n)
	if n.Kind != yaml.MappingNode {
		set.Skipped++
		return
	}
	m := Meta{File: d.file, Pos: d.pos(n)}
	var metadata, spec, items *yaml.Node
	d.visit(len(n.Content))
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch k, v := n.Content[i], n.Content[i+1]; k.Value {
		case "apiVersion":
			m.APIVersion = d.deref(v).Value
		case "kind":
			m.Kind, m.Pos = d.deref(v).Value, d.pos(v)
		case "metadata":
			metadata = v
		case "spec":
			spec = v
		case "items":
			items = v
		}
	}
	if m.APIVersion == "" || m.Kind == "" {
		set.Skipped++
		return
	}
	if items != nil && strings.HasSuffix(m.Kind, "List") {
		list(items)
		return
	}
	decode := kindDecoders(&m)
	if decode == nil {
		set.Skipped++
		if !knownGroup(m.Group()) {
			if metadata != nil {
				d.metadata(metadata, &m)
			}
			set.Foreign = append(set.Foreign, &m)
		}
		return
	}
	if metadata != nil {
		d.metadata(metadata, &m)
	}
	one := &Set{}
	decode(d, m, n, spec, one)
	if d.err != nil {
		report(d.err)
		return
	}
	set.Add(one)
}

func (d *decoder) metadata(n *yaml.Node, m *Meta) {
	d.fields(n, "metadata", func(key string, k, v *yaml.Node) {
		switch key {
		case "name":
			m.Name = d.scalar(v, "metadata.name").Value
		case "generateName":
			if m.Name == "" {
				m.Name = d.scalar(v, "metadata.generateName").Value
			}
		case "namespace":
			m.Namespace = d.scalar(v, "metadata.namespace").Value
		case "labels":
			m.Labels = d.pairs(v, "metadata.labels")
		case "annotations":
			m.Annotations = d.pairs(v, "metadata.annotations")
		}
	})
	if kv, ok := m.Annotations.Find(IgnoreAnnotation); ok {
		m.Ignores = ParseIgnores(kv.Value, kv.Pos)
	}
}

// An objectDecoder decodes the object n, whose spec is already found.
type objectDecoder func(d *decoder, m Meta, n, spec *yaml.Node, out *Set)

// kindDecoders returns the decoder for a kind, or nil where no rule reads it.
func kindDecoders(m *Meta) objectDecoder {
	switch m.Group() {
	case "":
		switch m.Kind {
		case "Pod":
			return decodePod
		case "Service":
			return decodeService
		case "ReplicationController":
			return decodeWorkload
		}
	case "apps", "extensions":
		switch m.Kind {
		case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
			return decodeWorkload
		case "Ingress":
			return decodeIngress
		}
	case "batch":
		switch m.Kind {
		case "Job", "CronJob":
			return decodeJob
		}
	case "policy":
		if m.Kind == "PodDisruptionBudget" {
			return decodeBudget
		}
	case "autoscaling":
		if m.Kind == "HorizontalPodAutoscaler" {
			return decodeHPA
		}
	case "keda.sh":
		if m.Kind == "ScaledObject" {
			return decodeScaledObject
		}
	case "networking.k8s.io":
		if m.Kind == "Ingress" {
			return decodeIngress
		}
	case "elbv2.k8s.aws":
		if m.Kind == "TargetGroupBinding" {
			return decodeTargetGroup
		}
	case "storage.k8s.io":
		if m.Kind == "StorageClass" {
			return decodeStorageClass
		}
	case "karpenter.sh":
		if m.Kind == "NodePool" {
			return decodeNodePool
		}
	case "karpenter.k8s.aws":
		if m.Kind == "EC2NodeClass" {
			return decodeNodeClass
		}
	case "evenkeel.dev":
		if m.Kind == "Platform" {
			return decodePlatform
		}
	case "eksctl.io":
		if m.Kind == "ClusterConfig" {
			return decodeClusterConfig
		}
	}
	return nil
}

// decodePlatform notes that there is a spec. What it stands for is in what is
// rendered from it.
func decodePlatform(_ *decoder, m Meta, _, _ *yaml.Node, out *Set) {
	out.Platforms = append(out.Platforms, &m)
}

// knownGroup reports whether no controller of the group creates pods of its
// own. Objects of other groups may stand for workloads that we cannot see.
func knownGroup(group string) bool {
	switch group {
	case "", "apps", "batch", "policy", "autoscaling", "extensions", "keda.sh", "karpenter.sh", "karpenter.k8s.aws", "eksctl.io",
		"cert-manager.io", "networking.istio.io", "security.istio.io", "telemetry.istio.io", "kustomize.config.k8s.io",
		"cilium.io", "elbv2.k8s.aws", "traefik.io", "external-secrets.io", "evenkeel.dev":
		return true
	case "monitoring.coreos.com":
		return false // Prometheus and Alertmanager objects become StatefulSets
	}
	return strings.HasSuffix(group, ".k8s.io")
}
