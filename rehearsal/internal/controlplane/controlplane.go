// Package controlplane runs a real Kubernetes control plane as four child
// processes of this one: etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler.
//
// It decides how they are configured (one certificate authority, RBAC, service
// accounts, everything on 127.0.0.1 and below one folder), in which order they
// come up and go, and that none of them outlives this process. It hides that
// all four are this program's own executable started again with a role word:
// package roles, which the executable's main calls, links the Kubernetes code;
// this package does not, so what drives a control plane stays quick to build.
//
// It knows nothing about nodes: a fresh control plane has none, and pods stay
// Pending until somebody registers one.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Config says what kind of control plane to start. Dir must be set; the zero
// value of every other field is usable.
type Config struct {
	// Dir holds everything the control plane writes: etcd's data, certificates,
	// kubeconfigs, logs. The caller creates it, and removes it after Close.
	Dir string

	// Executable is the program started for each role. Its main, or TestMain,
	// must call roles.Main first. If not set, defaults to os.Executable().
	Executable string

	// ServiceCIDR is the IPv4 range of cluster addresses. Its first address is
	// that of the Service "kubernetes", and the API server's certificate is
	// valid for it and for its twin at 127.x (see package podnet).
	// If not set, defaults to 10.96.0.0/16.
	ServiceCIDR string

	// NodeMonitorGrace is how long a node may be silent before the controller
	// manager marks it NotReady and taints it. If not set, defaults to what
	// Kubernetes does: 50 s.
	NodeMonitorGrace time.Duration

	// Flags are given to a role's component after this package's own, so that
	// they add to them or win over them.
	Flags map[Role][]string

	// Log receives one line per role as it becomes ready.
	// If not set, defaults to discarding them.
	Log *slog.Logger
}

const (
	// readyTimeout bounds how long one role may take to become ready. It takes
	// seconds; this bound means that it hangs.
	readyTimeout = 2 * time.Minute
	// stopGrace is how long a role may take to end after SIGTERM.
	stopGrace = 5 * time.Second
	// pollInterval is how often readiness is looked at.
	pollInterval = 25 * time.Millisecond
)

// ControlPlane is a running control plane. Its methods may be called from
// several goroutines; those that start and stop roles wait for one another.
type ControlPlane struct {
	cfg     Config
	log     *slog.Logger
	layout  layout
	pki     *pki
	nursery *nursery
	ports   map[Role]*reservedPort
	probe   *http.Client
	grace   time.Duration // stopGrace, but for tests
	version string

	opMu   sync.Mutex // held while roles are started or stopped
	closed bool       // owned by opMu

	mu    sync.Mutex // held for reading and writing the fields below only
	procs map[Role]*process
	err   error
	done  chan struct{} // closed when err is set
}

// Start starts a control plane and returns when all of it is ready: every role
// reports itself ready, and the default namespace has what a pod needs, its
// default service account and the configmap with the cluster's root
// certificate. If that cannot be had, or ctx ends first, Start returns an error
// and no process stays behind. ctx does not bound the life of the control plane
// once Start has returned: Close ends it.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	if role, ok := RoleOf(os.Args); ok {
		// Without this, such a program would start itself without end.
		return nil, fmt.Errorf("starting a control plane: this process was itself started as %s, but its main does not call roles.Main", role)
	}
	begin := time.Now()
	c, err := prepare(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing a control plane: %w", err)
	}
	if err := c.startAll(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("starting a control plane: %w", err)
	}
	c.log.Info("control plane ready", "after", time.Since(begin).Round(time.Millisecond), "version", c.version, "url", c.URL())
	return c, nil
}

// prepare writes all files and takes the ports; it starts no process yet.
func prepare(cfg Config) (_ *ControlPlane, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("no folder given")
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	if cfg.Executable == "" {
		if cfg.Executable, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if cfg.ServiceCIDR == "" {
		cfg.ServiceCIDR = "10.96.0.0/16"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	services, err := netip.ParsePrefix(cfg.ServiceCIDR)
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{
		cfg:    cfg,
		log:    cfg.Log,
		layout: layout{dir: cfg.Dir},
		ports:  make(map[Role]*reservedPort),
		procs:  make(map[Role]*process),
		grace:  stopGrace,
		done:   make(chan struct{}),
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if c.nursery, err = openNursery(); err != nil {
		return nil, err
	}
	for _, role := range []Role{APIServer, ControllerManager, Scheduler} {
		if c.ports[role], err = reservePort(); err != nil {
			return nil, fmt.Errorf("reserving a port for %s: %w", role, err)
		}
	}
	if err := c.layout.create(); err != nil {
		return nil, err
	}
	if c.pki, err = createPKI(c.layout, c.URL(), services); err != nil {
		return nil, fmt.Errorf("creating certificates: %w", err)
	}
	c.probe = c.pki.probeClient()
	return c, nil
}

func (c *ControlPlane) startAll(ctx context.Context) error {
	for _, role := range []Role{Etcd, APIServer} {
		if err := c.startRole(ctx, role); err != nil {
			return err
		}
	}
	client, err := kubernetes.NewForConfig(c.AdminConfig())
	if err != nil {
		return err
	}
	// Both need the API server, and neither needs the other.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.startRole(gctx, ControllerManager) })
	g.Go(func() error { return c.startRole(gctx, Scheduler) })
	g.Go(func() error {
		info, err := client.Discovery().ServerVersion()
		if err != nil {
			return fmt.Errorf("asking for the version: %w", err)
		}
		c.version = info.GitVersion
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := c.awaitDefaults(ctx, client); err != nil {
		return fmt.Errorf("waiting for the default namespace to be furnished: %w", err)
	}
	return nil
}

// awaitDefaults waits for what the controller manager puts into every
// namespace and without which the API server refuses pods or nobody can start
// them.
func (c *ControlPlane) awaitDefaults(ctx context.Context, client kubernetes.Interface) error {
	return c.await(ctx, func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			_, err = client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		}
		if apierrors.IsNotFound(err) {
			return errNotYet
		}
		return err
	})
}

// AdminConfig returns a configuration for clients that may do everything: a
// member of system:masters. Its clients do not limit their own rate.
func (c *ControlPlane) AdminConfig() *rest.Config {
	return &rest.Config{
		Host: c.URL(),
		QPS:  -1, // no limit; the API server's own fairness protects it
		// It is on this machine, whose processors have more to do than its loopback.
		DisableCompression: true,
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   c.pki.ca.certPEM,
			CertData: c.pki.admin.certPEM,
			KeyData:  c.pki.admin.keyPEM,
		},
	}
}

// AdminKubeconfig returns the path of a kubeconfig with the rights of
// AdminConfig, for kubectl.
func (c *ControlPlane) AdminKubeconfig() string { return c.layout.kubeconfig("admin") }

// CACertPEM returns the certificate that the API server's certificate is
// checked against.
func (c *ControlPlane) CACertPEM() []byte { return c.pki.ca.certPEM }

// CAFile returns the path of a file that holds CACertPEM.
func (c *ControlPlane) CAFile() string { return c.layout.cert("ca") }

// URL returns where the API server is served. It stays the same when the API
// server is stopped and started again.
func (c *ControlPlane) URL() string { return c.ports[APIServer].url() }

// Version returns the version that the API server reports, such as "v1.37.2".
func (c *ControlPlane) Version() string { return c.version }

// LogFile returns the path of a role's log. It grows over restarts of the role.
func (c *ControlPlane) LogFile(role Role) string { return c.layout.log(role) }

// Done returns a channel that is closed when a role has ended without being
// asked to, or when the control plane has been closed. Err then says which.
func (c *ControlPlane) Done() <-chan struct{} { return c.done }

// Err returns nil while the control plane has not failed, then what ended it:
// ErrClosed, or an error with the role, the end of its log and the log's path.
func (c *ControlPlane) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ErrClosed is Err after Close.
var ErrClosed = errors.New("control plane closed")

// end sets err, once.
func (c *ControlPlane) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.done)
	}
}
