package controlplanetest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
)

// parentEnv names a folder: the process then starts a control plane there,
// says so and waits to be killed.
const parentEnv = "CONTROLPLANETEST_PARENT_DIR"

func parent(dir string) {
	if _, err := controlplane.Start(context.Background(), controlplane.Config{Dir: dir}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// A parent that is killed cannot clean up; its children must end by themselves.
func TestKilledParentLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), parentEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Errorf("the parent said %q; want ready", line)
	}
	if got := len(processesIn(t, dir)); got != len(allRoles) {
		t.Errorf("%d processes before the kill; want %d", got, len(allRoles))
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "all roles to end", func() (bool, error) {
		left := processesIn(t, dir)
		return len(left) == 0, fmt.Errorf("left: %v", left)
	})
}

// The kernel's parent-death signal hides whether the pipe works, so this parent
// starts a role without it.
func TestRoleEndsWhenItsPipeCloses(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd := exec.Command(exe, "kube-role=etcd")
	cmd.Dir = dir
	cmd.ExtraFiles = []*os.File{read}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "etcd to be ready", func() (bool, error) {
		_, err := os.Stat(filepath.Join(dir, controlplane.EtcdReadyFile))
		return err == nil, err
	})
	write.Close()
	select {
	case <-ended:
	case <-time.After(hung):
		cmd.Process.Kill()
		t.Fatal("etcd lives on after its pipe was closed")
	}
}

// A mistake in a component's flags is the likeliest way for a start to fail.
func TestFailedStartSaysWhyAndLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	_, err := controlplane.Start(t.Context(), controlplane.Config{
		Dir:   dir,
		Flags: map[controlplane.Role][]string{controlplane.Scheduler: {"--no-such-flag"}},
	})
	if err == nil {
		t.Fatal("Start succeeded")
	}
	for _, want := range []string{"scheduler", "no-such-flag", filepath.Join(dir, "logs", "scheduler.log")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not mention %q", err, want)
		}
	}
	if left := processesIn(t, dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

// processesIn returns the living processes whose working directory is below
// dir, as every role's is.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil || len(links) == 0 {
		t.Skip("this system has no /proc")
	}
	var found []string
	for _, link := range links {
		if cwd, err := os.Readlink(link); err != nil || !strings.HasPrefix(cwd, dir+"/") { // a zombie has none
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		found = append(found, fmt.Sprintf("%s %.60q", filepath.Dir(link), cmdline))
	}
	return found
}

// residentMiB returns a process's resident memory.
func residentMiB(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatal(io.ErrUnexpectedEOF)
	return 0
}
