//go:build unix && !linux

package controlplane

import "syscall"

// childAttr gives a child its own process group, so that Ctrl-C on a terminal
// reaches only the parent, which then ends its children in order.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
