package price

// Instance is what an instance type has, and what of it pods can use.
type Instance struct {
	Type        string
	Arch        string // amd64, arm64
	VCPU        int
	MemoryMiB   int64 // as the cloud sells it
	GPUs        int
	Allocatable Allocatable
	Source      string
}

// Allocatable is what the scheduler can hand out on a node of the type, after
// what the machine's firmware and kernel keep, and what the kubelet reserves for
// itself, the system and its eviction threshold.
type Allocatable struct {
	CPUMilli  int64
	MemoryMiB int64
	Pods      int
}
