package lifecycle

import (
	"sync"
	"sync/atomic"
	"time"
)

// This file knows which requests are in flight. What it costs is paid by every
// request of the process: no allocation, and no lock that all cores share.

// protocol is what requests are counted by.
type protocol uint8

const (
	protoHTTP1 protocol = iota
	protoHTTP2
	protoGRPC
	protoWebSocket
	protoHijacked // taken over by its handler, and not WebSocket
	protoOther
	protocols
)

var protocolNames = [protocols]string{"http1", "http2", "grpc", "websocket", "hijacked", "other"}

func (p protocol) String() string { return protocolNames[p] }

func parseProtocol(s string) protocol {
	for p, name := range protocolNames {
		if s == name {
			return protocol(p)
		}
	}
	return protoOther
}

// entry is one request in flight. Its fields do not change between add and
// remove, except bytes.
type entry struct {
	proto                  protocol
	start                  time.Duration // after the epoch of inFlight
	method, host, path     string        // the path without its query, which may hold secrets
	route                  string        // if known from the start
	traceparent, requestID string
	bytes                  atomic.Int64 // written so far

	shard          *shard // set once
	previous, next *entry // owned by the shard
	listed         bool   // owned by the shard
}

// shard is one of several lists of entries, so that cores seldom meet at a lock.
type shard struct {
	mu       sync.Mutex
	first    *entry // the youngest
	inFlight [protocols]int
	finished [protocols]int64
	begun    int64
	latest   time.Duration // when the youngest began
	_        [64]byte      // keeps neighbours off this cache line
}

const shards = 8

// inFlight holds the requests that are being served.
type inFlight struct {
	epoch  time.Time // set once; times count from here, so that they are monotonic
	shards [shards]shard
	spread atomic.Uint32
}

// assign gives a new entry its shard. Entries of HTTP requests are used again by
// the core that used them last (see exchangePool), so a shard mostly stays with a
// core.
func (f *inFlight) assign(e *entry) { e.shard = &f.shards[f.spread.Add(1)%shards] }

// now is the time on the clock of entries.
func (f *inFlight) now() time.Duration { return time.Since(f.epoch) }

func (e *entry) add() {
	s := e.shard
	s.mu.Lock()
	e.next = s.first
	if s.first != nil {
		s.first.previous = e
	}
	s.first = e
	e.listed = true
	s.inFlight[e.proto]++
	s.begun++
	s.latest = e.start
	s.mu.Unlock()
}

// remove takes the entry off the list, once. A request that was handed to another
// entry (a hijacked connection) has not finished.
func (e *entry) remove(finished bool) {
	s := e.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.listed {
		return
	}
	e.listed = false
	if e.previous != nil {
		e.previous.next = e.next
	} else {
		s.first = e.next
	}
	if e.next != nil {
		e.next.previous = e.previous
	}
	e.previous, e.next = nil, nil
	s.inFlight[e.proto]--
	if finished {
		s.finished[e.proto]++
	}
}

// counts is the sum over the shards.
type counts struct {
	inFlight [protocols]int
	finished [protocols]int64
	begun    int64
	latest   time.Time // zero if nothing has begun
}

// http is the number of requests that are also seen as active connections.
func (c counts) http() int { return c.inFlight[protoHTTP1] + c.inFlight[protoHTTP2] }

func (c counts) all() (n int) {
	for _, k := range c.inFlight {
		n += k
	}
	return n
}

func (f *inFlight) counts() counts {
	var c counts
	var latest time.Duration
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		for p := range c.inFlight {
			c.inFlight[p] += s.inFlight[p]
			c.finished[p] += s.finished[p]
		}
		c.begun += s.begun
		latest = max(latest, s.latest)
		s.mu.Unlock()
	}
	if c.begun > 0 {
		c.latest = f.epoch.Add(latest)
	}
	return c
}

// each calls f for every entry. f must be quick: requests of the shard wait.
func (f *inFlight) each(do func(*entry)) {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		for e := s.first; e != nil; e = e.next {
			do(e)
		}
		s.mu.Unlock()
	}
}

// A Call describes a request that comes by another way than a Handler, for
// adapters to other servers. The cut record names the call by it.
type Call struct {
	Protocol    string // "grpc"; anything else is counted as "other"
	Method      string // HTTP method or kind of call, if that means anything
	Route       string // name of the operation, without ids or secrets
	Traceparent string // W3C trace context, if there is one
	RequestID   string
}

// A Counted is a call in flight. Its methods are safe for concurrent use.
type Counted struct{ entry entry }

// Begin counts a call, which holds up the end of the process until End.
func (l *Lifecycle) Begin(c Call) *Counted {
	k := &Counted{entry{
		proto: parseProtocol(c.Protocol), start: l.requests.now(),
		method: c.Method, route: c.Route, traceparent: c.Traceparent, requestID: c.RequestID,
	}}
	l.requests.assign(&k.entry)
	k.entry.add()
	return k
}

// Sent adds n bytes to what the call has answered so far.
func (k *Counted) Sent(n int) { k.entry.bytes.Add(int64(n)) }

// End is called when the call is over. Calls after the first do nothing.
func (k *Counted) End() { k.entry.remove(true) }
