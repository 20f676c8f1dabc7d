package controller

import "sync"

// lane carries work out, so much of it at once, in the order in which it was
// asked for: that of its urgency. What waits is a value in a list; thousands of
// goroutines that wait for their turn would cost as many stacks.
type lane struct {
	most int

	mu      sync.Mutex
	waiting []func()
	running int
}

// add asks for work to be done. The goroutines that do it are counted in g.
func (l *lane) add(g *sync.WaitGroup, work func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, work)
	if l.running < l.most {
		l.running++
		g.Go(l.run)
	}
}

func (l *lane) run() {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.waiting = nil // what it has grown to is not needed again soon
			l.running--
			l.mu.Unlock()
			return
		}
		work := l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		work()
	}
}
