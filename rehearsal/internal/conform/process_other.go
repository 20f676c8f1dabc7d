//go:build unix && !linux

package conform

import "syscall"

// Other systems have no parent-death signals.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Nor sub-reapers.
func adoptOrphans() (end func()) { return func() {} }
