//go:build unix && !linux

package wrapper

import "syscall"

// Other systems have neither parent-death signals nor sub-reapers; pods run on
// Linux.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func adoptOrphans() {}

func killAdopted() {}
