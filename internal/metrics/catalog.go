// Package metrics is the catalogue of every metric that Evenkeel's programs
// export: plain data, used by the code that counts, by rendered rules and
// dashboards, and by the generated documentation, so that they cannot drift.
package metrics

// Type is how a metric behaves.
type Type string

// The types.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// Metric describes one metric.
type Metric struct {
	Name    string
	Help    string // one sentence: what is counted
	Meaning string // for the documentation: what to conclude from it
	Type    Type
	Labels  []string
	Buckets []float64 // of a Histogram, in the unit that the name says
}

// seconds suit what happens within a notice of two minutes.
var seconds = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120}

// The metrics of evenkeel-controller.
var (
	Notices = Metric{
		Name: "evenkeel_notices_total", Type: Counter, Labels: []string{"cloud", "kind", "answer"},
		Help: "Interruption notices that were read, by what became of them.",
		Meaning: "One interruption often brings several: `notice-received` is the first of a node, `already-recorded` the others. " +
			"Many `not-our-instance` mean that other clusters' notices arrive on this queue. `deadline-expired` are notices that were read after their machine should have gone: the queue was not read for a while.",
	}
	Messages = Metric{
		Name: "evenkeel_queue_messages_total", Type: Counter, Labels: []string{"outcome"},
		Help: "Messages that were received from the queue, by what became of each receipt.",
		Meaning: "One message counts each time that it is received. `acknowledged` and `ignored` (an event that asks for nothing) are its last. `malformed` are messages that cannot be read, left to the queue's redrive policy: a rule or another sender writes something else to this queue; the log has one line with an excerpt for each cause. " +
			"`not-ours` are about instances of other clusters, left for their owner: where they keep growing, nobody else reads the queue. `given-back` could not be stored (the Kubernetes API was away) and come again; `delete-failed` are stored and come again, which changes nothing.",
	}
	NoticeAge = Metric{
		Name: "evenkeel_notice_age_seconds", Type: Histogram, Buckets: seconds,
		Help:    "From the time of the event to the moment when a source of ours read it.",
		Meaning: "The part of the notice that the cloud and the queue used up. Usually 1 to 3 s with EventBridge and SQS. More than that and rising: the queue is read too slowly, or was not read at all. Clocks that differ show here too.",
	}
	NoticeToStored = Metric{
		Name: "evenkeel_notice_to_stored_seconds", Type: Histogram, Buckets: seconds,
		Help:    "From the moment when a notice was read to the one when it was durable, or known to ask for nothing.",
		Meaning: "The controller's own share of the time before a cordon. It grows when the Kubernetes API is slow or away. A message is deleted from its queue only after this.",
	}
	NoticeToCordon = Metric{
		Name: "evenkeel_notice_to_cordon_seconds", Type: Histogram, Buckets: seconds,
		Help:    "From the time of the event to the moment when its Record was stored and the node cordoned.",
		Meaning: "How long new pods could still be put on a machine that goes.",
	}
	NoticeToEmpty = Metric{
		Name: "evenkeel_notice_to_empty_seconds", Type: Histogram, Buckets: seconds,
		Help:    "From the time of the event to the moment when the last pod that had to move had left.",
		Meaning: "To be compared with the cloud's notice: 120 s on AWS, 30 s on GCP and Azure. What comes close to it has no room for a slow start or a slow image.",
	}
	Interruptions = Metric{
		Name: "evenkeel_interruptions_total", Type: Counter, Labels: []string{"pool", "kind", "outcome"},
		Help: "Interruptions that have ended, by how.",
		Meaning: "Each counts once. `emptied`: every pod that had to move had left before the deadline. `missed`: the deadline came first, so pods ended with their machine; look at the proof record for which and why. " +
			"`cancelled`: the notice was taken back. `expired`: the machine outlived its notice and was given back. `gone`: the node left the cluster before its deadline with pods on it.",
	}
	Draining = Metric{
		Name: "evenkeel_nodes_draining", Type: Gauge,
		Help:    "Nodes that are being emptied now.",
		Meaning: "As this controller knows it since it began to lead. A pool that is taken as a whole shows as a step.",
	}
	Pods = Metric{
		Name: "evenkeel_pods_moved_total", Type: Counter, Labels: []string{"method", "reason"},
		Help: "Pods that were asked to stop because their node goes, by how.",
		Meaning: "Each pod counts once. `handoff`: its replacement was Ready first. `evict`: it was evicted without that, for the given reason. `delete`: it was deleted past a budget at its latest start. " +
			"The share of `handoff` is the share of pods that nobody missed.",
	}
	Blocked = Metric{
		Name: "evenkeel_evictions_blocked_total", Type: Counter, Labels: []string{"budget"},
		Help: "Evictions that a PodDisruptionBudget refused, by budget.",
		Meaning: "A refused eviction is tried again about once a second; refusals in a row of the same one count once. A budget that stands here again and again allows nothing at its present replica count. The first 100 budgets have their name as `namespace/name`, several of one pod with commas between; later ones, and those that the API does not name, are `other`. " +
			"The names of pods and instances are never labels.",
	}
	LostPodSeconds = Metric{
		Name: "evenkeel_lost_ready_pod_seconds_total", Type: Counter,
		Help:    "Ready pods that services were short of, times how long, because of interruptions.",
		Meaning: "For each service the time integral of desired minus Ready and not terminating, where positive, while one of its nodes goes. 0 means that no service was ever short of a pod.",
	}
	Effects = Metric{
		Name: "evenkeel_effects_total", Type: Counter, Labels: []string{"effect", "reason", "outcome"},
		Help:    "What was done to the cluster: stores, announcements, handoffs, evictions, deletions.",
		Meaning: "Every request counts, also the ones that are tried again. `unavailable` is an API server that could not be reached or was too busy; `refused` is one that will not do it, most often because of missing rights.",
	}
	Notifications = Metric{
		Name: "evenkeel_notifications_total", Type: Counter, Labels: []string{"channel", "outcome"},
		Help:    "Notifications to people, by channel and outcome.",
		Meaning: "One message may stand for many nodes. `retried` counts attempts that were repeated, `failed` messages that were given up, `dropped` messages that found the channel's queue full.",
	}
	StepSeconds = Metric{
		Name: "evenkeel_step_seconds", Type: Histogram, Buckets: []float64{0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1},
		Help:    "How long one decision about everything took.",
		Meaning: "Milliseconds, also with hundreds of nodes. More means that the controller has too little CPU.",
	}
	InSync = Metric{
		Name: "evenkeel_cluster_synced", Type: Gauge,
		Help:    "1 once everything in the cluster has been listed, 0 before.",
		Meaning: "Nothing is decided before it is 1. A standby is in sync too.",
	}
	Leader = Metric{
		Name: "evenkeel_leader", Type: Gauge,
		Help:    "1 while this process is the one that acts, 0 while it stands by.",
		Meaning: "The sum over all replicas is 1. It is 0 for up to 5 s after a leader was killed. Without leader election it is always 1.",
	}
	Cost = Metric{
		Name: "evenkeel_cost_dollars_per_hour", Type: Gauge, Labels: []string{"pool", "capacity"},
		Help: "What the nodes of the cluster cost now, in US dollars an hour.",
		Meaning: "Machines only, by the controller's price table: built in, dated, and not your contract. `capacity` is `spot` or `on-demand`; nodes outside of all pools have an empty `pool`. " +
			"Every replica of the controller counts, so take the maximum over replicas, never the sum.",
	}
	OnDemandCost = Metric{
		Name: "evenkeel_on_demand_cost_dollars_per_hour", Type: Gauge, Labels: []string{"pool", "capacity"},
		Help:    "What the same nodes would cost on demand, in US dollars an hour.",
		Meaning: "Compare with evenkeel_cost_dollars_per_hour: the rest of the ratio is what spot saves right now.",
	}
	Spent = Metric{
		Name: "evenkeel_spent_dollars_total", Type: Counter,
		Help:    "What the nodes have cost since the process began, in US dollars.",
		Meaning: "Use increase over a time, and the maximum over replicas. It begins at 0 with the process.",
	}
	Saved = Metric{
		Name: "evenkeel_saved_dollars_total", Type: Counter,
		Help:    "What the nodes have cost less than the same ones on demand since the process began, in US dollars.",
		Meaning: "As evenkeel_spent_dollars_total. Moments at which spot was dearer than on demand add nothing.",
	}
	HeadroomCost = Metric{
		Name: "evenkeel_headroom_cost_dollars_per_hour", Type: Gauge,
		Help:    "What the room costs that headroom pods keep free, in US dollars an hour.",
		Meaning: "Each headroom pod's share of its node, of the scarcer of CPU and memory: the premium for losing the largest pool at once.",
	}
	Unpriced = Metric{
		Name: "evenkeel_unpriced_nodes", Type: Gauge,
		Help:    "Nodes whose price is not known; they are in no sum.",
		Meaning: "Above 0 the other figures are too low. The type or the region is not in the price table.",
	}
	OldestPrice = Metric{
		Name: "evenkeel_oldest_price_timestamp_seconds", Type: Gauge,
		Help:    "The day of the oldest price in use, as seconds since 1970.",
		Meaning: "How far the figures can be trusted: spot prices move by about a percent a day, and by half in a year.",
	}
)

// What is advised about capacity, and done. Only the replica that acts exports them.
var (
	CapacityWanted = Metric{
		Name: "evenkeel_capacity_wanted_nodes", Type: Gauge, Labels: []string{"pool"},
		Help:    "Machines that the pool should have ready.",
		Meaning: "Declared where it is, else as many as were there when last nothing was being reclaimed. Machines that are given notice are part of it until they are replaced.",
	}
	CapacityAsked = Metric{
		Name: "evenkeel_capacity_advised_nodes", Type: Gauge, Labels: []string{"pool", "capacity", "reason"},
		Help: "Machines that the provisioning policy would buy now and that are not there yet.",
		Meaning: "`capacity` is `spot` or `on-demand`. `spot-missing`: there are fewer than wanted. `on-demand-bridge`: no spot machine would be ready in time. `spot-ready`: spot to take over from machines on demand. " +
			"`cheaper-pool`: the same machines would be cheaper elsewhere. Above 0 for long: whoever buys machines does something else, or the cloud has none.",
	}
	CapacityAvoided = Metric{
		Name: "evenkeel_capacity_avoided_places", Type: Gauge, Labels: []string{"pool"},
		Help:    "Instance types in zones that should not be bought now, since they were reclaimed or did not come.",
		Meaning: "For 10 minutes after a reclaim, twice as long after each further one within a day, up to 6 hours. Compare with evenkeel_capacity_places.",
	}
	CapacityPlaces = Metric{
		Name: "evenkeel_capacity_places", Type: Gauge, Labels: []string{"pool"},
		Help:    "Instance types in zones that the pool may buy, as far as is known.",
		Meaning: "One or two are few: a single reclaim takes all or half of the pool.",
	}
	CapacityHindered = Metric{
		Name: "evenkeel_capacity_hindered", Type: Gauge, Labels: []string{"pool", "reason"},
		Help: "1 while something that should be changed of the pool is not.",
		Meaning: "Only with --capacity=act. `persons-change`: somebody else has set it, so it is left alone until its entry in the ConfigMap is taken away. `machines-there`: excluding it would have Karpenter replace machines that stay. " +
			"`last-place`: nothing else would be left to buy. `no-bridge-pool`: no NodePool that sells on demand has a weight of 2 or more. `too-many-changes`: 10 within an hour.",
	}
	CapacityChanges = Metric{
		Name: "evenkeel_capacity_effects_total", Type: Counter, Labels: []string{"effect", "reason", "outcome"},
		Help:    "What was done to NodePools and Auto Scaling groups, and to the record of it.",
		Meaning: "Only with --capacity=act or restore. `store` writes the record, before a change and after it, `change` sets the group. `failed` is tried again within seconds, after a look at what is so.",
	}
)

// Catalog lists every metric, in the order of the documentation.
var Catalog = []Metric{
	Notices, Messages, NoticeAge, NoticeToStored, NoticeToCordon, NoticeToEmpty,
	Interruptions, Draining, Pods, Blocked, LostPodSeconds,
	Effects, Notifications, StepSeconds, InSync, Leader,
	Cost, OnDemandCost, Spent, Saved, HeadroomCost, Unpriced, OldestPrice,
	CapacityWanted, CapacityAsked, CapacityAvoided, CapacityPlaces, CapacityHindered, CapacityChanges,
}
