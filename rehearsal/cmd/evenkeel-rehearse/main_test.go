package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/program/programtest"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane/roles"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// asProgram makes the test's executable be evenkeel-rehearse.
const asProgram = "EVENKEEL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	roles.Main()
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestReferencePage keeps docs/reference/evenkeel-rehearse.md what --help says.
func TestReferencePage(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("<!-- Generated from --help: go test ./rehearsal/cmd/evenkeel-rehearse -run Reference -update -->\n")
	for _, args := range [][]string{{}, {"conform"}, {"bench-drain"}} {
		var help bytes.Buffer
		cmd := newCommand(streams{&help, &help})
		cmd.SetArgs(append(args, "--help"))
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		doc.WriteString("# " + strings.Join(append([]string{"evenkeel-rehearse"}, args...), " ") + "\n\n```\n" + help.String() + "```\n")
	}
	programtest.File(t, "../../../docs/reference/evenkeel-rehearse.md", doc.String())
}

// program is a copy of evenkeel-rehearse with the other programs beside it, and
// a temporary folder of its own. Whatever it starts is run from that folder, so
// that the test can tell what is left of it.
type program struct {
	t        *testing.T
	dir, tmp string
}

func install(t *testing.T) *program {
	t.Helper()
	p := &program{t, t.TempDir(), t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.dir+"/",
		"../../../cmd/evenkeel-controller", "../../../platform/gateway", "../../../platform/engine", "../../../platform/batch")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(self, p.exe()); err != nil {
		copyFile(t, self, p.exe()) // another file system
	}
	return p
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

func (p *program) exe() string { return filepath.Join(p.dir, "evenkeel-rehearse") }

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), p.exe(), args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+p.tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// left lists processes that run from the program's folder.
func (p *program) left() []string {
	var out []string
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(exe, p.dir+"/") {
			args, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			out = append(out, filepath.Base(filepath.Dir(link))+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return out
}

// gone waits until nothing runs from the folder any more: a process that was
// killed is still there until the kernel has taken it apart.
func (p *program) gone() {
	p.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for left := p.left(); len(left) > 0; left = p.left() {
		if time.Now().After(end) {
			p.t.Fatalf("still running:\n%s", strings.Join(left, "\n"))
		}
		time.Sleep(20 * time.Millisecond) // a poll: nobody tells when another's child has ended
	}
}

// TestInterrupt presses Ctrl-C in each phase of a rehearsal, and kills it: no
// process is left behind, and after Ctrl-C no folder either.
func TestInterrupt(t *testing.T) {
	if testing.Short() {
		t.Skip("starts four control planes; run without -short, as make test does")
	}
	p := install(t)
	for _, test := range []struct {
		phase  string
		signal syscall.Signal
		code   int
	}{
		{"starting Kubernetes", syscall.SIGINT, exitInterrupted},
		{"starting nodes and services", syscall.SIGINT, exitInterrupted},
		{"load", syscall.SIGTERM, exitInterrupted},
		{"load", syscall.SIGKILL, -1},
	} {
		t.Run(fmt.Sprintf("%v while %s", test.signal, test.phase), func(t *testing.T) {
			p := &program{t, p.dir, t.TempDir()}
			cmd := p.command()
			talk, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			lines := bufio.NewScanner(io.TeeReader(talk, &said))
			reached := false
			for lines.Scan() {
				if reached = strings.Contains(lines.Text(), test.phase); reached {
					break
				}
			}
			if !reached {
				t.Fatalf("it never said %q:\n%s", test.phase, said.String())
			}
			if err := cmd.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, io.TeeReader(talk, &said)); err != nil {
				t.Fatal(err)
			}
			err = cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != test.code {
				t.Errorf("it ended with %v, want exit code %d:\n%s", err, test.code, said.String())
			}
			p.gone()
			if left, err := os.ReadDir(p.tmp); err != nil || test.signal != syscall.SIGKILL && len(left) > 0 {
				t.Errorf("left behind in its temporary folder: %v (%v)", left, err)
			}
		})
	}
}

// TestRehearsal plays a short script with Evenkeel and reads the report.
func TestRehearsal(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; run without -short, as make test does")
	}
	p := install(t)
	dir := t.TempDir()
	out, err := p.command("--scenario", "testdata/short.yaml", "--report", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	h := r.Handlers["evenkeel"]
	switch {
	case r.Verdict != report.Pass:
		t.Errorf("verdict %s: %v", r.Verdict, r.Reasons)
	case h.Nodes.Interrupted != 2 || h.Nodes.EmptiedBeforeDeadline != 2:
		t.Errorf("nodes: %+v, want 2 interrupted and emptied", h.Nodes)
	case h.Handoffs == 0:
		t.Error("no pod was handed off: nothing was rehearsed")
	case h.Requests.Sent < 500:
		t.Errorf("%d requests were sent", h.Requests.Sent)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "report.html")); err != nil || !bytes.Contains(page, []byte("</html>")) {
		t.Errorf("report.html is not a page (%v)", err)
	}
	p.gone()
}

// TestMistakes holds the exit codes and what is said about mistakes.
func TestMistakes(t *testing.T) {
	p := install(t)
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"--handler=magic", exitUsage, "it is one of none, drain, evenkeel"},
		{"--fault=lightning", exitUsage, "apiserver-stop=10s"},
		{"--fault=apiserver-stop=soon", exitUsage, "such as 10s"},
		{"--nonsense", exitUsage, "--help"},
		{"--trace=/nowhere.csv", exitUsage, "/nowhere.csv"},
		{"--manifests=/nowhere", exitUsage, "/nowhere"},
		{"--scenario=/nowhere.yaml", exitUsage, "/nowhere.yaml"},
		{"--load=/nowhere.yaml", exitUsage, "/nowhere.yaml"},
		{"--load=/nowhere.yaml --rate=5", exitUsage, "leave --rate out"},
		{"--bin=/nowhere", exitUsage, "make build"},
		{"--compare --handler=drain", exitUsage, "leave --handler out"},
		{"--dry-run", 0, "notice"},
		{"--print-scenario", 0, "timeScale"},
		{"--help", 0, "Exit codes"},
	} {
		t.Run(test.args, func(t *testing.T) {
			cmd := p.command(strings.Fields(test.args)...)
			out, err := cmd.CombinedOutput()
			code := 0
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				code = exit.ExitCode()
			}
			if code != test.code || !strings.Contains(string(out), test.want) {
				t.Errorf("exit %s, want %s and %q in:\n%s", strconv.Itoa(code), strconv.Itoa(test.code), test.want, out)
			}
		})
	}
}
