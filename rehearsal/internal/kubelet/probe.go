package kubelet

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// firstProbe is how long after a container's start it is first probed when it
// asks for no delay. A kubelet's probe ticks begin before the container, so that
// the first one falls anywhere within a period; here it falls a little after the
// start, when an ordinary server has opened its port, so that one run is like
// another.
const firstProbe = 200 * time.Millisecond

// probeKind is startup, liveness or readiness.
type probeKind string

const (
	startup   probeKind = "Startup"
	liveness  probeKind = "Liveness"
	readiness probeKind = "Readiness"
)

// probeSpec is a probe with its defaults filled in.
type probeSpec struct {
	kind                   probeKind
	handler                corev1.ProbeHandler
	delay, period, timeout time.Duration
	successes, failures    int
}

func newProbeSpec(kind probeKind, p *corev1.Probe) probeSpec {
	seconds := func(n, def int32) time.Duration { return time.Duration(cmp.Or(n, def)) * time.Second }
	return probeSpec{
		kind: kind, handler: p.ProbeHandler,
		delay: seconds(p.InitialDelaySeconds, 0), period: seconds(p.PeriodSeconds, 10), timeout: seconds(p.TimeoutSeconds, 1),
		successes: int(cmp.Or(p.SuccessThreshold, 1)), failures: int(cmp.Or(p.FailureThreshold, 3)),
	}
}

// threshold turns single results into a verdict that changes only after enough
// equal results in a row.
type threshold struct {
	successes, failures int

	last bool
	run  int
}

// observe adds a result. Decided is false while there are too few like it, and
// the verdict that was reached before holds.
func (t *threshold) observe(ok bool) (verdict, decided bool) {
	if t.run == 0 || t.last != ok {
		t.last, t.run = ok, 0
	}
	t.run++
	need := t.failures
	if ok {
		need = t.successes
	}
	return ok, t.run >= need
}

// startProbes begins to probe a container that has just been started. Until the
// startup probe passes there is no other.
func (w *worker) startProbes(c *container, r *run) {
	if c.kind == initContainer {
		r.started = true
		return
	}
	if c.spec.StartupProbe == nil {
		w.begin(c, r, firstProbe)
		return
	}
	ctx, end := context.WithCancel(r.checks)
	w.probe(ctx, c, r, newProbeSpec(startup, c.spec.StartupProbe), firstProbe, func(ok bool) {
		switch {
		case !ok:
			w.stop(c, w.now.Add(w.probeGrace(c.spec.StartupProbe)))
		case !r.started:
			end()
			w.begin(c, r, 0)
		}
	})
}

// begin takes note that the container has started and probes it from now on. No
// readiness probe means ready.
func (w *worker) begin(c *container, r *run, first time.Duration) {
	r.started, c.served = true, true
	if p := c.spec.ReadinessProbe; p != nil {
		w.probe(r.ctx, c, r, newProbeSpec(readiness, p), first, func(ok bool) { r.ready = ok })
	} else {
		r.ready = true
	}
	if p := c.spec.LivenessProbe; p != nil {
		w.probe(r.checks, c, r, newProbeSpec(liveness, p), first, func(ok bool) {
			if !ok {
				w.stop(c, w.now.Add(w.probeGrace(p)))
			}
		})
	}
}

// probe has the container probed until ctx ends and calls verdict, in the
// worker, whenever enough equal results have come in.
func (w *worker) probe(ctx context.Context, c *container, r *run, spec probeSpec, first time.Duration, verdict func(ok bool)) {
	if spec.delay > 0 {
		first = max(time.Until(r.at.Add(spec.delay)), 0)
	}
	t := threshold{successes: spec.successes, failures: spec.failures}
	result := func(err error) {
		if ctx.Err() != nil {
			return
		}
		if err != nil && (t.run == 0 || t.last) { // the first failure of a row is told
			w.warn(c, "Unhealthy", fmt.Sprintf("%s probe failed: %v", spec.kind, err))
		}
		if ok, decided := t.observe(err == nil); decided {
			verdict(ok)
		}
	}
	w.task(func() {
		r.reach.probe(ctx, spec, first, func(err error) { w.post(func() { result(err) }) })
	})
}

// probeGrace is the grace period of a container that fails a probe.
func (w *worker) probeGrace(p *corev1.Probe) time.Duration {
	if s := p.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return w.grace()
}

// reach is the way to a container, for its probes and hooks.
type reach struct {
	ip    netip.Addr // where it listens
	ports []corev1.ContainerPort
	// host translates an address of the cluster in an explicit host.
	host func(string) string
	exec func(ctx context.Context, argv []string) error
}

// check probes the container once; nil means that it answered well.
func (r reach) check(ctx context.Context, h corev1.ProbeHandler) error {
	switch {
	case h.Exec != nil:
		return r.exec(ctx, h.Exec.Command)
	case h.HTTPGet != nil:
		return r.httpGet(ctx, h.HTTPGet, "kube-probe/1.37")
	case h.TCPSocket != nil:
		addr, err := r.address(h.TCPSocket.Host, h.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return errors.New("a probe of this kind is not played")
}

// httpGet succeeds with any status from 200 to 399. It follows a redirect only
// to the host that sent it; one that leads elsewhere is an answer.
func (r reach) httpGet(ctx context.Context, get *corev1.HTTPGetAction, agent string) error {
	addr, err := r.address(get.Host, get.Port)
	if err != nil {
		return err
	}
	path, query, _ := strings.Cut(get.Path, "?")
	u := url.URL{Scheme: cmp.Or(strings.ToLower(string(get.Scheme)), "http"), Host: addr, Path: "/" + strings.TrimPrefix(path, "/"), RawQuery: query}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", agent)
	for _, h := range get.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,                                  // a probe must see whether a new connection is accepted
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // as kubelets do: pods' certificates are their own
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Host != via[0].URL.Host || len(via) >= 10 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 10<<10)
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", resp.StatusCode)
	}
	return nil
}

// address finds host and port; a port may be given by its name.
func (r reach) address(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = r.ip.String()
	} else {
		host = r.host(host)
	}
	number := port.IntValue()
	if port.Type == intstr.String && number == 0 {
		for _, p := range r.ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number <= 0 || number > 65535 {
		return "", fmt.Errorf("there is no port %s", port.String())
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// hook runs a lifecycle handler to its end.
func (r reach) hook(ctx context.Context, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		return r.exec(ctx, h.Exec.Command)
	case h.HTTPGet != nil:
		return r.httpGet(ctx, h.HTTPGet, "kube-lifecycle/1.37")
	case h.Sleep != nil:
		sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		return ctx.Err()
	}
	return errors.New("a hook of this kind is not played")
}

// probe keeps probing until ctx ends. Each result goes to the pod's worker,
// which decides what it means.
func (r reach) probe(ctx context.Context, spec probeSpec, first time.Duration, result func(error)) {
	if !sleep(ctx, first) {
		return
	}
	tick := time.NewTicker(spec.period)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, spec.timeout)
		err := r.check(try, spec.handler)
		cancel()
		if ctx.Err() != nil {
			return
		}
		result(err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
