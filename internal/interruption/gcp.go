package interruption

import (
	"fmt"
	"strings"
	"time"
)

// DecodePreempted returns the notice in instance/preempted of GCP's metadata
// server. lead is how long a preempted machine has: 30 s unless the instance was
// made with another notice. The server does not say when it began, so the notice
// counts from when it was seen.
func DecodePreempted(value []byte, instance InstanceID, lead time.Duration, seen time.Time) (Notice, error) {
	switch strings.TrimSpace(string(value)) {
	case "TRUE":
		return Notice{
			ID: "instance/preempted", Cloud: GCP, Instance: instance, Kind: SpotInterruption,
			Action: "preempt", Deadline: seen.Add(lead), Sent: seen, Seen: seen,
		}, nil
	case "FALSE":
		return Notice{}, fmt.Errorf("not preempted: %w", ErrIgnored)
	}
	return Notice{}, excerpted(malformed("preempted", "neither TRUE nor FALSE"), value)
}

// maintenanceLead is how long before a host's maintenance GCP announces it.
const maintenanceLead = 60 * time.Second

// DecodeMaintenance returns the notice in instance/maintenance-event of GCP's
// metadata server. A machine that is migrated while it runs goes nowhere, as far as
// its pods can tell.
func DecodeMaintenance(value []byte, instance InstanceID, seen time.Time) (Notice, error) {
	switch v := strings.TrimSpace(string(value)); v {
	case "TERMINATE_ON_HOST_MAINTENANCE", "SHUTDOWN_ON_HOST_MAINTENANCE":
		return Notice{
			ID: "instance/maintenance-event", Cloud: GCP, Instance: instance, Kind: ScheduledChange,
			Action: "terminate", Deadline: seen.Add(maintenanceLead), Sent: seen, Seen: seen,
		}, nil
	case "NONE", "MIGRATE_ON_HOST_MAINTENANCE":
		return Notice{}, fmt.Errorf("maintenance event %s: %w", v, ErrIgnored)
	}
	return Notice{}, excerpted(malformed("maintenance-event", "not a value that is known"), value)
}
