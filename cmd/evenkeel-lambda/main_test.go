package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi/nodeapitest"
	"github.com/evenkeel-dev/evenkeel/internal/program/programtest"
)

// TestReferencePage keeps docs/reference/evenkeel-lambda.md what -help says.
func TestReferencePage(t *testing.T) { programtest.Page(t, "evenkeel-lambda", "-help", help) }

func TestSettings(t *testing.T) {
	for _, row := range []struct {
		env  map[string]string
		want time.Duration // of GRACE_PERIOD; 0 for an error
	}{
		{map[string]string{"CLUSTER_NAME": "c"}, 2 * time.Minute},
		{map[string]string{"CLUSTER_NAME": "c", "GRACE_PERIOD": "90"}, 90 * time.Second},
		{map[string]string{"CLUSTER_NAME": "c", "GRACE_PERIOD": "1m30s"}, 90 * time.Second},
		{map[string]string{}, 0},
		{map[string]string{"CLUSTER_NAME": "c", "GRACE_PERIOD": "soon"}, 0},
		{map[string]string{"CLUSTER_NAME": "c", "GRACE_PERIOD": "-1"}, 0},
		{map[string]string{"CLUSTER_NAME": "c", "DRAIN": "perhaps"}, 0},
		{map[string]string{"CLUSTER_NAME": "c", "LOG_LEVEL": "loud"}, 0},
	} {
		s, err := readSettings(func(name string) string { return row.env[name] })
		if (err == nil) != (row.want != 0) || err == nil && s.grace != row.want {
			t.Errorf("%v: %s, %v", row.env, s.grace, err)
		}
	}
}

// FuzzMessages: whatever a function is called with is read or refused.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(sqsEvent(map[string]string{"m1": warning("i-1")})))
	f.Add([]byte(warning("i-1")))
	f.Add([]byte(`{"Records":[{"EventSource":"aws:sns","Sns":{"Message":"{}"}}]}`))
	f.Add([]byte(`{"Records":[{}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		all, queued, err := messages(payload)
		if err != nil && len(all) != 0 || err == nil && len(all) == 0 {
			t.Errorf("%d messages, %v", len(all), err)
		}
		for _, m := range all {
			if queued && len(m.body) > 3*len(payload) { // a byte that is no UTF-8 becomes three
				t.Errorf("a body of %d bytes out of %d", len(m.body), len(payload))
			}
		}
	})
}

func warning(instance string) string {
	return fmt.Sprintf(`{"version":"0","id":"event","detail-type":"EC2 Spot Instance Interruption Warning","source":"aws.ec2","time":%q,`+
		`"detail":{"instance-id":%q,"instance-action":"terminate"}}`, time.Now().UTC().Format(time.RFC3339), instance)
}

// sqsEvent is what a queue calls a function with.
func sqsEvent(messages map[string]string) string {
	type record struct {
		MessageID   string `json:"messageId"`
		Body        string `json:"body"`
		EventSource string `json:"eventSource"`
	}
	var records []record
	for id, body := range messages {
		records = append(records, record{id, body, "aws:sqs"})
	}
	text, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		panic(err) // cannot happen: it holds strings
	}
	return string(text)
}

// runtimeAPI is Lambda's Runtime API: it gives the program one event after the other
// and takes the answers.
type runtimeAPI struct {
	calls   chan string
	answers chan string // "response ..." or "error ..."
}

func (r *runtimeAPI) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	const base = "/2018-06-01/runtime/"
	if q.URL.Path == base+"invocation/next" {
		select {
		case event := <-r.calls:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "call")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:f")
			_, _ = io.WriteString(w, event)
		case <-q.Context().Done():
		}
		return
	}
	body, _ := io.ReadAll(q.Body)
	w.WriteHeader(http.StatusAccepted)
	r.answers <- strings.TrimPrefix(q.URL.Path, base+"invocation/call/") + " " + string(body)
}

// call calls the function and returns its answer.
func (r *runtimeAPI) call(t *testing.T, event string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case r.calls <- event:
	case <-ctx.Done():
		t.Fatal("the function takes no call")
	}
	select {
	case answer := <-r.answers:
		return answer
	case <-ctx.Done():
		t.Fatal("the function does not answer")
	}
	return ""
}

// cloud is EKS, and the API server of the one cluster that it knows: nodes, one pod
// that may be evicted, and the controller's Lease.
type cloud struct {
	t     *testing.T
	nodes *nodeapitest.Server
	api   *httptest.Server

	mu      sync.Mutex
	leads   bool // a controller renews its Lease
	pod     bool // it is still there
	evicted chan struct{}
	tokens  map[string]bool
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{t: t, nodes: nodeapitest.New(t), evicted: make(chan struct{}), tokens: make(map[string]bool), pod: true}
	c.api = httptest.NewTLSServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.api.Close)
	return c
}

// describe is EKS's DescribeCluster.
func (c *cloud) describe(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/clusters/production" || !strings.Contains(r.Header.Get("Authorization"), "/us-east-1/eks/aws4_request") {
		http.Error(w, `{"message":"No cluster found for name"}`, http.StatusNotFound)
		return
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.api.Certificate().Raw})
	_ = json.NewEncoder(w).Encode(map[string]any{"cluster": map[string]any{
		"name": "production", "status": "ACTIVE", "endpoint": c.api.URL,
		"certificateAuthority": map[string]any{"data": base64.StdEncoding.EncodeToString(ca)},
	}})
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	if err := c.signedIn(r.Header.Get("Authorization")); err != nil {
		c.t.Error(err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/apis/"), "/api/")
	query := r.URL.Query()
	switch {
	case strings.HasPrefix(path, "coordination.k8s.io/v1/namespaces/evenkeel-system/leases/evenkeel-controller"):
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.leads {
			refuse(w, http.StatusNotFound, "NotFound")
			return
		}
		_, _ = fmt.Fprintf(w, `{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"evenkeel-controller"},`+
			`"spec":{"holderIdentity":"c1","renewTime":%q}}`, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
	case strings.HasSuffix(path, "/eviction") && r.Method == http.MethodPost:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.pod {
			c.pod = false
			close(c.evicted)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	case strings.HasPrefix(path, "v1/namespaces/") && r.Method == http.MethodPatch: // announcing to the pod
		_, _ = io.WriteString(w, pod)
	case query.Get("sendInitialEvents") != "":
		refuse(w, http.StatusUnprocessableEntity, "Invalid") // as an older API server
	case query.Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		if path == "v1/pods" {
			select {
			case <-c.evicted:
				_, _ = fmt.Fprintf(w, `{"type":"DELETED","object":%s}`+"\n", pod)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
			}
		}
		<-r.Context().Done()
	case strings.HasPrefix(path, "v1/nodes"):
		c.nodes.ServeHTTP(w, r)
	default: // a list of some kind
		items := ""
		c.mu.Lock()
		if path == "v1/pods" && c.pod {
			items = pod
		}
		c.mu.Unlock()
		group, resource := filepath.Split(path)
		_, _ = fmt.Fprintf(w, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"1"},"items":[%s]}`,
			lists[resource], strings.TrimSuffix(group, "/"), items)
	}
}

// lists are the kinds of the lists that a controller asks for.
var lists = map[string]string{
	"pods": "PodList", "services": "ServiceList", "replicationcontrollers": "ReplicationControllerList", "replicasets": "ReplicaSetList",
	"deployments": "DeploymentList", "statefulsets": "StatefulSetList", "jobs": "JobList", "poddisruptionbudgets": "PodDisruptionBudgetList",
	"horizontalpodautoscalers": "HorizontalPodAutoscalerList", "volumeattachments": "VolumeAttachmentList",
}

const pod = `{"kind":"Pod","apiVersion":"v1","metadata":{"namespace":"default","name":"p","uid":"u1","resourceVersion":"1"},` +
	`"spec":{"nodeName":"n1","terminationGracePeriodSeconds":1},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`

func refuse(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q}`, code, reason)
}

// signedIn checks a token as EKS does, but for the signature.
func (c *cloud) signedIn(authorization string) error {
	text, ok := strings.CutPrefix(authorization, "Bearer k8s-aws-v1.")
	if !ok {
		return fmt.Errorf("token %q is not EKS's", authorization)
	}
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	signed, err := url.Parse(string(decoded))
	if err != nil {
		return err
	}
	q := signed.Query()
	headers := strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
	if !slices.Contains(headers, "x-k8s-aws-id") || !slices.Contains(headers, "host") ||
		q.Get("X-Amz-Expires") != "60" || q.Get("Action") != "GetCallerIdentity" || q.Get("X-Amz-Signature") == "" {
		return fmt.Errorf("token for %s is not what EKS takes", signed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[text] = true
	return nil
}

// start runs the real program in a stand-in for Lambda.
func start(t *testing.T, c *cloud) *runtimeAPI {
	t.Helper()
	lambda := &runtimeAPI{calls: make(chan string), answers: make(chan string, 1)}
	runtimeServer := httptest.NewServer(lambda)
	eks := httptest.NewServer(http.HandlerFunc(c.describe))
	program := exec.Command(bootstrap(t))
	var log bytes.Buffer
	program.Stderr = &log
	program.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(runtimeServer.URL, "http://"),
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_ENDPOINT_URL_EKS=" + eks.URL, "CLUSTER_NAME=production",
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait() // killed
		runtimeServer.CloseClientConnections()
		runtimeServer.Close()
		eks.Close()
		if t.Failed() {
			t.Logf("the function's log:\n%s", &log)
		}
	})
	return lambda
}

// bootstrap builds the program once, as it is deployed.
func bootstrap(t *testing.T) string {
	t.Helper()
	build.Do(func() {
		dir, err := os.MkdirTemp("", "evenkeel-lambda")
		if err != nil {
			t.Fatal(err)
		}
		build.path = filepath.Join(dir, "bootstrap")
		out, err := exec.Command("go", "build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", build.path, ".").CombinedOutput()
		if err != nil {
			t.Fatalf("building the function: %v\n%s", err, out)
		}
	})
	return build.path
}

var build struct {
	sync.Once
	path string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.path != "" {
		_ = os.RemoveAll(filepath.Dir(build.path))
	}
	os.Exit(code)
}

func (c *cloud) record(node string) (drain.Record, bool) {
	value, cordoned := c.nodes.Annotation(node, cluster.RecordAnnotation)
	rec, err := drain.DecodeRecord(value)
	return rec, err == nil && cordoned
}

func TestNoticesAreStoredAndOnlyFailuresComeBack(t *testing.T) {
	c := newCloud(t)
	c.nodes.Put("n1", "aws:///us-east-1a/i-1")
	c.nodes.Put("n2", "aws:///us-east-1b/i-2")
	c.leads = true
	lambda := start(t, c)

	answer := lambda.call(t, sqsEvent(map[string]string{
		"ours": warning("i-1"), "too": warning("i-2"), "theirs": warning("i-99"), "poison": "not an event",
		"ignored": `{"source":"aws.ec2","detail-type":"EC2 Fleet Instance Change"}`,
	}))
	for _, node := range []string{"n1", "n2"} {
		rec, ok := c.record(node)
		if !ok || rec.Deadline.Sub(rec.Notice.Sent) != 2*time.Minute || !rec.Emptied.IsZero() {
			t.Errorf("node %s: %+v, %t", node, rec, ok)
		}
	}
	text, ok := strings.CutPrefix(answer, "response ")
	var got struct {
		BatchItemFailures []struct {
			ItemIdentifier string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal([]byte(text), &got); !ok || err != nil {
		t.Fatalf("answer %q: %v", answer, err)
	}
	var failed []string
	for _, f := range got.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	slices.Sort(failed)
	if !slices.Equal(failed, []string{"poison", "theirs"}) {
		t.Errorf("failed %v, want poison and theirs", failed)
	}
	// A later call of the same process uses its token and its list again.
	if answer := lambda.call(t, warning("i-1")); answer != "response null" {
		t.Errorf("the same notice by EventBridge: %q", answer)
	}
	if answer := lambda.call(t, `{"source":"aws.ec2"}`); !strings.HasPrefix(answer, "error ") || !strings.Contains(answer, "detail-type") {
		t.Errorf("poison by EventBridge: %q", answer)
	}
	if len(c.tokens) != 1 {
		t.Errorf("%d tokens for three calls", len(c.tokens))
	}
}

func TestNodeIsEmptiedWhereNoControllerRuns(t *testing.T) {
	c := newCloud(t)
	c.nodes.Put("n1", "aws:///us-east-1a/i-1")
	lambda := start(t, c)
	if answer := lambda.call(t, warning("i-1")); answer != "response null" {
		t.Errorf("answer %q", answer)
	}
	select {
	case <-c.evicted:
	default:
		t.Error("the pod was not evicted")
	}
	if rec, ok := c.record("n1"); !ok || rec.Emptied.IsZero() {
		t.Errorf("%+v, %t: want it emptied", rec, ok)
	}
}

func TestAbandoned(t *testing.T) {
	now := time.Now()
	holder, nobody := "c1", ""
	at := func(ago time.Duration) *metav1.MicroTime { return &metav1.MicroTime{Time: now.Add(-ago)} }
	for _, row := range []struct {
		name string
		spec coordinationv1.LeaseSpec
		want bool
	}{
		{"renewed just now", coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: at(time.Second)}, false},
		{"by a clock that is ahead", coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: at(-10 * time.Second)}, false},
		{"by a clock that is behind", coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: at(10 * time.Second)}, false},
		{"a minute ago", coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: at(time.Minute)}, true},
		{"given away", coordinationv1.LeaseSpec{HolderIdentity: &nobody, RenewTime: at(time.Second)}, true},
		{"never held", coordinationv1.LeaseSpec{}, true},
	} {
		if got := abandoned(&coordinationv1.Lease{Spec: row.spec}, now); (got != "") != row.want {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}
