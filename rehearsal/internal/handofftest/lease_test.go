package handofftest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
)

// cutter is a way to the API server that can be cut.
type cutter struct {
	http.RoundTripper
	cut atomic.Bool
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.cut.Load() {
		return nil, errors.New("no route to host")
	}
	return c.RoundTripper.RoundTrip(r)
}

// testElection lets two replicas with the rights that are shipped share the Lease.
// How long a takeover takes at most is tested in internal/kube, where time is
// faked; here it is logged.
func testElection(t *testing.T, config *rest.Config) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	candidate := func(name string) (way *cutter, begun <-chan time.Time, stop func()) {
		way = &cutter{}
		own := rest.CopyConfig(config)
		own.Wrap(func(rt http.RoundTripper) http.RoundTripper { way.RoundTripper = rt; return way })
		api, err := kubernetes.NewForConfig(own)
		if err != nil {
			t.Fatal(err)
		}
		turns := make(chan time.Time, 10)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- kube.NewElection(api, kube.LeaseNamespace, kube.LeaseName, name, nil, log).Lead(ctx, func(ctx context.Context) error {
				turns <- time.Now()
				<-ctx.Done()
				return nil
			})
		}()
		return way, turns, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	first, firstTurn, stopFirst := candidate("first")
	defer stopFirst()
	<-firstTurn
	_, secondTurn, stopSecond := candidate("second")
	defer stopSecond()
	killed := time.Now()
	first.cut.Store(true)
	t.Logf("the second took over %v after the first was cut off", (<-secondTurn).Sub(killed).Round(time.Millisecond))
}

// testEvents writes Kubernetes Events with the rights that are shipped, and reads
// what the API server made of them.
func testEvents(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	events := kube.NewEvents(client, "evenkeel-controller-0", slog.New(slog.NewTextHandler(t.Output(), nil)))
	now := time.Now()
	e := drain.Event{
		Kind: drain.EventNoticed, At: now, Node: "told", Reason: drain.NoticeReceived,
		Record: drain.Record{Notice: interruption.Notice{Instance: "i-told", Kind: interruption.SpotInterruption}, Deadline: now.Add(2 * time.Minute), Stored: now},
	}
	events.Observe(e)
	e.Kind, e.Reason, e.Effect, e.Outcome = drain.EventPod, drain.HandOff, drain.Handoff, drain.Done
	e.Pod, e.UID = cluster.Key{Namespace: "default", Name: "told"}, "uid"
	events.Observe(e)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- events.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for _, reason := range []string{"InterruptionNoticed", "HandedOff"} {
		await(t, "the Event "+reason, func() error {
			list, err := admin.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=told,reason=" + reason})
			if err == nil && len(list.Items) == 0 {
				err = errors.New("not yet")
			}
			return err
		})
	}
}
