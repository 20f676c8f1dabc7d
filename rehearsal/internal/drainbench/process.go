package drainbench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/evenkeel-dev/evenkeel/deploy"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
)

// process is evenkeel-controller as it is shipped: its program, the arguments and
// variables of its Deployment, and the rights of its service account.
type process struct {
	cmd    *exec.Cmd
	began  time.Time
	ended  chan struct{} // closed when the process is gone
	log    string
	listen string
}

// shipped applies everything in deploy/ but what would run in a pod, and returns
// the controller's Deployment.
func shipped(ctx context.Context, apply *manifest.Applier) (*appsv1.Deployment, error) {
	objects, err := manifest.Decode("deploy/controller.yaml", deploy.Controller)
	if err != nil {
		return nil, err
	}
	policies, err := manifest.Decode("deploy/policies.yaml", deploy.Policies)
	if err != nil {
		return nil, err
	}
	objects = append(objects, policies...)
	var found *appsv1.Deployment
	for _, o := range objects {
		if o.GetKind() == "Deployment" {
			if found, err = deployment(o); err != nil {
				return nil, err
			}
			continue
		}
		if err := apply.Apply(ctx, o); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, errors.New("deploy/controller.yaml has no Deployment")
	}
	return found, nil
}

func deployment(o *unstructured.Unstructured) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	if err := apiruntime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
		return nil, fmt.Errorf("reading Deployment %s: %w", o.GetName(), err)
	}
	return &d, nil
}

// kubeconfig writes one for a service account's token.
func kubeconfig(ctx context.Context, plane *controlplane.ControlPlane, client kubernetes.Interface, namespace, account, path string) error {
	token, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for a token of service account %s: %w", account, err)
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["bench"] = &clientcmdapi.Cluster{Server: plane.URL(), CertificateAuthorityData: plane.CACertPEM()}
	cfg.AuthInfos["bench"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	cfg.Contexts["bench"] = &clientcmdapi.Context{Cluster: "bench", AuthInfo: "bench"}
	cfg.CurrentContext = "bench"
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}

// startController starts the program in the folder bin as a pod of the Deployment
// would be started, but on this machine: more arguments and variables say where
// the cloud's stand-in and the API server are.
func startController(bin, dir string, d *appsv1.Deployment, kubeconfig string, args, env []string) (*process, error) {
	c := d.Spec.Template.Spec.Containers[0]
	listen, err := freePort()
	if err != nil {
		return nil, err
	}
	values := make(map[string]string)
	for _, v := range c.Env {
		values[v.Name] = v.Value
		if v.ValueFrom != nil {
			values[v.Name] = fieldOf(v.ValueFrom, d.Namespace)
		}
	}
	var all []string
	for _, a := range append(append([]string{}, c.Args...), args...) {
		all = append(all, expand(a, values))
	}
	all = append(all, "--listen="+listen)
	p := &process{cmd: exec.Command(filepath.Join(bin, "evenkeel-controller"), all...), ended: make(chan struct{}), listen: listen, log: filepath.Join(dir, "controller.log")}
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	for k, v := range values {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the controller's log: %w", err)
	}
	defer out.Close() // the child has its own
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.began = time.Now()
	started := make(chan error)
	go func() {
		defer close(p.ended)
		// The child dies with the thread that started it: this one waits for it.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // who asked for the end knows; who did not is told by alive
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting the controller: %w", err)
	}
	return p, nil
}

// fieldOf is what the downward API would say.
func fieldOf(from *corev1.EnvVarSource, namespace string) string {
	if from.FieldRef == nil {
		return ""
	}
	switch from.FieldRef.FieldPath {
	case "metadata.name":
		return "evenkeel-controller-bench"
	case "metadata.namespace":
		return namespace
	case "status.podIP", "status.hostIP":
		return "127.0.0.1"
	}
	return ""
}

var reference = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_]*)\)`)

// expand replaces $(NAME) as the kubelet does.
func expand(s string, values map[string]string) string {
	return reference.ReplaceAllStringFunc(s, func(ref string) string {
		if v, ok := values[ref[2:len(ref)-1]]; ok {
			return v
		}
		return ref
	})
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ready reports whether the controller says that it is.
func (p *process) ready() bool {
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get("http://" + p.listen + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// alive returns an error with the end of the log once the process has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		log, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(log)), "\n")
		return fmt.Errorf("the controller ended by itself: %s; the end of its log:\n%s", p.cmd.ProcessState, strings.Join(lines[max(0, len(lines)-5):], "\n"))
	default:
		return nil
	}
}

// stop ends the process as a kubelet does, and returns when it is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	kill := time.AfterFunc(10*time.Second, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	<-p.ended
}

// usage is what a process has taken of its machine.
type usage struct {
	rss, peak int64 // bytes
	cpu       time.Duration
}

// usage reads it from /proc.
func (p *process) usage() (usage, error) {
	dir := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return usage{}, fmt.Errorf("reading what the controller uses: %w", err)
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return usage{}, fmt.Errorf("reading what the controller uses: %w", err)
	}
	u := usage{rss: statusField(string(status), "VmRSS:"), peak: statusField(string(status), "VmHWM:")}
	// After the name, which is in parentheses, utime is the 12th field and stime
	// the 13th, in hundredths of a second.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return usage{}, fmt.Errorf("reading what the controller uses: %d fields in %sstat", len(fields), dir)
	}
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("reading what the controller uses: %w", err)
		}
		u.cpu += time.Duration(n) * 10 * time.Millisecond
	}
	return u, nil
}

// statusField returns a field of /proc/PID/status in bytes; the file has kB.
func statusField(status, name string) int64 {
	_, rest, ok := strings.Cut(status, name)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}
