package wrapper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The wrapper ends processes and reaps orphans, so it runs in a process of its own
// here: the test binary, in another role.
const roleVariable = "WRAPPER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "service":
		service(os.Args[2:])
	case os.Getenv(roleVariable) == "wrapper":
		os.Unsetenv(roleVariable) // the child is not one
		c := Config{Mode: Mode(os.Args[1]), Listen: "127.0.0.1:" + os.Getenv("PORT"), Floor: 100 * time.Millisecond, Command: os.Args[2:]}
		if d, err := time.ParseDuration(os.Getenv(floorVariable)); err == nil {
			c.Floor = d
		}
		if c.Mode == Ready {
			c.Health, c.ChildPort = "127.0.0.1:"+os.Getenv("HEALTH_PORT"), childPort()
		}
		code, err := Run(context.Background(), c)
		if err != nil {
			fmt.Fprintln(os.Stderr, "wrapper:", err)
		}
		os.Exit(code)
	default:
		os.Exit(m.Run())
	}
}

// service is the child of most tests: the test binary again. It says what happens
// to it on standard output, and ends with code 7 when it is told to end.
func service(args []string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	if len(args) > 0 && args[0] == "orphan" {
		// A process that nobody waits for, and that ignores the group's end.
		cmd := exec.Command("sleep", "300")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		_ = cmd.Start()
		fmt.Println("orphan", cmd.Process.Pid)
	}
	slow := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			fmt.Println("slow")
			time.Sleep(700 * time.Millisecond)
		}
		deadline, _ := os.ReadFile(os.Getenv("EVENKEEL_DEADLINE_FILE"))
		fmt.Fprintf(w, "grace %s deadline %s", os.Getenv("EVENKEEL_GRACE_SECONDS"), deadline)
	}
	go func() { _ = http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(slow)) }()
	fmt.Println("child", os.Getpid())
	for s := range signals {
		fmt.Println("got", s)
		if s != syscall.SIGHUP {
			os.Exit(7)
		}
	}
}

// floorVariable is the shortest time for which traffic is still accepted.
const floorVariable = "WRAPPER_TEST_FLOOR"

// run is a wrapper that runs.
type run struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	port  string
}

func startWrapper(t *testing.T, mode Mode, env []string, command ...string) *run {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	r := &run{port: strconv.Itoa(port)}
	r.cmd = exec.Command(os.Args[0], append([]string{string(mode)}, command...)...)
	r.cmd.Env = append(os.Environ(), roleVariable+"=wrapper", "PORT="+r.port, "EVENKEEL_GRACE_SECONDS=10", "TMPDIR="+t.TempDir())
	r.cmd.Env = append(r.cmd.Env, env...)
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.lines = bufio.NewScanner(out)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	return r
}

// line returns what follows the prefix in the next line that has it.
func (r *run) line(t *testing.T, prefix string) string {
	t.Helper()
	for r.lines.Scan() {
		if rest, ok := strings.CutPrefix(r.lines.Text(), prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("the wrapper ended without a line that begins with %q", prefix)
	return ""
}

func (r *run) pid(t *testing.T, prefix string) int {
	t.Helper()
	pid, err := strconv.Atoi(r.line(t, prefix))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// wait returns the exit code and whether a signal ended it.
func (r *run) wait(t *testing.T) int {
	t.Helper()
	for r.lines.Scan() {
	}
	_ = r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

func (r *run) get(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get("http://127.0.0.1:" + r.port + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// hung is how long a test waits for what must happen at all.
const hung = time.Minute

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hung); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *run) listens() bool {
	c, err := net.Dial("tcp", "127.0.0.1:"+r.port)
	if err == nil {
		c.Close()
	}
	return err == nil
}

func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(status), ") Z ")
}

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		command []string
		want    int
	}{
		{[]string{"sh", "-c", "exit 0"}, 0},
		{[]string{"sh", "-c", "exit 7"}, 7},
		{[]string{"sh", "-c", "kill -9 $$"}, 137},
		{[]string{"sh", "-c", "kill -TERM $$"}, 143},
		{[]string{"/does/not/exist"}, exitNotFound},
		{[]string{"/"}, exitNotRun},
	} {
		t.Run(strings.Join(tt.command, " "), func(t *testing.T) {
			for _, mode := range Modes {
				if got := startWrapper(t, mode, nil, tt.command...).wait(t); got != tt.want {
					t.Errorf("mode %s: exit code %d, want %d", mode, got, tt.want)
				}
			}
		})
	}
}

// The whole ending of a service in mode proxy: a request in flight is finished
// before the service gets its signal, and its exit code is the wrapper's.
func TestProxyEnding(t *testing.T) {
	r := startWrapper(t, Proxy, nil, os.Args[0], "service")
	child := r.pid(t, "child ")
	eventually(t, "the port accepts", r.listens)
	if _, body := r.get(t, "/"); !strings.HasPrefix(body, "grace 1.5 deadline") {
		t.Errorf("the service sees %q", body)
	}

	type answer struct {
		closes bool
		body   string
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := http.Get("http://127.0.0.1:" + r.port + "/slow")
		if err != nil {
			answered <- answer{body: err.Error()}
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answered <- answer{resp.Close, string(body)}
	}()
	r.line(t, "slow")
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.line(t, "got terminated")
	select {
	case a := <-answered:
		if !a.closes || !strings.HasPrefix(a.body, "grace") {
			t.Errorf("the request in flight got %+v", a)
		}
		_, deadline, _ := strings.Cut(a.body, "deadline ")
		if at, err := time.Parse(time.RFC3339, strings.TrimSpace(deadline)); err != nil || time.Until(at) > 10*time.Second {
			t.Errorf("the service was told %q", deadline)
		}
	case <-time.After(20 * time.Second):
		t.Error("the service was signalled before its request was answered")
	}
	if code := r.wait(t); code != 7 {
		t.Errorf("exit code %d, want that of the service", code)
	}
	if alive(child) {
		t.Error("the service lives on")
	}
}

// childPort is that of a child in mode ready.
func childPort() int {
	port, _ := strconv.Atoi(os.Getenv("PORT"))
	return port
}

// Without its proxy the wrapper still waits for balancers before it signals the
// child: that is what mode ready is for, and it is all that mode signal does.
func TestSignalIsDelayed(t *testing.T) {
	health, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	r := startWrapper(t, Ready, []string{floorVariable + "=2s", "HEALTH_PORT=" + strconv.Itoa(health)}, os.Args[0], "service")
	readyz := func() int {
		resp, err := http.Get("http://127.0.0.1:" + strconv.Itoa(health) + "/readyz")
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	eventually(t, "readyz is green", func() bool { return readyz() == http.StatusOK })
	begun := time.Now()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.line(t, "got terminated")
	if took := time.Since(begun); took < 1900*time.Millisecond {
		t.Errorf("the child was signalled after %s", took)
	}
	if code := r.wait(t); code != 7 {
		t.Errorf("code %d", code)
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	r := startWrapper(t, Signal, nil, os.Args[0], "service")
	r.line(t, "child ")
	_ = r.cmd.Process.Signal(syscall.SIGHUP)
	r.line(t, "got hangup")
	_ = r.cmd.Process.Signal(syscall.SIGQUIT)
	r.line(t, "got quit")
	if code := r.wait(t); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

// Nothing survives the wrapper: not the child when the wrapper is killed, and not
// what the child left behind when it ends.
func TestNothingSurvives(t *testing.T) {
	t.Run("wrapper killed", func(t *testing.T) {
		r := startWrapper(t, Signal, nil, os.Args[0], "service")
		child := r.pid(t, "child ")
		_ = r.cmd.Process.Kill()
		eventually(t, "the child is gone", func() bool { return !alive(child) })
	})
	t.Run("orphan", func(t *testing.T) {
		r := startWrapper(t, Signal, nil, os.Args[0], "service", "orphan")
		orphan := r.pid(t, "orphan ")
		if !alive(orphan) {
			t.Fatal("the orphan did not live")
		}
		r.line(t, "child ")
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		r.wait(t)
		if alive(orphan) {
			_ = syscall.Kill(orphan, syscall.SIGKILL)
			t.Error("the orphan lives on")
		}
	})
}

// A child that ignores its signal is killed before the grace period is over.
func TestStubbornChild(t *testing.T) {
	r := startWrapper(t, Signal, []string{"EVENKEEL_GRACE_SECONDS=2"}, "sh", "-c", "trap '' TERM; echo child $$; while :; do sleep 1; done")
	child := r.pid(t, "child ")
	start := time.Now()
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	if code := r.wait(t); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if took := time.Since(start); took > hung {
		t.Errorf("took %s of 2 s", took)
	}
	if alive(child) {
		t.Error("the child lives on")
	}
}

// A machine's deadline that the wrapper is told reaches the child before any signal.
func TestDeadlineRelay(t *testing.T) {
	source := filepath.Join(t.TempDir(), "annotations")
	deadline := time.Now().Add(time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	content := fmt.Sprintf("a=\"b\"\nevenkeel.dev/deadline=%q\n", deadline)
	if err := os.WriteFile(source, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	r := startWrapper(t, Proxy, []string{"EVENKEEL_DEADLINE_FILE=" + source}, os.Args[0], "service")
	eventually(t, "the port accepts", r.listens)
	eventually(t, "the child knows the deadline", func() bool {
		_, body := r.get(t, "/")
		return strings.HasSuffix(strings.TrimSpace(body), "deadline "+deadline)
	})
}

func TestStopSignal(t *testing.T) {
	for _, tt := range []struct {
		command []string
		want    syscall.Signal
	}{
		{[]string{"nginx", "-g", "daemon off;"}, syscall.SIGQUIT},
		{[]string{"/usr/sbin/nginx"}, syscall.SIGQUIT},
		{[]string{"/docker-entrypoint.sh", "nginx"}, syscall.SIGQUIT},
		{[]string{"php-fpm8.2"}, syscall.SIGQUIT},
		{[]string{"uwsgi", "app.ini"}, syscall.SIGQUIT},
		{[]string{"docker-entrypoint.sh", "postgres"}, syscall.SIGINT},
		{[]string{"python3", "server.py"}, syscall.SIGTERM},
		{[]string{"echo", "a", "nginx"}, syscall.SIGTERM},
	} {
		if got := StopSignal(tt.command); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.command, SignalName(got), SignalName(tt.want))
		}
	}
	for name, sig := range signalNames {
		if got, err := ParseSignal(SignalName(sig)); err != nil || got != sig {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := ParseSignal("BANANA"); err == nil {
		t.Error("BANANA is a signal")
	}
}

func TestCountEstablished(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0100007F:1F90 0100007F:9C41 06 00000000:00000000 03:00000000 00000000     0        0 0 3
`
	n, err := countEstablished(strings.NewReader(table), 8080)
	if err != nil || n != 1 {
		t.Errorf("%d connections, error %v; want 1", n, err)
	}
}

// PreStop returns when the last client has left, and not before.
func TestPreStop(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	done := make(chan error, 1)
	go func() { done <- PreStop(t.Context(), port, 0, time.Minute) }()
	select {
	case <-done:
		t.Fatal("returned while a client was connected")
	case <-time.After(300 * time.Millisecond):
	}
	c.Close()
	peer.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("does not return although nobody is connected")
	}
}

func TestCopySelf(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // also over one that is there
		path, err := CopySelf(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o755 || info.Size() == 0 {
			t.Errorf("%v, %v", info, err)
		}
	}
	if _, err := CopySelf(filepath.Join(dir, "no", "such", "folder")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("copying to nowhere: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
