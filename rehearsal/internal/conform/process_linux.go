package conform

import (
	"os"
	"slices"
	"strconv"
	"strings"
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

// adoptOrphans makes this process the parent of what its copies leave behind. The
// returned function kills and reaps that, and is called when every copy has ended;
// children that were there before are spared.
func adoptOrphans() (end func()) {
	before := children()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	return func() {
		defer func() { _, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 0, 0) }()
		for range 100 { // generations, or a moment for one that is slow to die
			left := slices.DeleteFunc(children(), func(pid int) bool { return slices.Contains(before, pid) })
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
