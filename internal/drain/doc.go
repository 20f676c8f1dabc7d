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
// # What a notice leads to
//
// A notice becomes a Record. The source is told that it may forget the notice
// only after the Record is stored.
//
//   - A deadline (a spot interruption, a capacity reservation, a lifecycle hook, a
//     person's request) begins a drain at once. The earliest deadline counts.
//   - Maintenance that is announced for later than Policy.ScheduledLead from now is
//     recorded, and nothing else, until then.
//   - A machine that is going down as we hear of it has its deadline now: its pods
//     are asked to go at once, so that they leave their endpoints.
//   - A rebalance recommendation has no deadline; Policy.Rebalance decides.
//   - A lifecycle hook is kept waiting with heartbeats, and completed when the node
//     is empty or its time is up.
//   - A cancellation removes the Record and gives the node back. So does time, when
//     a machine outlives its deadline by Policy.Expire, except that what a person
//     asked for only a person takes back.
//
// # How a node is emptied
//
// Each pod is looked at on its own:
//
//   - A pod of a Deployment is handed off: released from its ReplicaSet, which
//     starts a replacement, while the released pod goes on serving. It is evicted
//     when the Deployment has a pod to spare. One behind a load balancer leaves its
//     endpoints first, and is evicted when the balancer has let go of it.
//   - A pod that cannot be handed off is evicted at once, since its replacement
//     starts only when it is gone.
//   - A Job's pod may finish.
//   - At its latest start, deadline - margin - grace, any pod that is left is
//     evicted whether it was replaced or not, and if a budget blocks that, it is
//     deleted: it would otherwise die with its machine without a SIGTERM. A pod that
//     can be handed off has Policy.HandoffTime for that first, or half of the notice
//     if that is less, and its grace is cut to what is left.
//   - Where Karpenter or a managed node group drains the node, pods are handed off
//     and told their deadline, and the eviction is left to them.
//
// # What holds
//
// TestRandomSchedules and TestCrashes hold these against duplicated, late,
// reordered and lost inputs, against kills before and after every effect, and
// against two controllers that both act.
//
//  1. A node is cordoned before its notice is acknowledged, in the same write that
//     stores the Record. (Maintenance that is far ahead is recorded without one.)
//  2. No pod that can be handed off is evicted before its latest start if that
//     leaves its Deployment with fewer available pods than it wants.
//  3. Nothing goes past a budget before the latest start. (A pod under two budgets,
//     which the Eviction API never evicts, is deleted when both have room.)
//  4. Every pod that has to leave is asked to, with grace, before the deadline,
//     unless it was created too late or its owner's policy is to leave it.
//  5. A released pod is always finished, also when its node's interruption is
//     called off or its Deployment is deleted.
//  6. Each notice is answered once, by whichever controller lives to do it, and
//     never before what it asks for is durable.
//  7. An effect is asked for once per cause. After a crash or a lost answer it may
//     be asked for again, and then changes nothing: Records are swapped against the
//     value that was seen, pods are named by their UID, and a pod is released and
//     replaced once.
package drain
