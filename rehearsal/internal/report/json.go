package report

import (
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes report.json. Lists and maps that are empty are written as
// such, never as null, so that a reader's loop needs no special case.
func (r *Report) WriteJSON(w io.Writer) error {
	out := *r
	out.Handlers = make(map[string]*Handler, len(r.Handlers))
	for name, h := range r.Handlers {
		c := *h
		if c.Requests.FailedByCause == nil {
			c.Requests.FailedByCause = map[string]int{}
		}
		t := &c.Timeline
		t.Zones = orEmpty(t.Zones)
		t.Nodes = orEmpty(t.Nodes)
		t.Pods = orEmpty(t.Pods)
		t.Load = orEmpty(t.Load)
		t.Apps = orEmpty(t.Apps)
		t.Events = orEmpty(t.Events)
		out.Handlers[name] = &c
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(&out); err != nil {
		return fmt.Errorf("writing report.json: %w", err)
	}
	return nil
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
