// Package report holds what a rehearsal found out, and shows it: as a table on
// a terminal, as report.json and as a page that explains itself.
// It measures nothing; the numbers come in with the Report.
package report

// Report is the whole of report.json. Field names are a contract with users who
// read it in CI: they are added to, never renamed.
type Report struct {
	Verdict           string              `json:"verdict"`           // "pass" or "fail"
	Reasons           []string            `json:"reasons,omitempty"` // why it failed, one sentence each
	Scenario          string              `json:"scenario"`
	Seed              uint64              `json:"seed"`
	Trace             string              `json:"trace"` // file name, "generated", or empty: the scenario names its reclaims
	TimeScale         float64             `json:"time_scale"`
	Faults            []string            `json:"faults,omitempty"`
	KubernetesVersion string              `json:"kubernetes_version"`
	DurationSeconds   float64             `json:"duration_seconds"`
	Started           string              `json:"started"`  // RFC 3339
	Handlers          map[string]*Handler `json:"handlers"` // "evenkeel", "drain", "none"
}

// Handler is what happened under one handler of interruptions.
type Handler struct {
	Requests              Requests  `json:"requests"`
	Nodes                 Nodes     `json:"nodes"`
	NoticeToCordonSeconds Quantiles `json:"notice_to_cordon_seconds"`
	NoticeToEmptySeconds  Quantiles `json:"notice_to_empty_seconds"`
	LostReadyPodSeconds   float64   `json:"lost_ready_pod_seconds"`
	// InherentLostSeconds is the part of LostReadyPodSeconds that no handler can
	// avoid: a replica of a StatefulSet has a name of its own, so that its successor
	// starts only when it has gone. One replica of each StatefulSet at a time, from
	// its eviction until its successor is Ready.
	InherentLostSeconds float64  `json:"inherent_lost_ready_pod_seconds"`
	MinReadyRatio       float64  `json:"min_ready_ratio"`
	PDBViolations       int      `json:"pdb_violations"`
	Handoffs            int      `json:"handoffs"`
	Escalations         int      `json:"escalations"`
	ControllerRestarts  int      `json:"controller_restarts"`
	Jobs                Jobs     `json:"jobs"`
	Cost                Cost     `json:"cost"`
	Timeline            Timeline `json:"timeline"`
}

// Requests counts the load's requests. Failed includes those that were answered
// with success but that no engine recorded (cause "lost").
type Requests struct {
	Sent          int            `json:"sent"`
	Failed        int            `json:"failed"`
	FailedByCause map[string]int `json:"failed_by_cause"`
	Doubled       int            `json:"doubled"`
	LatencyMillis Quantiles      `json:"latency_milliseconds"`
}

// Nodes counts the nodes that were interrupted. A node was emptied before its
// deadline when no pod that must move was still on it when its machine went.
type Nodes struct {
	Total                 int `json:"total"`
	Interrupted           int `json:"interrupted"`
	EmptiedBeforeDeadline int `json:"emptied_before_deadline"`
}

// Jobs counts the work that was given to Jobs: one unit for each completion.
type Jobs struct {
	Units        int `json:"units"`
	Done         int `json:"done"`           // written down at least once
	Doubled      int `json:"doubled"`        // written down more than once
	LeftToFinish int `json:"left_to_finish"` // pods that ended well on a node after its notice
	BegunAgain   int `json:"begun_again"`    // pods that went before their unit was done
}

// Quantiles of a set of durations; all zero for an empty set, whose Count is 0.
type Quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// Cost is what the nodes cost over the rehearsed (uncompressed) time, in USD.
type Cost struct {
	Spot     float64 `json:"spot"`      // what was paid: spot nodes at the spot price, the others on demand
	OnDemand float64 `json:"on_demand"` // what the same node hours cost on demand
}

// Timeline is what the page draws. Times are seconds since the load started.
type Timeline struct {
	Seconds    float64   `json:"seconds"`
	NoticeLead float64   `json:"notice_lead_seconds"`
	Zones      []string  `json:"zones"`
	Nodes      []NodeBar `json:"nodes"`
	Pods       []PodBar  `json:"pods"`
	Load       []LoadBin `json:"load"`
	Apps       []AppLine `json:"apps"`
	Events     []Event   `json:"events"`
}

// NodeBar is one node's life. A moment that never came is negative.
type NodeBar struct {
	Name         string  `json:"name"`
	Zone         string  `json:"zone"`
	InstanceType string  `json:"instance_type"`
	CapacityType string  `json:"capacity_type"`
	Joined       float64 `json:"joined"`
	Noticed      float64 `json:"noticed"`
	Cordoned     float64 `json:"cordoned"`
	Emptied      float64 `json:"emptied"`
	Gone         float64 `json:"gone"`
}

// PodBar is one pod's life.
type PodBar struct {
	Name        string  `json:"name"`
	App         string  `json:"app"`
	Node        string  `json:"node"`
	Created     float64 `json:"created"`
	Ready       float64 `json:"ready"`
	Released    float64 `json:"released"`    // handed off: a replacement was asked for
	Terminating float64 `json:"terminating"` // evicted or deleted
	Gone        float64 `json:"gone"`
	Killed      bool    `json:"killed"` // died with its machine, without SIGTERM
}

// LoadBin counts one second of load.
type LoadBin struct {
	At     float64 `json:"at"`
	Sent   int     `json:"sent"`
	Failed int     `json:"failed"`
	P99Ms  float64 `json:"p99_ms"`
}

// AppLine is an app's ready replicas over time, as steps, against its demand.
type AppLine struct {
	App   string `json:"app"`
	Steps []Step `json:"steps"`
}

// Step holds from At until the next one.
type Step struct {
	At      float64 `json:"at"`
	Ready   int     `json:"ready"` // ready and not terminating
	Desired int     `json:"desired"`
}

// Event is one thing worth a line: a notice, a fault, a kill.
type Event struct {
	At   float64 `json:"at"`
	Kind string  `json:"kind"` // notice, cordon, emptied, gone, joined, fault, escalation
	Node string  `json:"node,omitempty"`
	Text string  `json:"text"`
}
