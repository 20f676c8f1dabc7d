package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// liveCluster is as much of an API server as a drain by hand asks for: lists,
// watches, merge patches of nodes with their versions, and evictions, which end a
// pod at once.
type liveCluster struct {
	mu       sync.Mutex
	version  int
	objects  map[string]map[string]any // by path
	watchers map[chan []byte]string    // the collection that each one watches
	// controlled says that a controller of the cluster empties a node as soon as it
	// has a Record.
	controlled bool
}

func newLiveCluster(t *testing.T) (*liveCluster, string) {
	t.Helper()
	c := &liveCluster{objects: make(map[string]map[string]any), watchers: make(map[chan []byte]string)}
	server := httptest.NewServer(c)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return c, writeKubeconfig(t, server.URL)
}

const (
	nodesPath = "/api/v1/nodes"
	leasePath = "/apis/coordination.k8s.io/v1/namespaces/evenkeel-system/leases/evenkeel-controller"
)

// kinds of the collections that are listed; all of them exist, most are empty.
var kinds = map[string]string{
	"nodes": "Node", "pods": "Pod", "services": "Service", "replicationcontrollers": "ReplicationController", "replicasets": "ReplicaSet",
	"deployments": "Deployment", "statefulsets": "StatefulSet", "jobs": "Job", "poddisruptionbudgets": "PodDisruptionBudget",
	"horizontalpodautoscalers": "HorizontalPodAutoscaler",
}

// put stores an object and tells the watchers; c is locked.
func (c *liveCluster) put(path string, o map[string]any) {
	c.version++
	o["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(c.version)
	c.objects[path] = o
	c.tell("MODIFIED", path, o)
}

func (c *liveCluster) remove(path string) {
	o := c.objects[path]
	delete(c.objects, path)
	c.tell("DELETED", path, o)
}

func (c *liveCluster) tell(what, path string, o map[string]any) {
	frame, _ := json.Marshal(map[string]any{"type": what, "object": o})
	for w, collection := range c.watchers {
		if collection == collectionOf(path) {
			w <- frame
		}
	}
}

// collectionOf returns "/api/v1/pods" for a pod in any namespace.
func collectionOf(path string) string {
	parts := strings.Split(path, "/")
	if i := slices.Index(parts, "namespaces"); i > 0 {
		parts = slices.Delete(parts, i, i+2)
	}
	return strings.Join(parts[:len(parts)-1], "/")
}

func (c *liveCluster) addNode(name string, cordoned bool) {
	c.put(nodesPath+"/"+name, map[string]any{
		"kind": "Node", "apiVersion": "v1", "metadata": map[string]any{"name": name},
		"spec":   map[string]any{"providerID": "aws:///eu-west-1a/i-" + name, "unschedulable": cordoned},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	})
}

func (c *liveCluster) addPod(name, node, ownerKind string, grace int) {
	c.put("/api/v1/namespaces/shop/pods/"+name, map[string]any{
		"kind": "Pod", "apiVersion": "v1",
		"metadata": map[string]any{"name": name, "namespace": "shop", "uid": "uid-" + name, "ownerReferences": []any{
			map[string]any{"apiVersion": "apps/v1", "kind": ownerKind, "name": "own-" + name, "uid": "own", "controller": true}}},
		"spec":   map[string]any{"nodeName": node, "terminationGracePeriodSeconds": grace, "containers": []any{}},
		"status": map[string]any{"phase": "Running", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	})
}

func (c *liveCluster) addLease(renewed time.Time) {
	c.put(leasePath, map[string]any{
		"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": map[string]any{"name": "evenkeel-controller", "namespace": "evenkeel-system"},
		"spec": map[string]any{"holderIdentity": "controller-0", "renewTime": renewed.UTC().Format("2006-01-02T15:04:05.000000Z")},
	})
}

func (c *liveCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, path := r.URL.Query(), r.URL.Path
	if q.Get("watch") != "" {
		c.watch(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	status := func(code int, reason string) {
		answer(code, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason})
	}
	kind, list := kinds[path[strings.LastIndexByte(path, '/')+1:]]
	switch {
	case r.Method == http.MethodGet && list:
		node := strings.TrimPrefix(q.Get("fieldSelector"), "spec.nodeName=")
		items := []any{}
		for _, p := range slices.Sorted(maps.Keys(c.objects)) {
			o := c.objects[p]
			if (collectionOf(p) == path || strings.HasPrefix(p, path+"/")) && (node == "" || o["spec"].(map[string]any)["nodeName"] == node) {
				items = append(items, o)
			}
		}
		answer(200, map[string]any{"kind": kind + "List", "apiVersion": groupVersion(path),
			"metadata": map[string]any{"resourceVersion": strconv.Itoa(c.version)}, "items": items})
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/eviction"):
		c.remove(strings.TrimSuffix(path, "/eviction"))
		answer(201, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	case c.objects[path] == nil:
		status(404, "NotFound")
	case r.Method == http.MethodGet:
		answer(200, c.objects[path])
	case r.Method == http.MethodPatch:
		body, _ := io.ReadAll(r.Body)
		var patch map[string]any
		if json.Unmarshal(body, &patch) != nil {
			status(400, "BadRequest")
			return
		}
		old := c.objects[path]["metadata"].(map[string]any)["resourceVersion"]
		if v := patch["metadata"].(map[string]any)["resourceVersion"]; v != nil && v != old {
			status(409, "Conflict")
			return
		}
		c.put(path, without(merge(c.objects[path], patch)))
		answer(200, c.objects[path])
		if c.controlled && collectionOf(path) == nodesPath {
			c.control(path)
		}
	default:
		status(405, "MethodNotAllowed")
	}
}

// groupVersion returns "apps/v1" for the path of a list, of a namespace or of all.
func groupVersion(path string) string {
	of, _, _ := strings.Cut(path[:strings.LastIndexByte(path, '/')], "/namespaces/")
	return strings.TrimPrefix(strings.TrimPrefix(of, "/apis/"), "/api/")
}

// without drops nulls, as a merge patch does.
func without(o map[string]any) map[string]any {
	for k, v := range o {
		if v == nil {
			delete(o, k)
		} else if m, ok := v.(map[string]any); ok {
			without(m)
		}
	}
	return o
}

// control does a controller's work on a node, at once.
func (c *liveCluster) control(path string) {
	n := c.objects[path]
	annotations, _ := n["metadata"].(map[string]any)["annotations"].(map[string]any)
	value, _ := annotations[cluster.RecordAnnotation].(string)
	rec, err := drain.DecodeRecord(value)
	if err != nil || !rec.Emptied.IsZero() {
		return
	}
	for _, p := range slices.Sorted(maps.Keys(c.objects)) {
		if collectionOf(p) == "/api/v1/pods" {
			c.remove(p)
		}
	}
	rec.Emptied = time.Now()
	annotations[cluster.RecordAnnotation] = rec.Encode()
	c.put(path, n)
}

func (c *liveCluster) watch(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("sendInitialEvents") != "" {
		// An API server from before streaming lists: the client falls back to a list.
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":422,"reason":"Invalid","message":"sendInitialEvents is forbidden"}`)
		return
	}
	frames := make(chan []byte, 1000)
	c.mu.Lock()
	// What changed between the list and this watch.
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	for p, o := range c.objects {
		if v, _ := strconv.Atoi(o["metadata"].(map[string]any)["resourceVersion"].(string)); collectionOf(p) == r.URL.Path && v > from {
			frame, _ := json.Marshal(map[string]any{"type": "MODIFIED", "object": o})
			frames <- frame
		}
	}
	c.watchers[frames] = r.URL.Path
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.watchers, frames)
		c.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flusher := w.(http.Flusher)
	flusher.Flush()
	for {
		select {
		case f := <-frames:
			_, _ = w.Write(append(f, '\n'))
			flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// TestDrainScripts runs the command lines of testdata/drain, each against a
// cluster of its own.
func TestDrainScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/drain",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			c, kubeconfig := newLiveCluster(t)
			c.mu.Lock()
			c.addNode("n1", false)
			c.addNode("n2", true) // by a person
			c.addPod("db-0", "n1", "StatefulSet", 30)
			c.addPod("logs-1", "n1", "DaemonSet", 30)
			c.addPod("sum-1", "n1", "Job", 600)
			c.mu.Unlock()
			e.Setenv("KUBECONFIG", kubeconfig)
			e.Values["cluster"] = c
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// controller (running|dead): whether one is in the cluster.
			"controller": func(ts *testscript.TestScript, _ bool, args []string) {
				c := ts.Value("cluster").(*liveCluster)
				c.mu.Lock()
				defer c.mu.Unlock()
				c.controlled = args[0] == "running"
				renewed := time.Now()
				if !c.controlled {
					renewed = renewed.Add(-time.Hour)
				}
				c.addLease(renewed)
			},
			// node NAME prints what the API has of it.
			"node": func(ts *testscript.TestScript, _ bool, args []string) {
				c := ts.Value("cluster").(*liveCluster)
				c.mu.Lock()
				defer c.mu.Unlock()
				n := c.objects[nodesPath+"/"+args[0]]
				annotations, _ := n["metadata"].(map[string]any)["annotations"].(map[string]any)
				value, _ := annotations[cluster.RecordAnnotation].(string)
				what := "no record"
				if rec, err := drain.DecodeRecord(value); err == nil {
					what = fmt.Sprintf("%s of %s", rec.Notice.Kind, rec.Notice.Instance)
				}
				_, cordoned := n["spec"].(map[string]any)["unschedulable"].(bool)
				if v, ok := n["spec"].(map[string]any)["unschedulable"].(bool); ok {
					cordoned = v
				}
				ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "node"), fmt.Appendf(nil, "%s cordoned=%v\n", what, cordoned), 0o666))
			},
		},
	})
}
