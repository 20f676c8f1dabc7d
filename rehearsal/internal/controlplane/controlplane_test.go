package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeEnv says how a fake role behaves: this test's own executable stands in
// for one that links Kubernetes, so that what happens when things go wrong can
// be tested in no time.
const fakeEnv = "CONTROLPLANE_FAKE_ROLE"

func TestMain(m *testing.M) {
	if role, ok := RoleOf(os.Args); ok && os.Getenv(fakeEnv) != "" {
		fakeRole(role, os.Getenv(fakeEnv))
	}
	os.Exit(m.Run())
}

func fakeRole(role Role, behaviour string) {
	switch behaviour {
	case "die":
		for i := range 100 {
			fmt.Printf("line %d\n", i)
		}
		fmt.Printf("%s cannot go on\n", role)
		os.Exit(3)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	}
	fmt.Println("listening to nobody")
	select {}
}

func TestStartWithFakeRoles(t *testing.T) {
	for _, tt := range []struct {
		name, behaviour string
		cancel          bool // ctx, once the first role runs
		want            []string
	}{
		{"role dies", "die", false, []string{"etcd", "exit status 3", "line 99\netcd cannot go on", "logs/etcd.log"}},
		{"interrupted", "wait", true, []string{"etcd", context.Canceled.Error()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(fakeEnv, tt.behaviour)
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.cancel {
				go func() {
					defer cancel()
					awaitContent(filepath.Join(dir, "logs", "etcd.log"))
				}()
			}
			cp, err := Start(ctx, Config{Dir: dir})
			if err == nil {
				cp.Close()
				t.Fatal("Start succeeded with a fake role")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not mention %q:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "line 0\n") {
				t.Error("error contains the whole log; want its end only")
			}
			if tt.cancel && !errors.Is(err, context.Canceled) {
				t.Errorf("error %v is not context.Canceled", err)
			}
			assertNoChild(t)
		})
	}
}

// awaitContent returns when a file has content: the role has started.
func awaitContent(path string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return
		}
	}
}

// assertNoChild asks the kernel: this process has no children at all, not even
// ones that nobody waited for.
func assertNoChild(t *testing.T) {
	t.Helper()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left (wait4: %d, %v)", pid, err)
	}
}

func TestStopKillsWhatIsDeafToSIGTERM(t *testing.T) {
	t.Setenv(fakeEnv, "deaf")
	c, err := prepare(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.grace = 50 * time.Millisecond
	p, err := c.spawn(Scheduler)
	if err != nil {
		t.Fatal(err)
	}
	awaitContent(c.LogFile(Scheduler)) // it ignores SIGTERM from here on
	if err := c.Stop(Scheduler); err != nil {
		t.Fatal(err)
	}
	if got := p.cmd.ProcessState.String(); got != "signal: killed" {
		t.Errorf("it ended with %q; want it killed", got)
	}
	if err := c.Err(); err != nil {
		t.Errorf("Err() = %v after an end that was asked for", err)
	}
	assertNoChild(t)
}

func TestRoleEndingByItselfIsReported(t *testing.T) {
	t.Setenv(fakeEnv, "wait")
	c, err := prepare(Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.spawn(Scheduler)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Err(); err != nil {
		t.Errorf("Err() = %v while all is well", err)
	}
	p.cmd.Process.Kill() // not by way of the control plane
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "scheduler ended by itself: signal: killed") {
		t.Errorf("Err() = %v; want what ended", err)
	}
	<-p.done
	if c.PID(Scheduler) != 0 {
		t.Error("the ended role still has a pid")
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing after that: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// A program whose main does not call roles.Main must not start itself without end.
func TestStartRefusesInRole(t *testing.T) {
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = []string{args[0], roleWord + string(Etcd)}
	if _, err := Start(t.Context(), Config{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "roles.Main") {
		t.Errorf("Start in a role: %v; want advice", err)
	}
}

func TestRoleOf(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want Role
		ok   bool
	}{
		{[]string{"prog"}, "", false},
		{[]string{"prog", "-v", "kube-role=etcd"}, "", false},
		{[]string{"prog", "kube-role=scheduler", "--leader-elect=false"}, Scheduler, true},
	} {
		if got, ok := RoleOf(tt.args); got != tt.want || ok != tt.ok {
			t.Errorf("RoleOf(%q) = %q, %t; want %q, %t", tt.args, got, ok, tt.want, tt.ok)
		}
	}
}

func TestReservedPort(t *testing.T) {
	p, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", p.port)
	if _, err := net.Dial("tcp4", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling a reserved port: %v; want refused", err)
	}
	if l, err := net.Listen("tcp4", addr); err == nil {
		l.Close()
		t.Error("a reserved port can be taken")
	}
	// What a role does with --permit-port-sharing=true.
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	for range 2 { // stopped and started again
		role, err := shared.Listen(t.Context(), "tcp4", addr)
		if err != nil {
			t.Fatalf("a role listening on its reserved port: %v", err)
		}
		conn, err := net.Dial("tcp4", addr)
		if err != nil {
			t.Fatalf("dialling a role: %v", err)
		}
		conn.Close()
		role.Close()
	}
	p.release()
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatalf("listening on a released port: %v", err)
	}
	l.Close()
}

func TestConfigErrors(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no folder":     {},
		"service range": {Dir: t.TempDir(), ServiceCIDR: "10.0.0.0"},
		"executable":    {Dir: t.TempDir(), Executable: "/does/not/exist"},
	} {
		if _, err := Start(t.Context(), cfg); err == nil {
			t.Errorf("%s: Start succeeded", name)
		}
	}
	assertNoChild(t)
}

func TestNodeMonitorGraceIsCoarserThanItsPeriod(t *testing.T) {
	for _, tt := range []struct {
		grace, period time.Duration
	}{
		{0, 0},
		{8 * time.Second, 2 * time.Second},
		{time.Hour, 5 * time.Second},
	} {
		c, err := prepare(Config{Dir: t.TempDir(), NodeMonitorGrace: tt.grace})
		if err != nil {
			t.Fatal(err)
		}
		args := strings.Join(c.args(ControllerManager), " ")
		c.Close()
		want := fmt.Sprintf("--node-monitor-grace-period=%v --node-monitor-period=%v", tt.grace, tt.period)
		if got := strings.Contains(args, want); got != (tt.grace > 0) {
			t.Errorf("grace %v: flags %s", tt.grace, args)
		}
	}
}

func TestKubernetesVersionIsTheRequiredOne(t *testing.T) {
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)$`).FindSubmatch(gomod)
	if m == nil || string(m[1]) != KubernetesVersion {
		t.Errorf("KubernetesVersion is %s; go.mod requires %q", KubernetesVersion, m)
	}
}
