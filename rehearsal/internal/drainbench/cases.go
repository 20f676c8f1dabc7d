package drainbench

import "time"

// What a played pod takes.
var (
	podReady = span{8 * time.Second, 12 * time.Second}
	podGone  = span{4 * time.Second, 5 * time.Second}
)

// The bars. Each is the largest value that passes.
var (
	noneMissed   = Bar{"nodes never cordoned", 0, "", func(m *Measured) float64 { return float64(m.Reclaimed - m.Cordoned) }}
	allEmptied   = Bar{"nodes not emptied before their deadline", 0, "", func(m *Measured) float64 { return float64(m.Reclaimed - m.Emptied) }}
	nothingLost  = Bar{"lost ready-pod-seconds", 0, "", func(m *Measured) float64 { return m.LostReadyPodSeconds }}
	allAsked     = Bar{"pods never asked to leave", 0, "", func(m *Measured) float64 { return float64(m.NeverAsked) }}
	queueEmpty   = Bar{"messages left in the queue", 0, "", func(m *Measured) float64 { return float64(m.MessagesLeft) }}
	sparesMemory = Bar{"controller's memory at most", 64, "MiB", func(m *Measured) float64 { return m.PeakRSSMiB }}
	sparesCPU    = Bar{"controller's CPU time, its start included", 3, "s", func(m *Measured) float64 { return m.CPUSeconds }}
	nearRaw      = Bar{"the whole, compared with a client that issues the same writes", 1.5, "times", func(m *Measured) float64 { return m.RatioToRaw }}
)

func cordonP99(limit float64) Bar {
	return Bar{"notice to cordon, p99", limit, "s", func(m *Measured) float64 { return m.ToCordon.P99 }}
}

func cordonMax(limit float64) Bar {
	return Bar{"notice to cordon, the slowest", limit, "s", func(m *Measured) float64 { return m.ToCordon.Max }}
}

func emptyMax(limit float64) Bar {
	return Bar{"notice to empty, the slowest", limit, "s", func(m *Measured) float64 { return m.ToEmpty.Max }}
}

// Cases are all that is measured, in this order.
func Cases() []Case {
	return []Case{
		{
			Name: "pool", Title: "100 of 300 nodes at once, 5 pods each, 20 Deployments with a budget of 25 %",
			Nodes: 300, Reclaimed: 100, PodsPerNode: 5, Apps: 20, MaxUnavailable: "25%",
			Bars: []Bar{noneMissed, cordonP99(1), nothingLost, allEmptied, queueEmpty, sparesMemory, sparesCPU},
		},
		{
			Name: "region-raw", Title: "500 of 1000 nodes: a client that issues the same writes",
			Nodes: 1000, Reclaimed: 500, PodsPerNode: 5, Apps: 50, MaxUnavailable: "25%", Raw: true,
		},
		{
			Name: "region", Title: "500 of 1000 nodes at once, 5000 pods, 50 Deployments with a budget of 25 %",
			Nodes: 1000, Reclaimed: 500, PodsPerNode: 5, Apps: 50, MaxUnavailable: "25%",
			Bars: []Bar{noneMissed, cordonMax(5), allEmptied, emptyMax(120), nothingLost, queueEmpty, nearRaw},
		},
		{
			Name: "backlog", Title: "600 notices in the queue when the controller starts",
			Nodes: 600, Reclaimed: 600, Backlog: true,
			Bars: []Bar{noneMissed, cordonMax(10), queueEmpty},
		},
		{
			Name: "few", Title: "20 of 80 nodes at once",
			Nodes: 80, Reclaimed: 20, PodsPerNode: 5, Apps: 8, MaxUnavailable: "25%",
			Bars: []Bar{noneMissed, cordonMax(0.5), nothingLost, allEmptied, queueEmpty},
		},
		{
			Name: "no-budget", Title: "20 of 80 nodes, budgets that allow no disruption at all",
			Nodes: 80, Reclaimed: 20, PodsPerNode: 5, Apps: 8, MaxUnavailable: "0",
			Bars: []Bar{noneMissed, allAsked, nothingLost, allEmptied, queueEmpty},
		},
		{
			Name: "outage", Title: "20 of 80 nodes, the API server away for 15 s at the notice",
			Nodes: 80, Reclaimed: 20, PodsPerNode: 5, Apps: 8, MaxUnavailable: "25%", Outage: 15 * time.Second,
			// What is lost here is not judged: after an outage it takes Kubernetes' own
			// controllers up to half a minute to start a replacement.
			Bars: []Bar{noneMissed, cordonMax(2), allEmptied, queueEmpty},
		},
	}
}

// Short is a small version that a test can afford: whether all is done and nothing
// lost does not depend on the size, how fast it is done does.
func Short() []Case {
	return []Case{{
		Name: "short", Title: "20 of 60 nodes at once", Nodes: 60, Reclaimed: 20, PodsPerNode: 3, Apps: 6, MaxUnavailable: "25%",
		PodReady: span{time.Second, 2 * time.Second}, PodGone: span{500 * time.Millisecond, time.Second},
		Bars: []Bar{noneMissed, nothingLost, allEmptied, allAsked, queueEmpty},
	}}
}
