//go:build !linux

package drainproxy

import "net"

// rawReader and rawWriter are what rawio_linux.go says; here they leave it to
// net.Conn.
type rawReader struct{}

func (*rawReader) reset(net.Conn)                          {}
func (*rawReader) read([]byte) (n int, ok bool, err error) { return 0, false, nil }

type rawWriter struct{ net net.Conn }

func (w *rawWriter) reset(c net.Conn)                  { w.net = c }
func (w *rawWriter) Write(p []byte) (n int, err error) { return w.net.Write(p) }
