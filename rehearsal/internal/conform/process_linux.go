package conform

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// childAttributes put a copy into a group of its own, so that all of it can be
// killed, and let the kernel kill it if this process is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of prctl(2).
const prSetChildSubreaper = 36

// adoption is process-wide, as the kernel's setting is: what runs of this process
// leave behind cannot be told apart, so the last one to end cleans up.
var adoption struct {
	mu     sync.Mutex
	runs   int
	before []int // children that were there before the first run; they are spared
}

// adoptOrphans makes this process the parent of what its copies leave behind. The
// returned function kills and reaps that. It is called when every copy of the run
// has ended.
func adoptOrphans() (end func()) {
	adoption.mu.Lock()
	defer adoption.mu.Unlock()
	if adoption.runs++; adoption.runs == 1 {
		adoption.before = children()
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	}
	return func() {
		adoption.mu.Lock()
		defer adoption.mu.Unlock()
		if adoption.runs--; adoption.runs > 0 {
			return
		}
		killChildren(adoption.before)
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 0, 0)
	}
}

// killChildren kills the children of this process, and theirs as they are adopted
// in turn.
func killChildren(spare []int) {
	for range 100 { // generations, or a moment for one that is slow to die
		left := slices.DeleteFunc(children(), func(pid int) bool { return slices.Contains(spare, pid) })
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for _, pid := range left {
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// children are the processes whose parent is this one.
func children() (pids []int) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	for _, task := range tasks {
		list, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
