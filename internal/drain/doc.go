// Package drain decides how nodes that are about to be taken away are emptied.
//
// The whole of it is one function:
//
//	output := state.Step(input)
//
// An Input carries the time, the notices that arrived, the results of earlier
// effects and the cluster as it is known now. The Output lists effects for the
// shell to carry out and says when to call again at the latest. The package
// starts nothing, reads no clock and knows no client, so the simulator and the
// rehearsal drive the same code as production, and a test can put any moment of
// an interruption before it.
//
// # What a State must remember
//
// Little. A node's interruption is a Record in the API, stored with the cordon in
// one patch; the progress of each pod is visible on the pod. What is kept here is
// which effects are under way and when a failed one may be tried again. Losing
// that costs a repeated effect, and every effect may be repeated: a new State
// that is shown the same cluster goes on where the old one was. There is no other
// recovery.
//
// # How a node is emptied
//
// A notice becomes a Record. The source is told that it may forget the notice
// only after the Record is stored. Then each pod is looked at on its own, on
// every Step:
//
//   - A pod of a Deployment is handed off: released from its ReplicaSet, which
//     starts a replacement, while the released pod goes on serving. It is evicted
//     when the Deployment has a pod to spare.
//   - A pod that cannot be handed off is evicted at once, since its replacement
//     starts only when it is gone.
//   - A Job's pod may finish.
//   - At its latest start, deadline - margin - grace, any pod that is left is
//     evicted whether it was replaced or not, and if a budget blocks that, it is
//     deleted: it would otherwise die with its machine without a SIGTERM.
//
// # What holds
//
//   - A node is cordoned before its notice is acknowledged, in the same write that
//     stores the Record.
//   - No pod is evicted, before its latest start, that leaves its Deployment with
//     fewer available pods than it wants, if it can be handed off at all.
//   - No eviction goes past a budget before the latest start.
//   - A released pod is always finished, also when its node's interruption is
//     called off or its Deployment is deleted.
package drain
