package renderedtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/cli"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/controlplanetest"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
)

const example = "../../../examples/market-intel-brain"

func TestMain(m *testing.M) { controlplanetest.Main(m) }

func TestRealServerAccepts(t *testing.T) {
	plane := controlplanetest.Start(t)
	installDefinitions(t, plane)

	if code, out := diff(t, plane); code != 1 {
		t.Errorf("diff against an empty cluster: exit %d, want 1\n%s", code, out)
	}
	apply, err := manifest.NewApplier(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	applied := 0
	for _, o := range objects(t, example+"/rendered/kubernetes/*.yaml", example+"/rendered/keda/*.yaml", example+"/rendered/karpenter/*.yaml") {
		if err := apply.Apply(t.Context(), o); err != nil {
			t.Error(err)
			continue
		}
		applied++
	}
	t.Logf("%d objects were accepted", applied)
	if code, out := diff(t, plane); code != 0 {
		t.Errorf("diff after applying: exit %d, want 0\n%s", code, out)
	}

	// The controllers must get the pods past admission. Without KEDA, services that
	// scale have the one replica that the API defaults to: engine 3, vector-store 3,
	// headroom 3, and one each of evenkeel, event-stream, go-gateway, analytics.
	client, err := kubernetes.NewForConfig(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	await(t, func() error {
		pods, err := client.CoreV1().Pods("market-intel-brain").List(t.Context(), metav1.ListOptions{})
		if err == nil && len(pods.Items) != 13 {
			err = fmt.Errorf("%d pods, want 13", len(pods.Items))
		}
		return err
	})

	t.Run("capacity", func(t *testing.T) { testCapacity(t, plane) })
}

// installDefinitions installs the real definitions of Karpenter's and KEDA's
// kinds, from the modules that hold them.
func installDefinitions(t *testing.T, plane *controlplane.ControlPlane) {
	t.Helper()
	karpenter := moduleDir(t, "github.com/aws/karpenter-provider-aws@v1.14.1")
	keda := moduleDir(t, "github.com/kedacore/keda/v2@v2.21.0")
	apply, err := manifest.NewApplier(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	definitions := client.Resource(apiextensions.SchemeGroupVersion.WithResource("customresourcedefinitions"))
	for _, o := range objects(t,
		filepath.Join(karpenter, "pkg/apis/crds/karpenter.sh_nodepools.yaml"),
		filepath.Join(karpenter, "pkg/apis/crds/karpenter.k8s.aws_ec2nodeclasses.yaml"),
		filepath.Join(keda, "config/crd/bases/keda.sh_scaledobjects.yaml")) {
		unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
		if err := apply.Apply(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		await(t, func() error {
			live, err := definitions.Get(t.Context(), o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			status, err := json.Marshal(live.Object["status"])
			if err == nil && !strings.Contains(string(status), `"status":"True","type":"Established"`) {
				err = errors.New(o.GetName() + " is not established")
			}
			return err
		})
	}
}

// diff runs `evenkeel diff` for the reference platform.
func diff(t *testing.T, plane *controlplane.ControlPlane) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Main(t.Context(),
		[]string{"diff", "-f", example + "/platform.yaml", "--kubeconfig", plane.AdminKubeconfig(), "--only", "kubernetes,keda,karpenter"},
		cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String() + stderr.String()
}

func objects(t *testing.T, patterns ...string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no files for %s: %v", pattern, err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			docs, err := manifest.Decode(path, data)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, docs...)
		}
	}
	return out
}

// moduleDir returns where a module's files are, fetching it through the module
// proxy if need be.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.Output()
	var info struct{ Dir, Error string }
	if json.Unmarshal(out, &info) != nil || info.Dir == "" {
		t.Fatalf("fetching %s: %v %s", module, err, info.Error)
	}
	return info.Dir
}

// await waits until f returns nil; a minute means that it never will.
func await(t *testing.T, f func() error) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		<-tick.C
	}
}
