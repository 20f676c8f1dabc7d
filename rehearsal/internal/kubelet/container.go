package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

type containerKind int

const (
	mainContainer containerKind = iota
	initContainer
	sidecar // an init container that keeps running
)

// container is one container of a pod. The pod's worker owns it.
type container struct {
	spec   *corev1.Container
	kind   containerKind
	policy corev1.RestartPolicy

	run     *run                             // nil while no process lives
	waiting *corev1.ContainerStateWaiting    // why it does not run; nil when it runs or has ended for good
	ended   *corev1.ContainerStateTerminated // the run that ended last
	before  *corev1.ContainerStateTerminated // the run before that one
	runs    int32
	served  bool // has been started once, as far as its startup probe can tell
	back    backoff
	due     time.Time // not started before
}

// run is one life of a container's process.
type run struct {
	process   *process
	reach     reach
	ctx       context.Context // ends with the process
	end       context.CancelFunc
	checks    context.Context // of startup and liveness probes: ends when it is being stopped
	endChecks context.CancelFunc
	at        time.Time
	started   bool // its startup probe has passed
	ready     bool
	stop      *stop // nil unless it is being stopped
}

// anyAlive reports whether one of the containers has a process.
func anyAlive(all []*container) bool {
	return slices.ContainsFunc(all, func(c *container) bool { return c.run != nil })
}

// finished reports whether the container has ended and will not be run again.
func (c *container) finished() bool {
	return c.run == nil && c.ended != nil && !restartAfter(c.policy, c.ended.ExitCode)
}

func (c *container) succeeded() bool { return c.finished() && c.ended.ExitCode == 0 }

func (c *container) failed() bool { return c.finished() && c.ended.ExitCode != 0 }

// status describes the container for the API.
func (c *container) status() corev1.ContainerStatus {
	started := c.run != nil && c.run.started
	s := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image,
		Started: &started, RestartCount: max(c.runs-1, 0),
	}
	switch {
	case c.run != nil:
		at := stamp(c.run.at)
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: at}
		s.LastTerminationState.Terminated = c.ended
		s.Ready = c.run.started && c.run.ready && c.kind != initContainer
		s.ContainerID = containerID(c.run.process)
	case c.waiting != nil:
		s.State.Waiting = c.waiting
		s.LastTerminationState.Terminated = c.ended
	default:
		s.State.Terminated = c.ended
		s.LastTerminationState.Terminated = c.before
		s.Ready = c.kind == initContainer && c.ended.ExitCode == 0
	}
	if c.ended != nil && c.run == nil {
		s.ContainerID = c.ended.ContainerID
	}
	return s
}

func containerID(p *process) string { return "process://" + strconv.Itoa(p.group()) }

// converge starts the container if it should run and does not.
func (w *worker) converge(c *container) {
	if c.run != nil || c.finished() {
		return
	}
	if w.now.Before(c.due) {
		w.wakeAt(c.due)
		return
	}
	image, ok := w.k.cfg.Images[c.spec.Image]
	if !ok {
		if c.waiting == nil || c.waiting.Reason != reasonErrImagePull {
			message := fmt.Sprintf("no local program stands for image %q", c.spec.Image)
			c.waiting = &corev1.ContainerStateWaiting{Reason: reasonErrImagePull, Message: message}
			w.warn(c, "Failed", fmt.Sprintf("Failed to pull image %q: %s", c.spec.Image, message))
		}
		return
	}
	c.runs++
	if err := w.start(c, image); err != nil {
		if errors.Is(err, errPowerOff) {
			return // the worker is about to see it too
		}
		w.warn(c, "Failed", "Error: "+err.Error())
		at := stamp(w.now)
		w.ended(c, &corev1.ContainerStateTerminated{
			ExitCode: 128, Reason: reasonStartError, Message: err.Error(), StartedAt: at, FinishedAt: at,
		}, 0)
	}
}

// start runs the container's process.
func (w *worker) start(c *container, image Image) error {
	in := w.envInput(c, image)
	env, err := environment(in)
	if err != nil {
		return err
	}
	argv := commandLine(c.spec, image, env, in.mounts)
	dir := filepath.Join(w.dir, "containers", c.spec.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the working directory: %w", err)
	}
	if real := in.mounts.rewrite(c.spec.WorkingDir); real != c.spec.WorkingDir {
		dir = real
	}
	cmd, err := command(argv, env, dir)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(w.logDir, c.spec.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the container's log: %w", err)
	}
	defer log.Close() // the process has its own descriptor, without a pipe or a copier between
	cmd.Stdout, cmd.Stderr = log, log
	p, err := w.n.start(w.k.spawn, w.pod.UID, c.spec.Name, cmd)
	if err != nil {
		return err
	}
	r := &run{process: p, at: time.Now()}
	r.ctx, r.end = context.WithCancel(w.ctx)
	r.checks, r.endChecks = context.WithCancel(r.ctx)
	r.reach = reach{ip: in.podIP, ports: c.spec.Ports, host: w.translate, exec: func(ctx context.Context, argv []string) error {
		return w.execIn(ctx, argv, env, dir, in.mounts)
	}}
	c.run, c.waiting = r, nil
	w.task(func() {
		<-p.done
		w.post(func() { w.exited(c, r) })
	})
	w.event(c, "Started", "Container started")
	if l := c.spec.Lifecycle; l != nil && l.PostStart != nil {
		w.task(func() {
			err := r.reach.hook(r.ctx, l.PostStart)
			w.post(func() {
				if err != nil && c.run == r && r.stop == nil {
					w.warn(c, "FailedPostStartHook", err.Error())
					w.stop(c, w.now.Add(w.grace()))
				}
			})
		})
	}
	w.startProbes(c, r)
	return nil
}

// command finds the program in the PATH of the container, not in ours.
func command(argv []string, env map[string]string, dir string) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, errors.New("there is no command: neither the container nor its image names one")
	}
	path := argv[0]
	if !strings.Contains(path, "/") {
		for _, folder := range filepath.SplitList(env["PATH"]) {
			candidate := filepath.Join(folder, argv[0])
			if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				path = candidate
				break
			}
		}
		if path == argv[0] {
			return nil, fmt.Errorf("exec: %q: executable file not found in $PATH", argv[0])
		}
	}
	return &exec.Cmd{Path: path, Args: argv, Env: assignments(env), Dir: dir}, nil
}

// execIn runs a command of a hook or an exec probe beside the container's
// process. It is killed when ctx ends.
func (w *worker) execIn(ctx context.Context, argv []string, env map[string]string, dir string, m mounts) error {
	words := make([]string, len(argv))
	for i, word := range argv { // not expanded: $(NAME) is for a container's own command
		words[i] = m.rewrite(word)
	}
	cmd, err := command(words, env, dir)
	if err != nil {
		return err
	}
	p, err := w.n.start(w.k.spawn, w.uid, "", cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		w.n.signal(p, syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("command %q: %w", argv[0], ctx.Err())
	}
	if p.code != 0 {
		return fmt.Errorf("command %q exited with %d", argv[0], p.code)
	}
	return nil
}

// exited takes note of the end of a run's process.
func (w *worker) exited(c *container, r *run) {
	r.end()
	end := &corev1.ContainerStateTerminated{
		ExitCode: r.process.code, Reason: reasonCompleted,
		StartedAt: stamp(r.at), FinishedAt: stamp(w.now), ContainerID: containerID(r.process),
	}
	if end.ExitCode != 0 {
		end.Reason = reasonError
		if w.end == nil { // nobody asked for it
			end.Message = lastWords(filepath.Join(w.logDir, c.spec.Name+".log"))
		}
	}
	c.run = nil
	w.log.Debug("container ended", "container", c.spec.Name, "code", end.ExitCode)
	w.ended(c, end, w.now.Sub(r.at))
}

// lastWords returns the last lines of a container's log, as a kubelet does with the
// termination message policy FallbackToLogsOnError: here every container has it, since none
// can write to /dev/termination-log.
func lastWords(path string) string {
	const most = 2048 // bytes, as in a kubelet
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var from int64
	if info, err := f.Stat(); err == nil {
		from = max(0, info.Size()-most)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, from, most))
	if err != nil {
		return ""
	}
	if _, whole, ok := bytes.Cut(text, []byte("\n")); ok && from > 0 {
		text = whole // what comes before is half a line
	}
	return strings.ToValidUTF8(string(bytes.TrimSpace(text)), "?")
}

// ended decides when a container that has ended runs again.
func (w *worker) ended(c *container, end *corev1.ContainerStateTerminated, ran time.Duration) {
	c.before, c.ended, c.waiting = c.ended, end, nil
	if c.finished() || w.end != nil {
		return
	}
	wait := c.back.after(ran)
	c.due = w.now.Add(wait)
	if wait > 0 {
		message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", wait, c.spec.Name, w.pod.Name, w.pod.Namespace, w.pod.UID)
		c.waiting = &corev1.ContainerStateWaiting{Reason: reasonCrashLoopBackOff, Message: message}
		w.warn(c, "BackOff", "Back-off restarting failed container "+c.spec.Name)
	}
}
