package rehearse

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/load"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// collect puts the findings together: what the load saw, what the services wrote
// down, what the observer saw.
func (s *stage) collect(ctx context.Context) (*report.Handler, error) {
	out := s.observer.Result(s.Scenario.TimeScale)
	result := s.load.Result()
	recorded, err := s.ledgers(load.Orders)
	if err != nil {
		return nil, err
	}
	units, err := s.ledgers(load.Units)
	if err != nil {
		return nil, err
	}
	out.Jobs.Units = len(s.Platform.units)
	for _, unit := range s.Platform.units {
		if units[unit] > 0 {
			out.Jobs.Done++
		}
		if units[unit] > 1 {
			out.Jobs.Doubled++
		}
	}
	v := load.Reconcile(result, recorded)
	out.Requests = report.Requests{
		Sent: v.Sent, Failed: v.Failed, FailedByCause: v.FailedByCause, Doubled: v.Doubled, LatencyMillis: result.Latency(),
	}
	out.Timeline.Load = result.Bins()
	out.Timeline.NoticeLead = s.Scenario.Real(s.Scenario.NoticeLead).Seconds()
	if s.handler != Evenkeel {
		return out, nil
	}
	err = s.eachLog(s.Platform.Namespace+"_"+s.Platform.Controller+"-*", func(r io.Reader) error {
		n, starts, err := escalations(r)
		out.Escalations += n
		out.ControllerRestarts += max(starts-1, 0)
		return err
	})
	return out, err
}

// ledgers counts how often each id stands in what services and Jobs wrote down: in
// their output, and on their volumes.
func (s *stage) ledgers(kind string) (map[string]int, error) {
	times := make(map[string]int)
	read := func(r io.Reader) error {
		for e, err := range load.ReadLedger(r, kind) {
			if err != nil {
				return err
			}
			times[e.ID]++
		}
		return nil
	}
	files, err := s.storage.Files()
	if err != nil {
		return nil, err
	}
	return times, errors.Join(eachFile(files, read), s.eachLog(s.Platform.Namespace+"_*", read))
}

// eachLog calls f with every container log of the pods that match a pattern.
// The kubelet keeps logs when pods are gone.
func (s *stage) eachLog(pattern string, f func(io.Reader) error) error {
	files, err := filepath.Glob(filepath.Join(s.dir, "nodes", "logs", pattern, "*.log"))
	if err != nil {
		return fmt.Errorf("finding logs: %w", err)
	}
	return eachFile(files, f)
}

// eachFile calls f with the content of every file.
func eachFile(files []string, f func(io.Reader) error) error {
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("reading what was written down: %w", err)
		}
		err = f(file)
		file.Close()
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return nil
}

// escalations counts, in a controller's log, the pods that had to go before
// their replacement was there, and the starts of the process. A line that a kill
// cut short is passed over.
func escalations(r io.Reader) (n, starts int, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var line struct {
			Msg     string        `json:"msg"`
			Reason  drain.Reason  `json:"reason"`
			Outcome drain.Outcome `json:"outcome"`
		}
		if json.Unmarshal(in.Bytes(), &line) != nil {
			continue
		}
		switch {
		case line.Msg == "starting":
			starts++
		case line.Outcome != drain.Done:
		case line.Reason == drain.LatestStart, line.Reason == drain.BudgetAtLatest:
			n++
		}
	}
	return n, starts, in.Err()
}
