package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/runbook"
)

const testRunbook = `---
alert: Test
severity: warning
summary: something is wrong
actions:
- {id: look, kind: query, why: to see it, query: 'up{namespace="{{namespace}}"}'}
- {id: keep-away, kind: cordon, why: no pod is to land there, node: '{{node}}'}
- {id: more, kind: scale, why: there are too few, deployment: '{{namespace}}/cart', by: 2, min: 2, max: 4}
- {id: again, kind: restart, why: it may help, deployment: '{{namespace}}/cart'}
---
# Test

What to do.
`

const cartPath, hpaPath = "/apis/apps/v1/namespaces/shop/deployments/cart", "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/cart"

func (c *liveCluster) addDeployment(replicas int) {
	c.put(cartPath, map[string]any{
		"kind": "Deployment", "apiVersion": "apps/v1", "metadata": map[string]any{"name": "cart", "namespace": "shop", "generation": 1},
		"spec":   map[string]any{"replicas": replicas, "template": map[string]any{"metadata": map[string]any{}, "spec": map[string]any{"containers": []any{}}}},
		"status": map[string]any{"observedGeneration": 1, "updatedReplicas": replicas, "readyReplicas": replicas},
	})
}

// runbookRun runs the command with a page of its own and returns the lines of the audit.
func runbookRun(t *testing.T, kubeconfig, stdin string, args ...string) (code int, out, errs string, lines []runbook.Line) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Test.md"), []byte(testRunbook), 0o600); err != nil {
		t.Fatal(err)
	}
	audit := filepath.Join(dir, "audit")
	var stdout, stderr bytes.Buffer
	args = append([]string{"runbook", "Test", "--pages", dir, "--kubeconfig", kubeconfig, "--audit", audit}, args...)
	code = Main(t.Context(), args, Streams{In: strings.NewReader(stdin), Out: &stdout, Err: &stderr})
	data, _ := os.ReadFile(audit) // without it nothing was noted
	for line := range strings.Lines(string(data)) {
		var l runbook.Line
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if l.User == "" || l.Runbook != "Test" || time.Since(l.Time) > time.Hour {
			t.Errorf("%q does not say who, what and when", line)
		}
		lines = append(lines, l)
	}
	return code, stdout.String(), stderr.String(), lines
}

func outcomes(lines []runbook.Line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Action+":"+l.Outcome)
	}
	return strings.Join(out, " ")
}

var setAll = []string{"--set", "namespace=shop", "--set", "node=n1"}

func TestRunbook(t *testing.T) {
	for name, c := range map[string]struct {
		stdin   string
		args    []string
		change  func(*liveCluster) // before the run
		code    int
		want    string // outcomes
		says    string // in what is printed
		changed bool   // the deployment
	}{
		"dry run":                  {args: append(setAll, "--dry-run"), want: "look:printed keep-away:would more:would again:would", says: "Nothing was changed."},
		"dry run, nothing set":     {args: []string{"--dry-run"}, want: "", says: "needs --set namespace=NAME"},
		"all of it":                {args: append(setAll, "--yes"), want: "look:printed keep-away:begun keep-away:done more:begun more:done again:skipped", says: "2 replicas -> 4 replicas", changed: true},
		"one is agreed to":         {stdin: "n\ny\n", args: setAll, want: "look:printed keep-away:declined more:begun more:done again:skipped", changed: true},
		"nobody answers":           {args: setAll, want: "look:printed keep-away:declined more:declined again:declined"},
		"only one":                 {args: append(setAll, "--only", "look"), want: "look:printed", says: `up{namespace="shop"}`},
		"no such action":           {args: append(setAll, "--only", "none"), code: 2},
		"nothing set":              {code: 2},
		"no such parameter":        {args: append(setAll, "--set", "zone=a"), code: 2},
		"a parameter with more":    {args: []string{"--set", `namespace=shop"} or up{a="`, "--set", "node=n1"}, code: 2},
		"done already, or scaling": {args: append(setAll, "--yes"), change: func(c *liveCluster) { c.addNode("n1", true); c.put(hpaPath, hpa()) }, want: "look:printed keep-away:skipped more:skipped again:begun again:done", says: "HorizontalPodAutoscaler cart scales it", changed: true},
		"the node is not there":    {args: append(setAll, "--yes"), change: func(c *liveCluster) { c.remove(nodesPath + "/n1") }, code: 3, want: "look:printed keep-away:failed"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, kubeconfig := newLiveCluster(t)
			cluster.mu.Lock()
			cluster.addNode("n1", false)
			cluster.addDeployment(2)
			if c.change != nil {
				c.change(cluster)
			}
			before := cluster.objects[cartPath]["metadata"].(map[string]any)["resourceVersion"]
			cluster.mu.Unlock()
			code, out, errs, lines := runbookRun(t, kubeconfig, c.stdin, c.args...)
			if code != c.code || outcomes(lines) != c.want || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, outcomes %q, want %d %q\n%s%s", code, outcomes(lines), c.code, c.want, out, errs)
			}
			cluster.mu.Lock()
			defer cluster.mu.Unlock()
			meta := cluster.objects[cartPath]["metadata"].(map[string]any)
			if changed := meta["resourceVersion"] != before; changed != c.changed {
				t.Errorf("the deployment was changed: %v", changed)
			}
			annotations, _ := meta["annotations"].(map[string]any)
			if by, _ := annotations[runbook.Annotation].(string); c.changed && !strings.HasPrefix(by, "Test/") {
				t.Errorf("it does not say by what it was changed: %q", by)
			}
		})
	}
}

func hpa() map[string]any {
	return map[string]any{
		"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": map[string]any{"name": "cart", "namespace": "shop"},
		"spec": map[string]any{"scaleTargetRef": map[string]any{"kind": "Deployment", "name": "cart", "apiVersion": "apps/v1"}, "maxReplicas": 5},
	}
}

// A second restart so soon, by this command or by kubectl, is not done.
func TestRunbookRestartsOnce(t *testing.T) {
	cluster, kubeconfig := newLiveCluster(t)
	cluster.mu.Lock()
	cluster.addDeployment(2)
	cluster.mu.Unlock()
	for _, want := range []string{"again:begun again:done", "again:skipped"} {
		_, out, errs, lines := runbookRun(t, kubeconfig, "", append(setAll, "--yes", "--only", "again")...)
		if outcomes(lines) != want {
			t.Errorf("%q, want %q\n%s%s", outcomes(lines), want, out, errs)
		}
	}
}

// What cannot be noted is not done.
func TestRunbookWithoutAudit(t *testing.T) {
	cluster, kubeconfig := newLiveCluster(t)
	cluster.mu.Lock()
	cluster.addDeployment(2)
	cluster.mu.Unlock()
	var out, errs bytes.Buffer
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Test.md"), []byte(testRunbook), 0o600); err != nil {
		t.Fatal(err)
	}
	full := "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("there is no /dev/full here:", err)
	}
	args := append([]string{"runbook", "Test", "--pages", dir, "--kubeconfig", kubeconfig, "--audit", full, "--yes", "--only", "more"}, setAll...)
	if code := Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs}); code != ExitFailed || !strings.Contains(errs.String(), "writing the audit line of more") {
		t.Errorf("exit %d: %s", code, &errs)
	}
	cluster.mu.Lock()
	defer cluster.mu.Unlock()
	if n := cluster.objects[cartPath]["spec"].(map[string]any)["replicas"]; n != 2 {
		t.Errorf("it was scaled to %v", n)
	}
}

// The pages that are built in are listed and printed, and their queries need no cluster.
func TestRunbooksBuiltIn(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 0, "EvenkeelNoLeader "},
		{[]string{"EvenkeelNoLeader", "--text"}, 0, "# EvenkeelNoLeader\n"},
		{[]string{"EvenkeelNoLeader", "--only", "who-leads", "--kubeconfig", "/nonexistent"}, 0, "sum(evenkeel_leader)"},
		{[]string{"None"}, 2, ""},
		{[]string{"../secret"}, 2, ""},
		{[]string{"A", "B"}, 2, ""},
	} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), append([]string{"runbook"}, c.args...), Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: exit %d\n%s%s", c.args, code, &out, &errs)
		}
	}
}
