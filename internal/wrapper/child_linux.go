package wrapper

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// childAttributes put the child into a group of its own, and let the kernel kill
// it if this process dies without having stopped it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of prctl(2).
const prSetChildSubreaper = 36

// adoptOrphans makes this process the parent of what its descendants leave behind,
// as process 1 is by nature. Where the kernel refuses, they go to process 1.
func adoptOrphans() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
}

// killAdopted kills the children of this process, of which all are adopted by now,
// and theirs as they are adopted in turn.
func killAdopted() {
	self := os.Getpid()
	for range 16 { // generations
		found := false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return
		}
		for _, task := range tasks {
			// The kernel lists children by the thread that has them.
			list, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
			if err != nil {
				continue
			}
			for _, field := range strings.Fields(string(list)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 && pid != self {
					found = syscall.Kill(pid, syscall.SIGKILL) == nil || found
				}
			}
		}
		if !found {
			return
		}
	}
}
