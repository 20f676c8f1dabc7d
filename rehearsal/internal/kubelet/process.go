package kubelet

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// spawner starts all processes of a Kubelet from one OS thread.
//
// Every process asks the kernel for SIGKILL when its parent dies (Pdeathsig), so
// that a rehearsal that crashes leaves nothing behind. To the kernel the parent
// is the thread that forked, not the program, and the Go runtime ends threads as
// it likes; a process started from an arbitrary goroutine could be killed in the
// middle of a rehearsal. So the forking goroutine is locked to a thread that
// lives until the last process has been reaped.
//
// The kernel sends the signal to the first process of a container alone: what it
// forked itself survives a crash of the rehearsal (not an ordinary end).
type spawner struct{ requests chan spawnRequest }

type spawnRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

func newSpawner() *spawner { return &spawner{requests: make(chan spawnRequest)} }

func (s *spawner) run(ctx context.Context) {
	// Never unlocked: the thread ends with this goroutine, and with it whatever
	// it had started.
	runtime.LockOSThread()
	for {
		select {
		case r := <-s.requests:
			r.reply <- r.cmd.Start()
		case <-ctx.Done():
			return
		}
	}
}

// start is called only while run runs.
func (s *spawner) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r := spawnRequest{cmd: cmd, reply: make(chan error, 1)}
	s.requests <- r
	return <-r.reply
}

// process is a process group on a machine. Its first process is our child.
type process struct {
	cmd       *exec.Cmd
	pod       types.UID
	container string // empty for the command of a hook or a probe

	done chan struct{} // closed when the group is gone
	code int32         // valid after done: exit code, or 128 + signal
}

func (p *process) group() int { return p.cmd.Process.Pid }

// errPowerOff is returned for what cannot start because the machine is gone.
var errPowerOff = errors.New("the machine has lost power")

// start runs cmd in a process group of its own.
func (n *node) start(s *spawner, pod types.UID, container string, cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, pod: pod, container: container, done: make(chan struct{})}
	// The lock is held across the fork: powerOff sees either no process or one
	// that it can kill.
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return nil, errPowerOff
	}
	if err := s.start(cmd); err != nil {
		return nil, err
	}
	n.groups[p] = struct{}{}
	go n.reap(p) // ends with p.done, which whoever started p waits for
	return p, nil
}

// reap waits for the first process to end, kills the rest of its group and
// collects the exit code.
func (n *node) reap(p *process) {
	// WNOWAIT leaves a zombie, which keeps the number of the group from being
	// given to somebody else until the group is out of n.groups.
	for {
		err := unix.Waitid(unix.P_PID, p.group(), nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	n.mu.Lock()
	delete(n.groups, p)
	_ = syscall.Kill(-p.group(), syscall.SIGKILL)
	n.mu.Unlock()

	_ = p.cmd.Wait() // the error repeats the exit code
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	p.code = int32(status.ExitStatus())
	if status.Signaled() {
		p.code = 128 + int32(status.Signal())
	}
	// Killed members are not ours to wait for. They are gone within microseconds,
	// unless the machine's init leaves zombies, which do no harm.
	for range 50 {
		if errors.Is(syscall.Kill(-p.group(), 0), syscall.ESRCH) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(p.done)
}

// signal sends sig to the group, if its first process still lives.
func (n *node) signal(p *process, sig syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.groups[p]; ok {
		_ = syscall.Kill(-p.group(), sig) // ESRCH cannot happen: it is not reaped
	}
}

// killContainer kills the container's process and reports whether there was one.
func (n *node) killContainer(pod types.UID, container string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.groups {
		if p.pod == pod && p.container == container {
			_ = syscall.Kill(-p.group(), syscall.SIGKILL)
			return true
		}
	}
	return false
}
