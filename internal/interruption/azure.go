package interruption

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// AzureEvents is the document of Azure's Scheduled Events, as far as it concerns
// one machine.
type AzureEvents struct {
	// Incarnation changes with every change of the document.
	Incarnation int64
	Notices     []Notice
	// Shared names the events that concern other machines, too. Approving one would
	// approve it for them.
	Shared map[string]bool
}

// DecodeAzure returns what a Scheduled Events document announces for a machine. The
// document is the same for all machines of a scale set or availability set; name is
// how it calls this one. freezes says whether a Freeze, which pauses the machine
// for some seconds and takes nothing away, is a notice.
//
// The events' own time is not in the document, so notices count from when they were
// seen.
func DecodeAzure(payload []byte, name string, instance InstanceID, freezes bool, seen time.Time) (AzureEvents, error) {
	var d struct {
		Incarnation *int64 `json:"DocumentIncarnation"`
		Events      []struct {
			ID        string   `json:"EventId"`
			Type      string   `json:"EventType"`
			Status    string   `json:"EventStatus"`
			NotBefore string   `json:"NotBefore"`
			Resources []string `json:"Resources"`
		} `json:"Events"`
	}
	if err := unmarshal(payload, &d); err != nil {
		return AzureEvents{}, err
	}
	if d.Incarnation == nil {
		return AzureEvents{}, excerpted(malformed("DocumentIncarnation", "missing"), payload)
	}
	out := AzureEvents{Incarnation: *d.Incarnation, Shared: make(map[string]bool)}
	for _, e := range d.Events {
		ours := slices.ContainsFunc(e.Resources, func(r string) bool {
			return strings.EqualFold(strings.TrimPrefix(r, "_"), strings.TrimPrefix(name, "_"))
		})
		if !ours {
			continue
		}
		if e.ID == "" || len(e.ID) > maxID {
			return AzureEvents{}, excerpted(malformed("EventId", "missing or too long"), payload)
		}
		n := Notice{ID: e.ID, Cloud: Azure, Instance: instance, Kind: ScheduledChange, Sent: seen, Seen: seen}
		switch e.Type {
		case "Preempt":
			n.Kind, n.Action = SpotInterruption, "preempt"
		case "Terminate", "Reboot", "Redeploy":
			n.Action = strings.ToLower(e.Type)
		case "Freeze":
			if !freezes {
				continue
			}
			n.Action = "freeze"
		case "":
			return AzureEvents{}, excerpted(malformed("EventType", "missing"), payload)
		default:
			// Of a later version of the API. It is not known to be harmless.
			n.Action = fmt.Sprintf("%.*s", maxAction, strings.ToLower(e.Type))
		}
		switch {
		case e.Status == "Started", e.NotBefore == "":
			n.Deadline = seen // it has begun
		default:
			at, err := time.Parse(time.RFC1123, e.NotBefore)
			if err != nil {
				return AzureEvents{}, excerpted(malformed("NotBefore", "not an RFC 1123 time"), payload)
			}
			if at.Sub(seen).Abs() > maxAhead {
				return AzureEvents{}, excerpted(malformed("NotBefore", "cannot be right"), payload)
			}
			n.Deadline = at.UTC()
		}
		if len(e.Resources) > 1 {
			out.Shared[e.ID] = true
		}
		out.Notices = append(out.Notices, n)
	}
	return out, nil
}
