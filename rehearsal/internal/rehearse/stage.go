package rehearse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"

	"github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/cloud"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/kubelet"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/load"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/observe"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/peer"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/scenario"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/serviceproxy"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/storage"
)

const (
	queueName = "evenkeel"
	account   = "123456789012"
)

// stage is one handler's rehearsal: a cluster of its own, from its start to its
// end. Its fields are set in the order in which they stand.
type stage struct {
	Config
	handler string
	dir     string
	log     *slog.Logger

	net      *podnet.Net
	plane    *controlplane.ControlPlane
	client   kubernetes.Interface
	cloud    *cloud.Cloud
	queueURL string
	kubelet  *kubelet.Kubelet
	proxy    *serviceproxy.Proxy
	storage  *storage.Provisioner
	apply    *manifest.Applier
	observer *observe.Observer
	load     *load.Generator

	phase     phase
	instances map[string]string // node -> instance; owned by the goroutine that plays the plan
	rand      *rand.Rand        // likewise
}

// run plays the plan once. Whatever it started has ended when it returns.
func (s *stage) run(ctx context.Context) (_ *report.Handler, err error) {
	s.phase.began = time.Now()
	s.instances = make(map[string]string)
	s.rand = rand.New(rand.NewPCG(s.Scenario.Seed, 2))
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	if s.net, err = podnet.Claim(); err != nil {
		return nil, err
	}
	defer s.net.Close()

	stopProgress := s.showProgress(ctx)
	defer stopProgress()

	s.phase.set("starting Kubernetes")
	planeDir := filepath.Join(s.dir, "controlplane")
	if err := os.MkdirAll(planeDir, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	s.plane, err = controlplane.Start(ctx, controlplane.Config{Dir: planeDir, ServiceCIDR: s.net.Services.String(), Log: s.log})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.plane.Close()) }()
	if s.client, err = kubernetes.NewForConfig(s.plane.AdminConfig()); err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}

	// Everything below runs in one group: the first to fail ends the rehearsal.
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		if e := g.Wait(); e != nil && !errors.Is(e, context.Canceled) && (err == nil || errors.Is(err, context.Canceled)) {
			err = e
		}
	}()
	g.Go(func() error {
		select {
		case <-s.plane.Done():
			return s.plane.Err()
		case <-ctx.Done():
			return nil
		}
	})
	if err := s.startParts(ctx, g); err != nil {
		return nil, err
	}
	if err := s.startPlatform(ctx, g); err != nil {
		return nil, err
	}
	return s.play(ctx, g)
}

// startParts starts what surrounds the cluster: the cloud, the machines, the
// network.
func (s *stage) startParts(ctx context.Context, g *errgroup.Group) error {
	s.cloud = cloud.New(cloud.Config{Region: s.Scenario.Region, Account: account, Seed: s.Scenario.Seed, Log: s.log})
	if err := s.cloud.Listen(); err != nil {
		return err
	}
	g.Go(func() error { return s.cloud.Run(ctx) })
	s.queueURL = s.cloud.CreateQueue(queueName)

	s.kubelet = kubelet.New(kubelet.Config{
		Client: s.client, Net: s.net, Dir: filepath.Join(s.dir, "nodes"), Images: s.Platform.imagesByName(),
		Server: s.plane.URL(), CAFile: s.plane.CAFile(), StartDelay: s.startDelay(),
		CrashBackoff: s.Scenario.Real(10 * time.Second), Log: s.log,
		// The hours between two reclaims, in which a kubelet forgets, are played in
		// seconds.
		CrashForgive: s.Scenario.Real(s.Scenario.NoticeLead) / 2,
	})
	g.Go(func() error { return s.kubelet.Run(ctx) })

	s.proxy = serviceproxy.New(serviceproxy.Config{
		Client: s.client, Net: s.net, Seed: s.Scenario.Seed, Log: s.log,
		Delay: s.Scenario.EndpointDelay, Jitter: s.Scenario.EndpointJitter,
	})
	g.Go(func() error { return s.proxy.Run(ctx) })

	s.storage = storage.New(s.client, filepath.Join(s.dir, "volumes"), s.log)
	if _, err := s.client.StorageV1().StorageClasses().Create(ctx, storage.Class(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the StorageClass: %w", err)
	}
	g.Go(func() error { return s.storage.Run(ctx) })
	return nil
}

// startDelay returns how long a pod's sandbox and image take: seeded, so that a
// run can be repeated as far as processes allow.
func (s *stage) startDelay() func(*corev1.Pod) time.Duration {
	r := s.Scenario.PodStartDelay
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(s.Scenario.Seed, 3))
	return func(*corev1.Pod) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return r.Min + time.Duration(random.Int64N(int64(r.Max-r.Min)+1))
	}
}

// startPlatform brings up the nodes, the services and the handler, and waits
// until all of them are ready.
func (s *stage) startPlatform(ctx context.Context, g *errgroup.Group) error {
	s.phase.set("starting nodes and services")
	var err error
	if s.apply, err = manifest.NewApplier(s.plane.AdminConfig()); err != nil {
		return err
	}
	settings, workloads, err := s.Platform.objects(s.handler, []string{
		"--sqs-queue=" + s.queueURL, "--spot-notice=" + s.Scenario.Real(s.Scenario.NoticeLead).String(),
	}, s.sdkEnv())
	if err != nil {
		return err
	}
	if err := s.apply.ApplyAll(ctx, settings); err != nil {
		return err
	}
	s.observer = observe.New(s.client, s.Platform.Namespace, s.Platform.Apps, s.log)
	g.Go(func() error { return s.observer.Run(ctx) })
	for _, n := range s.Scenario.InitialNodes() {
		register, err := s.startMachine(n)
		if err != nil {
			return err
		}
		if err := register(ctx); err != nil {
			return err
		}
	}
	g.Go(func() error { return s.removeDeadNodes(ctx) })
	// Before all of them can take pods, the first ones would take them all.
	if err := s.await(ctx, s.closedNode); err != nil {
		return err
	}
	if err := s.apply.ApplyAll(ctx, workloads); err != nil {
		return err
	}
	if s.handler == Drain {
		queue := aws.NewSQS(s.sqsClient(), aws.SQSConfig{QueueURL: s.queueURL, Lead: s.Scenario.Real(s.Scenario.NoticeLead), Log: s.log})
		d := peer.New(s.client, queue, s.log)
		g.Go(func() error { return d.Run(ctx) })
	}
	return s.await(ctx, s.unready)
}

// await waits until waiting names nothing any more.
func (s *stage) await(ctx context.Context, waiting func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not within 2 minutes"))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for last := ""; ; {
		what, err := waiting(ctx)
		if err == nil && what == "" {
			return nil
		}
		if ctx.Err() != nil && last != "" {
			what = last // what failed just now is only the time that is over
		}
		last = what
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s (--keep keeps the logs): %w", what, context.Cause(ctx))
		}
	}
}

// closedNode names a node that takes no pods yet: it is registered with a taint
// that the node controller takes away.
func (s *stage) closedNode(ctx context.Context) (string, error) {
	nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "the API server", err
	}
	for _, n := range nodes.Items {
		for _, t := range n.Spec.Taints {
			if strings.HasPrefix(t.Key, "node.kubernetes.io/") {
				return fmt.Sprintf("node %s, which has taint %s", n.Name, t.Key), nil
			}
		}
	}
	return "", nil
}

// unready names something that is not ready yet; empty when everything is.
func (s *stage) unready(ctx context.Context) (string, error) {
	list, err := s.client.AppsV1().Deployments(s.Platform.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "the API server", err
	}
	for _, d := range list.Items {
		if d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas < *d.Spec.Replicas {
			return fmt.Sprintf("%s: %d of %d ready%s", d.Name, d.Status.AvailableReplicas, *d.Spec.Replicas, s.trouble(ctx, d.Spec.Selector)), nil
		}
	}
	sets, err := s.client.AppsV1().StatefulSets(s.Platform.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "the API server", err
	}
	for _, d := range sets.Items {
		if d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas < *d.Spec.Replicas {
			return fmt.Sprintf("%s: %d of %d ready%s", d.Name, d.Status.AvailableReplicas, *d.Spec.Replicas, s.trouble(ctx, d.Spec.Selector)), nil
		}
	}
	if _, ok := s.target(); !ok {
		return "the address of service " + s.Platform.FrontDoor, nil
	}
	if err := s.probe(ctx); err != nil {
		return "an answer of service " + s.Platform.FrontDoor, nil
	}
	return "", nil
}

// trouble says what keeps a pod from being ready, if that is known; with what comes
// before it.
func (s *stage) trouble(ctx context.Context, selector *metav1.LabelSelector) string {
	pods, err := s.client.CoreV1().Pods(s.Platform.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(selector)})
	if err != nil {
		return ""
	}
	for i := range pods.Items {
		if text := troubleOf(&pods.Items[i]); text != "" {
			return "; pod " + pods.Items[i].Name + ": " + text
		}
	}
	return ""
}

// troubleOf says what keeps a pod from being ready; empty if that is only time, or
// if nothing does.
func troubleOf(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		ended := c.State.Terminated
		if ended == nil && !c.Ready {
			ended = c.LastTerminationState.Terminated
		}
		switch {
		case ended != nil && ended.ExitCode != 0:
			text := fmt.Sprintf("container %s ended with %d", c.Name, ended.ExitCode)
			if ended.Message != "" {
				text += ", and last wrote:\n" + ended.Message + "\n"
			}
			return text
		case c.State.Waiting != nil && c.State.Waiting.Message != "":
			return "container " + c.Name + ": " + c.State.Waiting.Message
		}
	}
	return ""
}

// startMachine starts a machine and returns what registers it as a node.
func (s *stage) startMachine(n scenario.Node) (register func(context.Context) error, err error) {
	pool, ok := s.Scenario.Pool(n.Pool)
	if !ok {
		return nil, fmt.Errorf("starting node %s: there is no pool %s", n.Name, n.Pool)
	}
	id := fmt.Sprintf("i-0%016x", s.rand.Uint64())
	s.instances[n.Name] = id
	s.cloud.RunInstance(cloud.Instance{
		ID: id, Type: pool.InstanceType, Zone: pool.Zone, Spot: pool.CapacityType == scenario.Spot, State: cloud.Running,
	})
	s.observer.Joined(observe.Node{
		Name: n.Name, Zone: pool.Zone, InstanceType: pool.InstanceType, CapacityType: pool.CapacityType,
		SpotPerHour: pool.SpotPerHour, OnDemandPerHour: pool.OnDemandPerHour,
	})
	var taints []corev1.Taint
	for _, t := range pool.Taints {
		taints = append(taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	spec := kubelet.NodeSpec{
		Name: n.Name, InstanceID: id, InstanceType: pool.InstanceType, Region: s.Scenario.Region, Zone: pool.Zone,
		Pool: pool.Pool, CapacityType: pool.CapacityType, CPU: pool.CPU, Memory: pool.Memory, Pods: pool.Pods,
		Labels: pool.Labels, Taints: taints,
	}
	return func(ctx context.Context) error { return s.kubelet.AddNode(ctx, spec) }, nil
}

// removeDeadNodes does what a cloud's node lifecycle controller does: a node that
// is not Ready and whose instance no longer exists is deleted.
func (s *stage) removeDeadNodes(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			continue // the API server may be stopped by a fault
		}
		for _, n := range nodes.Items {
			if ready(&n) || !s.terminated(n.Spec.ProviderID) {
				continue
			}
			if err := s.client.CoreV1().Nodes().Delete(ctx, n.Name, metav1.DeleteOptions{}); err != nil {
				s.log.Debug("deleting a dead node", "node", n.Name, "err", err)
			}
		}
	}
}

func ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (s *stage) terminated(providerID string) bool {
	i, ok := s.cloud.Instance(filepath.Base(providerID))
	return ok && i.State == cloud.Terminated
}
