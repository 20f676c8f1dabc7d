package report

// A glossaryTerm explains one word of the page. Rows of the table of figures
// link to it by ID.
type glossaryTerm struct{ ID, Name, Text string }

func glossary() []glossaryTerm {
	return []glossaryTerm{
		{"spot", "Spot node", "A machine at a discount that the cloud may take back at any time. An on-demand node costs the full price and stays."},
		{"notice", "Notice and deadline", "The cloud says some time before it takes a spot node that it will: 120 s on AWS. The deadline is when the machine goes, with every process on it, at once and without further warning."},
		{"scale", "Time scale", "Cloud time is played faster than it passes, so that the rehearsal stays short: at time scale 5 a notice of 120 s lasts 24 s. Services, requests and probes run in real time."},
		{"cordon", "Cordon", "Marking a node so that no new pod is placed on it."},
		{"evict", "Evict", "Asking Kubernetes to stop a pod. It refuses while a disruption budget would be violated. The pod gets SIGTERM and its grace time."},
		{"handoff", "Handoff", "Replacing a pod before it is evicted: the replacement starts elsewhere while the old pod serves on, and takes over once it is Ready."},
		{"emptied", "Emptied before the deadline", "No pod that had to move was still on the node when its machine went."},
		{"escalation", "Escalation", "Stopping a pod at the last moment at which its grace time still fits before the deadline, although it has no replacement or its budget forbids it. The alternative is to die with the machine, without SIGTERM."},
		{"failed", "Failed request", "A request that got no answer in time or an error, or that was answered with success but never recorded by the service behind (cause: lost). The load does not retry."},
		{"doubled", "Done twice", "A request with a unique id, not to be repeated, that the service recorded more than once."},
		{"lost", "Lost ready-pod-seconds", "For each app, the replicas asked for minus those Ready and not stopping, where positive, summed over time. One missing replica for ten seconds makes 10."},
		{"inherent", "Unavoidable for StatefulSets", "A replica of a StatefulSet has a name and perhaps a volume of its own, so that its successor can start only when it has gone. What is missing meanwhile is not held against a handler as long as it is one replica of the StatefulSet at a time and its successor becomes Ready."},
		{"unit", "Unit of a Job", "The work of one completion of a Job. A pod writes its unit down when it is done. On a node that is about to go it may finish if that is before the last moment at which it must be stopped; otherwise its Job begins the unit again elsewhere."},
		{"pdb", "Disruption budget", "A PodDisruptionBudget: how many replicas of an app must stay, or may be away, while pods are moved on purpose."},
		{"cost", "Cost", "What the nodes of this rehearsal cost over the cloud time that it played: paid is spot nodes at the spot price and the others on demand, compared with all of them on demand."},
	}
}
