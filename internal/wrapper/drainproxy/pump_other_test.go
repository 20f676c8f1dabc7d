//go:build !linux

package drainproxy

import (
	"errors"
	"net"
)

func bytePump(net.Listener, string) error { return errors.ErrUnsupported }
