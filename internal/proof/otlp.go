package proof

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// OTLP is what a collector of OpenTelemetry takes at /v1/traces as JSON
// (ExportTraceServiceRequest, in the mapping that OTLP/HTTP prescribes).
type OTLP struct {
	ResourceSpans []resourceSpans `json:"resourceSpans"`
}

type resourceSpans struct {
	Resource   resource     `json:"resource"`
	ScopeSpans []scopeSpans `json:"scopeSpans"`
}

type resource struct {
	Attributes []attribute `json:"attributes"`
}

type scopeSpans struct {
	Scope scope  `json:"scope"`
	Spans []span `json:"spans"`
}

type scope struct {
	Name string `json:"name"`
}

// span has its times in nanoseconds since 1970 and its IDs in hex: 64-bit numbers are
// text in the JSON mapping, and IDs are not base64 in OTLP's.
type span struct {
	TraceID    string      `json:"traceId"`
	SpanID     string      `json:"spanId"`
	Parent     string      `json:"parentSpanId,omitempty"`
	Name       string      `json:"name"`
	Kind       int         `json:"kind"`
	Start      string      `json:"startTimeUnixNano"`
	End        string      `json:"endTimeUnixNano"`
	Attributes []attribute `json:"attributes,omitempty"`
	Events     []spanEvent `json:"events,omitempty"`
	Status     *status     `json:"status,omitempty"`
}

type spanEvent struct {
	Time       string      `json:"timeUnixNano"`
	Name       string      `json:"name"`
	Attributes []attribute `json:"attributes,omitempty"`
}

type status struct {
	Code    int    `json:"code"`
	Message string `json:"message,omitempty"`
}

type attribute struct {
	Key   string `json:"key"`
	Value value  `json:"value"`
}

type value struct {
	Text   *string  `json:"stringValue,omitempty"`
	Double *float64 `json:"doubleValue,omitempty"`
}

const (
	kindInternal = 1 // SPAN_KIND_INTERNAL
	statusError  = 2 // STATUS_CODE_ERROR
)

// Spans turns Lines into traces: one for each interruption, from its notice to its
// end, with a span for the time until the cordon, and one for each pod from the first
// thing that was done about it to the last. The IDs follow from the interruption's
// name: the same Lines give the same traces, so sending them twice doubles nothing
// where a backend keeps a span once.
func Spans(lines []Line) OTLP {
	var out OTLP
	for _, l := range lines {
		attrs := append(texts("service.name", "evenkeel-controller", "k8s.cluster.name", l.Cluster, "k8s.node.name", l.Node), texts("cloud.availability_zone", l.Zone)...)
		out.ResourceSpans = append(out.ResourceSpans, resourceSpans{
			Resource:   resource{attrs},
			ScopeSpans: []scopeSpans{{Scope: scope{"github.com/evenkeel-dev/evenkeel"}, Spans: spansOf(l)}},
		})
	}
	if out.ResourceSpans == nil {
		out.ResourceSpans = []resourceSpans{} // not null
	}
	return out
}

func spansOf(l Line) []span {
	name := l.Cluster + "/" + l.Node + "/" + l.Interruption
	begin := l.Notice.Sent
	if begin.IsZero() {
		begin = l.Notice.Seen
	}
	if begin.IsZero() {
		begin = l.Cordoned
	}
	last := begin
	for _, at := range []time.Time{l.Cordoned, l.Emptied, l.Ended} {
		last = later(last, at)
	}
	root := span{
		TraceID: id(name, 16), SpanID: id(name+"/", 8), Name: "interruption", Kind: kindInternal,
		Attributes: texts("evenkeel.interruption", l.Interruption, "evenkeel.kind", string(l.Notice.Kind), "evenkeel.outcome", string(l.Outcome),
			"evenkeel.pool", l.Pool, "host.id", string(l.Notice.Instance)),
	}
	root.Attributes = append(root.Attributes, attribute{"evenkeel.lost_ready_pod_seconds", value{Double: &l.Lost}})
	if l.Outcome == Missed {
		root.Status = &status{statusError, strconv.Itoa(l.Left) + " pods were left at the deadline"}
	}
	child := func(key, name string, from, to time.Time) span {
		return span{TraceID: root.TraceID, SpanID: id(root.TraceID+key, 8), Parent: root.SpanID, Name: name, Kind: kindInternal, Start: nanos(from), End: nanos(later(from, to))}
	}
	var children []span
	if !l.Cordoned.IsZero() {
		children = append(children, child("cordon", "notice to cordon", begin, l.Cordoned))
	}
	pods := make(map[string]*podSpan)
	var order []*podSpan
	for _, s := range l.Steps {
		last = later(last, s.At)
		if s.Pod == "" {
			root.Events = append(root.Events, spanEvent{nanos(s.At), string(s.Event), texts("evenkeel.reason", string(s.Reason))})
			continue
		}
		p := pods[s.Pod]
		if p == nil {
			p = &podSpan{first: s}
			pods[s.Pod] = p
			order = append(order, p)
		}
		p.last = s
		p.events = append(p.events, spanEvent{nanos(s.At), string(s.Effect), texts(
			"evenkeel.reason", string(s.Reason), "evenkeel.outcome", string(s.Outcome), "evenkeel.budget", s.Budget)})
	}
	for _, p := range order {
		c := child("pod/"+p.first.Pod, "pod "+p.first.Pod, p.first.At, p.last.At)
		c.Attributes = texts("evenkeel.pod", p.first.Pod, "evenkeel.service", cmp.Or(p.last.Service, p.first.Service),
			"evenkeel.method", drain.Method(p.last.Effect, p.last.Reason))
		c.Events = p.events
		children = append(children, c)
	}
	root.Start, root.End = nanos(begin), nanos(last)
	return append([]span{root}, children...)
}

// podSpan is what was done about one pod.
type podSpan struct {
	first, last Step
	events      []spanEvent
}

// texts makes attributes of pairs of keys and values; empty values are left out.
func texts(pairs ...string) (out []attribute) {
	for i := 0; i < len(pairs); i += 2 {
		if v := pairs[i+1]; v != "" {
			out = append(out, attribute{pairs[i], value{Text: &v}})
		}
	}
	return out
}

func id(of string, bytes int) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:bytes])
}

func nanos(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixNano(), 10)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
