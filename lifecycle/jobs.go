package lifecycle

import (
	"context"
	"fmt"
	"slices"
)

// Consumer registers work that finds its own input: a reader of a queue, a
// poller, a scheduler. Run calls f once the OnStart functions have returned. The
// context of f ends as soon as the process begins to end; f then takes nothing
// new, finishes what it has, hands back what it holds, and returns. For what it
// is finishing it uses WorkContext.
//
// If f returns an error or panics before that, the process begins to end.
func (l *Lifecycle) Consumer(name string, f func(context.Context) error) *Lifecycle {
	l.jobs = append(l.jobs, job{name: name, run: f, consumer: true})
	return l
}

// Job registers work that is given its input by others: a worker pool, a writer
// behind a queue, a batcher. It is like Consumer, but its context ends only when
// nobody can give it anything any more: when no request is in flight, every
// Consumer has returned, and every job named in after has. If they take too long
// its context ends all the same, early enough to finish what it has.
func (l *Lifecycle) Job(name string, f func(context.Context) error, after ...string) *Lifecycle {
	l.jobs = append(l.jobs, job{name: name, run: f, after: after})
	return l
}

// WorkContext is for work that is to be finished although the process ends. It
// ends, with ErrCut as its cause, when the finish phase is over.
func (l *Lifecycle) WorkContext() context.Context { return l.work }

// job is a Consumer or a Job.
type job struct {
	name     string
	run      func(context.Context) error
	after    []string
	consumer bool
}

// checkJobs finds orders that cannot be kept.
func checkJobs(jobs []job) error {
	index := make(map[string]int)
	for i, j := range jobs {
		if _, twice := index[j.name]; twice {
			return fmt.Errorf("two jobs are named %q", j.name)
		}
		index[j.name] = i
	}
	const (
		white = iota
		grey
		black
	)
	colour := make([]int, len(jobs))
	var visit func(i int) error
	visit = func(i int) error {
		switch colour[i] {
		case black:
			return nil
		case grey:
			return fmt.Errorf("job %q would have to end after itself", jobs[i].name)
		}
		colour[i] = grey
		for _, name := range jobs[i].after {
			k, ok := index[name]
			if !ok {
				return fmt.Errorf("job %q is to end after %q, which does not exist", jobs[i].name, name)
			}
			if err := visit(k); err != nil {
				return err
			}
		}
		colour[i] = black
		return nil
	}
	for i := range jobs {
		if err := visit(i); err != nil {
			return err
		}
	}
	return nil
}

// stoppable returns the indexes of the jobs whose contexts may end now, in
// order. ended says which jobs have returned; requests is how many are in
// flight; force stops waiting for order.
func stoppable(jobs []job, ended []bool, phase Phase, requests int, force bool) []int {
	if phase < Unready {
		return nil
	}
	over := func(match func(job) bool) bool {
		for i, j := range jobs {
			if match(j) && !ended[i] {
				return false
			}
		}
		return true
	}
	consumersOver := over(func(j job) bool { return j.consumer })
	var stop []int
	for i, j := range jobs {
		switch {
		case ended[i]:
		case j.consumer, force,
			phase >= Finish && requests == 0 && consumersOver &&
				over(func(k job) bool { return slices.Contains(j.after, k.name) }):
			stop = append(stop, i)
		}
	}
	return stop
}

// jobRuns is the part of the loop of Run that owns the jobs.
type jobRuns struct {
	jobs    []job
	begun   bool
	ended   []bool
	cancels []context.CancelFunc
	results chan jobResult
}

type jobResult struct {
	index int
	err   error
}

func newJobRuns(jobs []job) *jobRuns {
	return &jobRuns{
		jobs: jobs, ended: make([]bool, len(jobs)),
		cancels: make([]context.CancelFunc, len(jobs)), results: make(chan jobResult, len(jobs)),
	}
}

// start runs all jobs.
func (r *jobRuns) start(background context.Context) {
	r.begun = true
	for i, j := range r.jobs {
		ctx, cancel := context.WithCancel(background)
		r.cancels[i] = cancel
		go func() {
			defer cancel()
			r.results <- jobResult{i, call(ctx, "running "+j.name, j.run)}
		}()
	}
}

// running returns the names of the jobs that have not returned.
func (r *jobRuns) running() []string {
	var names []string
	for i, j := range r.jobs {
		if r.begun && !r.ended[i] {
			names = append(names, j.name)
		}
	}
	return names
}

// stop ends the contexts of those jobs that nobody needs any more.
func (r *jobRuns) stop(phase Phase, requests int, force bool) {
	if !r.begun {
		return
	}
	for _, i := range stoppable(r.jobs, r.ended, phase, requests, force) {
		r.cancels[i]()
	}
}
