package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

// The times of node heartbeats, as kubelets have them: the node controller gives
// a silent node 40 s or more.
const (
	leaseNamespace = "kube-node-lease"
	leaseSeconds   = 40
	renewInterval  = 10 * time.Second
	renewRetry     = time.Second // after a renewal that was refused
	callTimeout    = 10 * time.Second
)

// NodeSpec describes one machine.
type NodeSpec struct {
	Name         string // of the Node object
	InstanceID   string // for example "i-0123456789abcdef0"
	InstanceType string // for example "m5.large"
	Region, Zone string
	Pool         string // label evenkeel.dev/pool; may be empty
	CapacityType string // "spot" or "on-demand"
	// CPU and Memory are what pods can request, and Pods how many may run.
	CPU, Memory resource.Quantity
	Pods        int
	Labels      map[string]string // added to the labels that follow from the above
	Annotations map[string]string
	Taints      []corev1.Taint
}

// node is a machine. Its mutex guards what goes at once when the power goes; it
// guards nothing of the pods' states, which their workers own.
type node struct {
	spec NodeSpec
	ip   netip.Addr
	// ctx ends when the power goes. Whatever is written for this node is written
	// under it.
	ctx context.Context
	off context.CancelFunc

	mu     sync.Mutex
	groups map[*process]struct{} // not yet reaped
	ips    map[netip.Addr]struct{}

	renewed time.Time // owned by heartbeat; when the lease was last written
}

// AddNode registers a machine with the API server and makes it run pods. The
// node is Ready at once. It fails if the Node object exists.
func (k *Kubelet) AddNode(ctx context.Context, spec NodeSpec) error {
	ip, err := k.addrs.take()
	if err != nil {
		return fmt.Errorf("adding node %s: %w", spec.Name, err)
	}
	n := &node{spec: spec, ip: ip, groups: make(map[*process]struct{}), ips: map[netip.Addr]struct{}{ip: {}}}
	n.ctx, n.off = context.WithCancel(context.Background())

	// Known here before it is known there: the scheduler may assign a pod as soon
	// as the object exists.
	k.mu.Lock()
	if old := k.machines[spec.Name]; old != nil && old.ctx.Err() == nil || k.state == stopping {
		k.mu.Unlock()
		return fmt.Errorf("adding node %s: it is here already, or the kubelet has stopped", spec.Name)
	}
	k.machines[spec.Name] = n
	k.mu.Unlock()

	created, err := k.cfg.Client.CoreV1().Nodes().Create(ctx, nodeObject(spec, ip, time.Now()), metav1.CreateOptions{})
	if err != nil {
		k.mu.Lock()
		delete(k.machines, spec.Name)
		k.mu.Unlock()
		n.powerOff(nil)
		k.addrs.give(ip)
		return fmt.Errorf("adding node %s: %w", spec.Name, err)
	}
	if err := k.createLease(ctx, n, created.UID); err != nil {
		// The heartbeat makes up for it; at start the namespace may be missing still.
		k.log.Warn("creating a node lease", "node", spec.Name, "err", err)
	}
	if k.services.HasSynced() { // otherwise Run has yet to look at any pod
		for _, obj := range k.pods.GetStore().List() {
			if pod := obj.(*corev1.Pod); pod.Spec.NodeName == spec.Name {
				k.see(pod, false) // assigned before the machine was known
			}
		}
	}
	k.log.Info("node added", "node", spec.Name, "zone", spec.Zone, "type", spec.InstanceType)
	return nil
}

// powerOff kills every process on the machine at once and returns the pods that
// had a container running. Addresses fall silent on net before anything dies, so
// that no peer sees a reset; net is nil where that does not matter.
func (n *node) powerOff(net *podnet.Net) map[types.UID]struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.off() // before the kill: an exit that it causes must not be reported
	if net != nil {
		for ip := range n.ips {
			net.Cut(ip)
		}
	}
	lost := make(map[types.UID]struct{})
	for p := range n.groups {
		_ = syscall.Kill(-p.group(), syscall.SIGKILL)
		if p.container != "" {
			lost[p.pod] = struct{}{}
		}
	}
	return lost
}

// takeAddress gives a pod of this machine an address. It fails once the power is
// off, so that no address escapes being cut.
func (n *node) takeAddress(a *addresses) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return netip.Addr{}, errPowerOff
	}
	ip, err := a.take()
	if err == nil {
		n.ips[ip] = struct{}{}
	}
	return ip, err
}

func (n *node) giveAddress(a *addresses, ip netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() == nil && ip != n.ip {
		delete(n.ips, ip)
		a.give(ip)
	}
}

// heartbeat renews the leases of all living nodes, and declares nodes Ready again
// that were given up during an outage of the API server.
func (k *Kubelet) heartbeat(ctx context.Context) {
	tick := time.NewTicker(renewRetry)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var due []*node
		k.mu.Lock()
		for _, n := range k.machines {
			if n.ctx.Err() == nil {
				due = append(due, n)
			}
		}
		k.mu.Unlock()
		var calls errgroup.Group
		calls.SetLimit(16)
		for _, n := range due {
			calls.Go(func() error {
				if err := k.beat(n); err != nil && n.ctx.Err() == nil {
					k.log.Debug("node heartbeat", "node", n.spec.Name, "err", err)
				}
				return nil
			})
		}
		_ = calls.Wait() // no call returns an error
	}
}

func (k *Kubelet) beat(n *node) error {
	seen, err := corelisters.NewNodeLister(k.nodes.GetIndexer()).Get(n.spec.Name)
	if err != nil {
		return nil // not seen yet, or deleted by somebody: a kubelet does not insist
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	now := time.Now()
	if now.Sub(n.renewed) >= renewInterval {
		patch := fmt.Appendf(nil, `{"spec":{"renewTime":%q}}`, now.UTC().Format(metav1.RFC3339Micro))
		_, err := k.cfg.Client.CoordinationV1().Leases(leaseNamespace).Patch(ctx, n.spec.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if apierrors.IsNotFound(err) {
			err = k.createLease(ctx, n, seen.UID)
		}
		if err != nil {
			return fmt.Errorf("renewing the lease: %w", err)
		}
		n.renewed = now
	}
	for _, c := range seen.Status.Conditions {
		if c.Type != corev1.NodeReady || c.Status == corev1.ConditionTrue {
			continue
		}
		patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": nodeConditions(now)}})
		if err != nil {
			return fmt.Errorf("encoding node conditions: %w", err)
		}
		_, err = k.cfg.Client.CoreV1().Nodes().Patch(ctx, n.spec.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil {
			return fmt.Errorf("declaring the node ready again: %w", err)
		}
	}
	return nil
}

func (k *Kubelet) createLease(ctx context.Context, n *node, uid types.UID) error {
	name, seconds, now := n.spec.Name, int32(leaseSeconds), metav1.NowMicro()
	_, err := k.cfg.Client.CoordinationV1().Leases(leaseNamespace).Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: leaseNamespace,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: uid}},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}, metav1.CreateOptions{})
	return err
}

// nodeObject is the Node of a machine that has just become ready.
func nodeObject(s NodeSpec, ip netip.Addr, now time.Time) *corev1.Node {
	labels := map[string]string{
		corev1.LabelHostname:           s.Name,
		corev1.LabelOSStable:           runtime.GOOS,
		corev1.LabelArchStable:         runtime.GOARCH,
		corev1.LabelInstanceTypeStable: s.InstanceType,
		corev1.LabelTopologyRegion:     s.Region,
		corev1.LabelTopologyZone:       s.Zone,
		"karpenter.sh/capacity-type":   s.CapacityType,
	}
	if s.Pool != "" {
		labels["evenkeel.dev/pool"] = s.Pool
	}
	for key, value := range s.Labels {
		labels[key] = value
	}
	resources := corev1.ResourceList{
		corev1.ResourceCPU:              s.CPU,
		corev1.ResourceMemory:           s.Memory,
		corev1.ResourcePods:             *resource.NewQuantity(int64(s.Pods), resource.DecimalSI),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Labels: labels, Annotations: s.Annotations},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///" + s.Zone + "/" + s.InstanceID, Taints: s.Taints},
		Status: corev1.NodeStatus{
			Capacity:    resources,
			Allocatable: resources,
			Conditions:  nodeConditions(now),
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: ip.String()},
				{Type: corev1.NodeHostName, Address: s.Name},
			},
			NodeInfo: corev1.NodeSystemInfo{
				OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
				KubeletVersion: "v1.37.2", ContainerRuntimeVersion: "process://1", OSImage: "rehearsal",
			},
		},
	}
}

func nodeConditions(now time.Time) []corev1.NodeCondition {
	condition := func(t corev1.NodeConditionType, s corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		at := metav1.NewTime(now)
		return corev1.NodeCondition{Type: t, Status: s, Reason: reason, Message: message, LastHeartbeatTime: at, LastTransitionTime: at}
	}
	return []corev1.NodeCondition{
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
	}
}
