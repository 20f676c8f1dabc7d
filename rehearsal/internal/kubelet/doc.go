// Package kubelet plays the kubelets of all nodes of a rehearsal. It registers
// Node objects and keeps them fresh, and runs the containers of every pod that
// is assigned to one of them as ordinary processes of this machine, honouring
// the contract that a workload has with a kubelet: environment, volumes,
// probes, conditions, hooks, signals, grace periods, restarts.
//
// It does not know who assigns pods, why a pod is deleted, or what a rehearsal
// is for. It sees the API through one client, the way a kubelet does.
//
// # How it is built
//
// One informer watches the pods of all nodes. Each pod has a worker, a goroutine
// that owns everything about the pod: it is told of changes of the object, of
// exits and of probe results, and after each of them it compares what is with
// what should be and starts, signals or kills accordingly (pod.go, container.go).
// It never calls the API: what it decides is handed to the pod's status writer
// (writer.go), which goes on trying while the API server is away. So probes,
// restarts and kills happen on time during an outage, and the API learns of them
// afterwards.
//
// What belongs to a machine and not to a pod, its power and the process groups
// that die with it, is held by node. The pure parts are status.go (conditions
// and phase from container states), env.go and expand.go (environment and
// arguments), threshold and backoff.
//
// # Where it differs from a kubelet
//
// There are no namespaces, neither for networks nor for mounts nor for PIDs:
//
//   - The API shows a pod at 10.x.a.b while its processes listen at the twin
//     127.x.a.b (see package podnet). A process is therefore told the twin
//     wherever it would learn an address of the cluster: in variables from
//     status.podIP(s) and status.hostIP(s), and in {SVC}_SERVICE_HOST. A server
//     should listen at its pod address, because the wildcard address would take
//     the port of every other pod of the machine as well.
//     KUBERNETES_SERVICE_HOST and _PORT name the real API server.
//   - A volume is a folder, pods/<uid>/volumes/<volume>. Where a mountPath of a
//     container begins a path in its command, its args or a value of its env, it
//     is replaced by that folder. A path that is compiled into a program is not.
//     A PersistentVolume is the folder of its hostPath, whichever machine the pod
//     runs on; nothing attaches or detaches it.
//     The working directory is pods/<uid>/containers/<container> unless
//     workingDir lies in a mount.
//   - Instead of the token that is mounted at
//     /var/run/secrets/kubernetes.io/serviceaccount, a pod with a service account
//     of its own gets a kubeconfig, named by KUBECONFIG. The pod's token is
//     renewed before it expires.
//   - A container is a process group. Its end is the end of its first process;
//     what is left of the group is killed then, as with a PID namespace. A
//     process that leaves the group by setsid escapes. SIGTERM goes to the whole
//     group, not to the first process alone.
//   - ConfigMaps and Secrets are read once, when the pod starts. Files of the
//     downward API follow the pod's labels and annotations.
//   - Resources are not enforced, users and security contexts are ignored, and
//     image pull back-off has no second stage: an image is in the table or not.
//   - Not played: gRPC probes, activeDeadlineSeconds, container restart rules,
//     persistent volumes of other kinds, ephemeral containers, static pods, in-place resize.
package kubelet
