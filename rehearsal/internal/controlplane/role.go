package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Role is one component of the control plane, one process.
type Role string

// The roles, in the order in which they start.
const (
	Etcd              Role = "etcd"
	APIServer         Role = "apiserver"
	ControllerManager Role = "controller-manager"
	Scheduler         Role = "scheduler"
)

// KubernetesVersion is the release of Kubernetes that the roles are. It repeats
// what go.mod requires (a test compares them), because an executable made by go
// test does not know the versions of its modules.
const KubernetesVersion = "v1.37.2"

const (
	// roleWord is how a process is told by its first argument which role it is.
	roleWord = "kube-role="

	// ParentPipe is the file descriptor from which a role reads until its end.
	// Nothing is ever written to it: the end comes when the parent is gone.
	ParentPipe = 3

	// EtcdSocket is etcd's address in a role's working directory. A socket in
	// a private folder takes no port and lets no other user of the machine in,
	// and its relative name is never longer than a socket's name may be.
	EtcdSocket = "etcd.sock"

	// EtcdReadyFile is created by etcd in its working directory when it serves.
	EtcdReadyFile = "etcd.ready"
)

// RoleOf returns the role that a process with these arguments (as in os.Args)
// was started as. It is false for a process that was not started by this package.
func RoleOf(args []string) (Role, bool) {
	if len(args) < 2 {
		return "", false
	}
	role, ok := strings.CutPrefix(args[1], roleWord)
	if !ok {
		return "", false
	}
	return Role(role), true
}

// errNotYet is returned by a readiness probe that should be asked again.
var errNotYet = errors.New("not ready yet")

// args returns the flags of a role's component.
func (c *ControlPlane) args(role Role) []string {
	var args []string
	switch role {
	case Etcd:
		// All of etcd's settings are in package roles.
	case APIServer:
		args = c.apiServerArgs()
	case ControllerManager:
		args = c.controllerManagerArgs()
	case Scheduler:
		args = append(c.servingArgs(Scheduler),
			"--kubeconfig="+c.layout.kubeconfig("scheduler"),
			"--leader-elect=false",
			"--kube-api-qps=500", "--kube-api-burst=1000",
			"--profiling=false",
		)
	}
	return append(args, c.cfg.Flags[role]...)
}

// servingArgs are common to all that serve HTTPS.
func (c *ControlPlane) servingArgs(role Role) []string {
	return []string{
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.ports[role].port),
		"--permit-port-sharing=true", // with reservedPort
		"--tls-cert-file=" + c.layout.cert(string(role)),
		"--tls-private-key-file=" + c.layout.key(string(role)),
	}
}

func (c *ControlPlane) apiServerArgs() []string {
	return append(c.servingArgs(APIServer),
		"--etcd-servers=unix://"+EtcdSocket,
		"--client-ca-file="+c.layout.cert("ca"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file="+c.layout.key("service-account"),
		"--service-account-key-file="+c.layout.key("service-account"),
		"--service-cluster-ip-range="+c.cfg.ServiceCIDR,
		// The Service "kubernetes" gets no endpoints: a loopback address is
		// not allowed as one, and the address that would be guessed instead
		// needs a network interface and nobody listens there.
		"--endpoint-reconciler-type=none",
		"--advertise-address="+firstService(c.cfg.ServiceCIDR).String(),
		"--allow-privileged=true",
		// Fairness divides the sum of these two among the flow schemas.
		"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000",
		// Without this, stopping waits for every watch to end by itself.
		"--shutdown-watch-termination-grace-period=1s",
		"--profiling=false",
	)
}

func (c *ControlPlane) controllerManagerArgs() []string {
	args := append(c.servingArgs(ControllerManager),
		"--kubeconfig="+c.layout.kubeconfig("controller-manager"),
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+c.layout.key("service-account"),
		"--root-ca-file="+c.layout.cert("ca"),
		"--kube-api-qps=500", "--kube-api-burst=1000",
		"--concurrent-deployment-syncs=20",
		"--concurrent-replicaset-syncs=20",
		"--concurrent-statefulset-syncs=10",
		"--concurrent-service-endpoint-syncs=20",
		"--concurrent-disruption-syncs=10",
		"--profiling=false",
	)
	if grace := c.cfg.NodeMonitorGrace; grace > 0 {
		// Looking at the nodes must be finer than what it is to notice.
		period := min(5*time.Second, grace/4)
		args = append(args, "--node-monitor-grace-period="+grace.String(), "--node-monitor-period="+period.String())
	}
	return args
}

// ready asks a role once whether it does its work. Answers other than nil and
// errNotYet are not worth asking again.
func (c *ControlPlane) ready(ctx context.Context, role Role) error {
	switch role {
	case Etcd:
		if _, err := os.Stat(filepath.Join(c.layout.run(), EtcdReadyFile)); err != nil {
			return errNotYet
		}
		return nil
	case ControllerManager:
		return c.get(ctx, c.ports[role].url()+"/healthz")
	default:
		return c.get(ctx, c.ports[role].url()+"/readyz")
	}
}

func (c *ControlPlane) get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.probe.Do(req)
	if err != nil {
		return errNotYet // nobody listens yet
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errNotYet
	}
	return nil
}

// firstService returns the address of the Service "kubernetes".
func firstService(cidr string) netip.Addr {
	return netip.MustParsePrefix(cidr).Masked().Addr().Next()
}
