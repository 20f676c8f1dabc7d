package controlplane

import "syscall"

// childAttr gives a child its own process group, so that Ctrl-C on a terminal
// reaches only the parent, which then ends its children in order; and has the
// kernel kill it with its parent.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
