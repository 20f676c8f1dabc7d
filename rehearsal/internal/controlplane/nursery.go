package controlplane

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// nursery starts child processes that do not outlive this process, however it
// ends. Two mechanisms, because each has a hole:
//
// The kernel kills a child when its parent dies (Pdeathsig, Linux only). What
// the kernel takes for the parent is the thread that started the child, and Go
// may end a thread while the process lives on. Therefore one goroutine starts
// all children, on a thread that it keeps until close.
//
// Every child reads from a pipe whose other end only this process holds. The
// kernel closes it with the process, and the child exits at the end of file
// (package roles). This needs the child's cooperation, and holds on every
// system and through any number of processes in between.
type nursery struct {
	requests chan startRequest
	ended    chan struct{} // closed when the starting goroutine has returned

	read, write *os.File // the pipe; children inherit read, nobody inherits write
}

type startRequest struct {
	cmd *exec.Cmd
	err chan<- error
}

func openNursery() (*nursery, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making the pipe that children watch: %w", err)
	}
	n := &nursery{
		requests: make(chan startRequest),
		ended:    make(chan struct{}),
		read:     read,
		write:    write,
	}
	go n.run()
	return n, nil
}

func (n *nursery) run() {
	defer close(n.ended)
	runtime.LockOSThread() // never unlocked: nobody else may use, and end, this thread
	for r := range n.requests {
		r.err <- r.cmd.Start()
	}
}

// start starts cmd, whose ExtraFiles and SysProcAttr must not be set.
func (n *nursery) start(cmd *exec.Cmd) error {
	cmd.ExtraFiles = []*os.File{n.read} // becomes ParentPipe
	cmd.SysProcAttr = childAttr()
	err := make(chan error)
	n.requests <- startRequest{cmd, err}
	return <-err
}

// close must be called after all children have ended, and only once.
func (n *nursery) close() {
	close(n.requests)
	<-n.ended
	n.write.Close()
	n.read.Close()
}
