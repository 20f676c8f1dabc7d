package renderedtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/deploy"
	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/capacity/keeper"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
)

// testCapacity changes a rendered NodePool with Karpenter's own definition, as the
// controller does and with the rights that are shipped for it, and tries what these
// rights must not allow.
func testCapacity(t *testing.T, plane *controlplane.ControlPlane) {
	admin, err := kubernetes.NewForConfig(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	install(t, plane, "controller.yaml", deploy.Controller)
	config := controllerConfig(t, plane, admin)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	const pool, namespace = "engine", "evenkeel-system"

	// Without being enabled, none of the rights is there.
	if _, err := kube.NewNodePools(client).Groups(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("listing NodePools before it is enabled: %v, want: forbidden", err)
	}
	if _, err := kube.NewCapacityRecords(client, namespace, kube.CapacityStore).Records(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("reading Records before it is enabled: %v, want: forbidden", err)
	}
	install(t, plane, "capacity.yaml", deploy.Capacity)
	await(t, func() error { _, err := kube.NewNodePools(client).Groups(t.Context()); return err })
	await(t, func() error {
		p, err := admin.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(t.Context(), "evenkeel-controller-nodepools", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if p.Status.ObservedGeneration != p.Generation || p.Status.TypeChecking == nil {
			return errors.New("the policy has not been looked at yet")
		}
		for _, w := range p.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("%s: %s", w.FieldRef, w.Warning)
		}
		return nil
	})
	patch := func(resource, body string) error {
		return client.CoreV1().RESTClient().Patch(types.MergePatchType).AbsPath("/apis/karpenter.sh/v1/nodepools/"+resource).
			Param("dryRun", metav1.DryRunAll).Body([]byte(body)).Do(t.Context()).Error()
	}
	await(t, func() error {
		if err := patch(pool, `{"metadata":{"labels":{"x":"y"}}}`); !strings.Contains(fmt.Sprint(err), "ValidatingAdmissionPolicy") {
			return fmt.Errorf("the policy is not in force: %v", err)
		}
		return nil
	})
	for what, body := range map[string]string{
		"setting a label":           `{"metadata":{"labels":{"x":"y"}}}`,
		"setting an annotation":     `{"metadata":{"annotations":{"x":"y"}}}`,
		"adding a finalizer":        `{"metadata":{"finalizers":["example.com/x"]}}`,
		"raising the limits":        `{"spec":{"limits":{"nodes":"1000"}}}`,
		"taking the limits away":    `{"spec":{"limits":null}}`,
		"changing disruption":       `{"spec":{"disruption":{"consolidateAfter":"0s"}}}`,
		"another node class":        `{"spec":{"template":{"spec":{"nodeClassRef":{"name":"other"}}}}}`,
		"adding a taint":            `{"spec":{"template":{"spec":{"taints":[{"key":"x","effect":"NoSchedule"}]}}}}`,
		"labels of machines":        `{"spec":{"template":{"metadata":{"labels":{"x":"y"}}}}}`,
		"another life of machines":  `{"spec":{"template":{"spec":{"expireAfter":"1h"}}}}`,
		"buying on demand as well":  `{"spec":{"template":{"spec":{"requirements":[{"key":"karpenter.sh/capacity-type","operator":"In","values":["spot","on-demand"]}]}}}}`,
		"forgetting a requirement":  `{"spec":{"template":{"spec":{"requirements":[]}}}}`,
		"excluding an architecture": `{"spec":{"template":{"spec":{"requirements":[{"key":"kubernetes.io/arch","operator":"NotIn","values":["amd64"]}]}}}}`,
	} {
		if err := patch(pool, body); !strings.Contains(fmt.Sprint(err), "ValidatingAdmissionPolicy") {
			t.Errorf("%s: %v, want: refused by the policy", what, err)
		}
	}
	for what, err := range map[string]error{
		"deleting a NodePool":       client.CoreV1().RESTClient().Delete().AbsPath("/apis/karpenter.sh/v1/nodepools/" + pool).Do(t.Context()).Error(),
		"writing a status":          patch(pool+"/status", `{"status":{}}`),
		"reading another ConfigMap": second(client.CoreV1().ConfigMaps(namespace).Get(t.Context(), "other", metav1.GetOptions{})),
		"deleting the Records":      client.CoreV1().ConfigMaps(namespace).Delete(t.Context(), kube.CapacityStore, metav1.DeleteOptions{}),
		"creating one elsewhere":    second(client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})),
	} {
		if !apierrors.IsForbidden(err) || strings.Contains(fmt.Sprint(err), "ValidatingAdmissionPolicy") {
			t.Errorf("%s: %v, want: forbidden by RBAC", what, err)
		}
	}

	// A machine of the pool is given notice: its type is excluded, and the exclusion is
	// recorded and marked. Then a person sets the weight, and that stays.
	group := func() capacity.Group {
		t.Helper()
		groups, err := kube.NewNodePools(client).Groups(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(groups, func(g capacity.Group) bool { return g.Name == pool })
		if i < 0 {
			t.Fatalf("no NodePool %s in %+v", pool, groups)
		}
		return groups[i]
	}
	was := group().Set
	store := kube.NewCapacityRecords(client, namespace, kube.CapacityStore)
	k := keeper.New(keeper.Config{
		Capacity: capacity.Config{Mode: capacity.Act}, Buyers: []keeper.Buyers{kube.NewNodePools(client)}, Store: store, Every: time.Second,
		Advised: func([]capacity.Advice) {}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	deadline := time.Now().Add(2 * time.Minute)
	noticed := drain.Record{Notice: interruption.Notice{Instance: "i-1", Kind: interruption.SpotInterruption}, Deadline: deadline, Stored: time.Now()}
	offers := group().Types
	k.Changed([]cluster.Change{
		{Object: &cluster.Node{Name: "a", Pool: pool, InstanceType: offers[0], Region: "us-east-1", Zone: "us-east-1a", Spot: true, Ready: true, Record: noticed.Encode()}},
		{Object: &cluster.Node{Name: "b", Pool: pool, InstanceType: offers[1], Region: "us-east-1", Zone: "us-east-1b", Spot: true, Ready: true}},
	})
	k.Leading(true)
	other := kube.NewCapacityRecords(admin, namespace, kube.CapacityStore)
	await(t, func() error {
		records, err := other.Records(t.Context())
		if err != nil {
			return err
		}
		r, ok := records["NodePool."+pool]
		if !ok || !r.Made || !r.Was.Equal(was) || !slices.Contains(group().Set.NoTypes, offers[0]) {
			return fmt.Errorf("records %+v, settings %+v", records, group().Set)
		}
		return nil
	})
	if err := admin.CoreV1().RESTClient().Patch("application/merge-patch+json").AbsPath("/apis/karpenter.sh/v1/nodepools/" + pool).
		Body([]byte(`{"spec":{"weight":42}}`)).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	await(t, func() error {
		records, err := other.Records(t.Context())
		if err == nil && records["NodePool."+pool].Left.IsZero() {
			err = errors.New("a person's change is not found")
		}
		return err
	})
	if got := group().Set.Weight; got != 42 {
		t.Errorf("the person's weight became %d", got)
	}
}

func second[T any](_ T, err error) error { return err }

// install applies manifests but for what would run in pods.
func install(t *testing.T, plane *controlplane.ControlPlane, name string, data []byte) {
	t.Helper()
	apply, err := manifest.NewApplier(plane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Decode("deploy/"+name, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetKind() == "Deployment" {
			continue
		}
		if err := apply.Apply(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// controllerConfig is that of a client with the controller's own token.
func controllerConfig(t *testing.T, plane *controlplane.ControlPlane, admin kubernetes.Interface) *rest.Config {
	t.Helper()
	token, err := admin.CoreV1().ServiceAccounts("evenkeel-system").CreateToken(t.Context(), "evenkeel-controller", &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{Host: plane.URL(), BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: plane.CACertPEM()}, QPS: -1}
}
