package conform

import "syscall"

// childAttributes put a copy into a group of its own, so that all of it can be
// killed, and let the kernel kill it if this process is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
