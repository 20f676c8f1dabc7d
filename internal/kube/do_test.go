package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

// server answers one request after the other from a list. What the real API
// server does with the same requests is tested in rehearsal/internal/handofftest.
type server struct {
	t       *testing.T
	answers []answer
	asked   []string // "METHOD path body"
}

type answer struct {
	code int
	body any
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.asked = append(s.asked, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.URL.Path, body)))
	if len(s.answers) == 0 {
		s.t.Errorf("one request too many: %s", s.asked[len(s.asked)-1])
		w.WriteHeader(http.StatusTeapot)
		return
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.code)
	if err := json.NewEncoder(w).Encode(a.body); err != nil {
		s.t.Error(err)
	}
}

func newServer(t *testing.T, answers ...answer) (*server, *Client) {
	s := &server{t: t, answers: answers}
	hs := httptest.NewServer(s)
	t.Cleanup(hs.Close)
	api, err := kubernetes.NewForConfig(&rest.Config{Host: hs.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s, New(api, slog.New(slog.DiscardHandler))
}

func status(code int, reason metav1.StatusReason, causes ...metav1.CauseType) answer {
	st := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason, Message: string(reason)}
	st.Details = &metav1.StatusDetails{}
	for _, c := range causes {
		st.Details.Causes = append(st.Details.Causes, metav1.StatusCause{Type: c})
	}
	return answer{code, st}
}

// shown is a node as the watch has last shown it.
func shown(version, record string, cordoned bool) *nodeapi.Version {
	return &nodeapi.Version{ResourceVersion: version, Record: record, Unschedulable: cordoned}
}

func nodeAnswer(version, record string, cordoned bool) answer {
	return answer{200, map[string]any{
		"kind": "Node", "apiVersion": "v1",
		"metadata": map[string]any{"name": "n", "resourceVersion": version, "annotations": map[string]any{cluster.RecordAnnotation: record}},
		"spec":     map[string]any{"unschedulable": cordoned},
	}}
}

func record() drain.Record {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return drain.Record{Notice: interruption.Notice{Instance: "i-1"}, Deadline: at, Stored: at}
}

// TestStore is the fault table of the one write that everything hangs on.
func TestStore(t *testing.T) {
	rec := record()
	mine := rec.Encode()
	conflict := status(409, metav1.StatusReasonConflict)
	for _, test := range []struct {
		name    string
		seen    *nodeapi.Version // what the watch has shown
		answers []answer
		want    drain.Outcome
	}{
		{"at once", shown("1", "", false), []answer{nodeAnswer("2", mine, true)}, drain.Done},
		{"the node has changed for another reason", shown("1", "", false), []answer{conflict, nodeAnswer("5", "", false), nodeAnswer("6", mine, true)}, drain.Done},
		{"an earlier request was carried out, its answer lost", shown("1", "", false), []answer{conflict, nodeAnswer("5", mine, true)}, drain.Done},
		{"it is stored, and somebody has uncordoned", shown("1", "", false), []answer{conflict, nodeAnswer("5", mine, false), nodeAnswer("6", mine, true)}, drain.Done},
		{"another one was first", shown("1", "", false), []answer{conflict, nodeAnswer("5", "theirs", true)}, drain.Conflict},
		{"the watch lags behind another one", shown("1", "theirs", true), []answer{nodeAnswer("5", "theirs", true)}, drain.Conflict},
		{"the watch has not shown the node yet", nil, []answer{nodeAnswer("5", "", false), nodeAnswer("6", mine, true)}, drain.Done},
		{"the node is gone", shown("1", "", false), []answer{status(404, metav1.StatusReasonNotFound)}, drain.Missing},
		{"the API is overloaded", shown("1", "", false), []answer{status(503, metav1.StatusReasonServiceUnavailable)}, drain.Unavailable},
		{"we may not", shown("1", "", false), []answer{status(403, metav1.StatusReasonForbidden)}, drain.Refused},
		{"it changes all the time", shown("1", "", false), []answer{
			conflict, nodeAnswer("2", "", false), conflict, nodeAnswer("3", "", false), conflict, nodeAnswer("4", "", false),
			conflict, nodeAnswer("5", "", false), conflict, nodeAnswer("6", "", false)}, drain.Conflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, c := newServer(t, test.answers...)
			if test.seen != nil {
				c.remember("n", *test.seen)
			}
			got, err := c.Do(t.Context(), drain.Effect{Kind: drain.Store, Node: "n", Record: &rec, Cordon: true})
			if got != test.want {
				t.Errorf("outcome %s (%v), want %s", got, err, test.want)
			}
			if len(s.answers) > 0 {
				t.Errorf("%d answers were not asked for; asked:\n%s", len(s.answers), strings.Join(s.asked, "\n"))
			}
			for _, a := range s.asked {
				if strings.HasPrefix(a, "PATCH") && (!strings.Contains(a, `"unschedulable":true`) || !strings.Contains(a, `"resourceVersion"`) || !strings.Contains(a, cluster.RecordAnnotation)) {
					t.Errorf("a patch without the Record, the cordon or the version: %s", a)
				}
			}
		})
	}
}

// TestEvict sorts what the Eviction API answers.
func TestEvict(t *testing.T) {
	grace := 4500 * time.Millisecond
	e := drain.Effect{Kind: drain.Evict, Pod: cluster.Key{Namespace: "a", Name: "p"}, UID: "u", Grace: &grace}
	for _, test := range []struct {
		name   string
		answer answer
		want   drain.Outcome
	}{
		{"evicted", answer{201, metav1.Status{Status: "Success"}}, drain.Done},
		{"a budget blocks", status(429, metav1.StatusReasonTooManyRequests, "DisruptionBudget"), drain.Blocked},
		{"two budgets match", answer{500, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: 500, Reason: metav1.StatusReasonInternalError, Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}}, drain.Blocked},
		{"gone", status(404, metav1.StatusReasonNotFound), drain.Missing},
		{"another pod of that name", status(409, metav1.StatusReasonConflict), drain.Conflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, c := newServer(t, test.answer)
			if got, err := c.Do(t.Context(), e); got != test.want {
				t.Errorf("outcome %s (%v), want %s", got, err, test.want)
			}
			if want := `"preconditions":{"uid":"u"}`; !strings.Contains(s.asked[0], want) || !strings.Contains(s.asked[0], `"gracePeriodSeconds":4`) {
				t.Errorf("asked %s, want %s and a grace of 4 s", s.asked[0], want)
			}
		})
	}
}

// TestHandoff holds the patch that releases a pod: everything in one.
func TestHandoff(t *testing.T) {
	s, c := newServer(t, answer{200, map[string]any{"kind": "Pod", "apiVersion": "v1"}})
	got, err := c.Do(t.Context(), drain.Effect{
		Kind: drain.Handoff, Pod: cluster.Key{Namespace: "a", Name: "p"}, UID: "u", Hash: "h1", Deadline: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	})
	if got != drain.Done {
		t.Fatalf("outcome %s (%v)", got, err)
	}
	want := `PATCH /api/v1/namespaces/a/pods/p {"metadata":{"annotations":{"evenkeel.dev/deadline":"2026-01-01T00:00:00Z"},"labels":{"evenkeel.dev/handoff":"h1","pod-template-hash":null},"uid":"u"}}`
	if s.asked[0] != want {
		t.Errorf("got  %s\nwant %s", s.asked[0], want)
	}
}

// TestUnreachable: an API server that is not there is tried again, not given up.
func TestUnreachable(t *testing.T) {
	api, err := kubernetes.NewForConfig(&rest.Config{Host: "http://127.0.0.1:1", QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := New(api, slog.New(slog.DiscardHandler)).Do(ctx, drain.Effect{Kind: drain.Announce, Pod: cluster.Key{Namespace: "a", Name: "p"}})
	if got != drain.Unavailable || err == nil {
		t.Errorf("outcome %s (%v), want unavailable and why", got, err)
	}
}

// TestBusyServerIsNotWaitedFor: an API server that is busy says when to come back.
// What is done meanwhile is decided elsewhere; a request that slept until then
// would hold up more urgent ones.
func TestBusyServerIsNotWaitedFor(t *testing.T) {
	asked := 0
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(hs.Close)
	api, err := kubernetes.NewForConfig(&rest.Config{Host: hs.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	c := New(api, slog.New(slog.DiscardHandler))
	c.remember("n", nodeapi.Version{ResourceVersion: "1"})
	rec := record()
	for i, e := range []drain.Effect{
		{Kind: drain.Store, Node: "n", Record: &rec, Cordon: true},
		{Kind: drain.Announce, Pod: cluster.Key{Namespace: "a", Name: "p"}, Deadline: rec.Deadline},
		{Kind: drain.Handoff, Pod: cluster.Key{Namespace: "a", Name: "p"}, Hash: "h"},
		{Kind: drain.Withdraw, Pod: cluster.Key{Namespace: "a", Name: "p"}},
		{Kind: drain.Evict, Pod: cluster.Key{Namespace: "a", Name: "p"}},
		{Kind: drain.Delete, Pod: cluster.Key{Namespace: "a", Name: "p"}},
		{Kind: drain.Rebudget, Pod: cluster.Key{Namespace: "a", Name: "p"}, Budget: &drain.BudgetChange{}},
	} {
		got, err := c.Do(t.Context(), e)
		if got != drain.Unavailable || err == nil || asked != i+1 {
			t.Errorf("%s: %s (%v) after %d requests, want unavailable after one", e.Kind, got, err, asked-i)
		}
	}
}

// TestTaint keeps the taints that others have set.
func TestTaint(t *testing.T) {
	rec := record()
	mine := rec.Encode()
	other := map[string]any{"key": "other", "effect": "NoSchedule"}
	ours := map[string]any{"key": "node.kubernetes.io/out-of-service", "value": "evenkeel", "effect": "NoExecute"}
	theirs := map[string]any{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
	node := func(taints ...any) answer {
		a := nodeAnswer("5", mine, true)
		a.body.(map[string]any)["spec"].(map[string]any)["taints"] = taints
		return a
	}
	for _, test := range []struct {
		name  string
		node  answer
		e     drain.Effect
		patch string // in the request; empty if there is none
	}{
		{"added", node(other), drain.Effect{Taint: true}, `"taints":[{"key":"other","effect":"NoSchedule"},{"key":"node.kubernetes.io/out-of-service","value":"evenkeel","effect":"NoExecute"}]`},
		{"there already", node(other, ours), drain.Effect{Taint: true}, ""},
		{"a person was first", node(theirs), drain.Effect{Taint: true}, ""},
		{"removed", node(ours, other), drain.Effect{Untaint: true}, `"taints":[{"key":"other","effect":"NoSchedule"}]`},
		{"a person's stays", node(theirs), drain.Effect{Untaint: true}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			answers := []answer{test.node}
			if test.patch != "" {
				answers = append(answers, node())
			}
			s, c := newServer(t, answers...)
			test.e.Kind, test.e.Node, test.e.Record = drain.Store, "n", &rec
			if got, err := c.Do(t.Context(), test.e); got != drain.Done {
				t.Fatalf("%s (%v)", got, err)
			}
			if len(s.answers) > 0 {
				t.Errorf("no patch was sent")
			} else if last := s.asked[len(s.asked)-1]; test.patch != "" && !strings.Contains(last, test.patch) {
				t.Errorf("the patch is %s", last)
			}
		})
	}
}

func TestRebudget(t *testing.T) {
	s, c := newServer(t, answer{200, map[string]any{"kind": "PodDisruptionBudget", "apiVersion": "policy/v1"}})
	got, err := c.Do(t.Context(), drain.Effect{
		Kind: drain.Rebudget, Pod: cluster.Key{Namespace: "a", Name: "web"}, UID: "u",
		Budget: &drain.BudgetChange{Version: "7", Min: cluster.Limit{N: 2}, Max: cluster.Limit{N: 25, Percent: true}, EnforceMax: true},
	})
	want := `PATCH /apis/policy/v1/namespaces/a/poddisruptionbudgets/web {"metadata":{"annotations":{"evenkeel.dev/max-unavailable":null,"evenkeel.dev/min-available":"2"},"resourceVersion":"7","uid":"u"},"spec":{"maxUnavailable":"25%","minAvailable":null}}`
	if got != drain.Done || s.asked[0] != want {
		t.Errorf("%s (%v)\ngot  %s\nwant %s", got, err, s.asked[0], want)
	}
}
