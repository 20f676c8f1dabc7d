package price

// EKSAllocatable returns what a node of an instance type gives to pods on EKS
// with Amazon Linux 2023, as its bootstrap sets the kubelet up and as Karpenter
// computes it beforehand:
//
//   - 7.5 % of the memory that is sold is gone before the kubelet starts. That is
//     Karpenter's default estimate (VM_MEMORY_OVERHEAD_PERCENT); on arm64, 64 MiB
//     more are kept for contiguous allocation.
//   - kubeReserved memory is 255 MiB and 11 MiB for each pod that fits.
//   - kubeReserved CPU is 6 % of the first core, 1 % of the second, 0.5 % of the
//     next two and 0.25 % of each further one.
//   - hard eviction starts below 100 MiB.
//
// Pods is what the network interfaces give addresses for, see ENIPods.
func EKSAllocatable(arch string, vcpu int, memoryMiB int64, pods int) Allocatable {
	usable := memoryMiB
	if arch == "arm64" {
		usable -= 64
	}
	usable = usable * 925 / 1000
	return Allocatable{
		CPUMilli:  coreMilli(vcpu, 2500),
		MemoryMiB: max(0, usable-255-11*int64(pods)-100),
		Pods:      pods,
	}
}

// ENIPods returns how many pods the VPC CNI can give addresses to without prefix
// delegation: each interface's first address is the node's own, and two pods (the
// CNI's and kube-proxy) use the host's network.
func ENIPods(enis, addresses int) int { return enis*(addresses-1) + 2 }

// GKEAllocatable returns what a node of a machine type gives to pods on GKE, as
// its documentation states the reservations: of memory 255 MiB on machines below
// 1 GiB, else 25 % of the first 4 GiB, 20 % of the next 4, 10 % of the next 8, 6 %
// of the next 112 and 2 % of the rest, and 100 MiB for eviction; of CPU the same
// steps as EKS. A node holds 110 pods unless the cluster says otherwise.
func GKEAllocatable(vcpu int, memoryMiB int64) Allocatable {
	reserved := int64(255)
	if memoryMiB >= 1024 {
		reserved = 0
		left := memoryMiB
		for _, step := range []struct{ size, percent int64 }{{4096, 25}, {4096, 20}, {8192, 10}, {112 * 1024, 6}, {left, 2}} {
			part := min(left, step.size)
			reserved += part * step.percent / 100
			left -= part
		}
	}
	return Allocatable{CPUMilli: coreMilli(vcpu, 2500), MemoryMiB: max(0, memoryMiB-reserved-100), Pods: 110}
}

// coreMilli returns the milli-CPUs left to pods. Further is what each core from
// the fifth on costs, in thousandths of a milli-CPU.
func coreMilli(vcpu int, further int64) int64 {
	reserved := int64(0) // thousandths of a milli-CPU
	for core := 1; core <= vcpu; core++ {
		switch {
		case core == 1:
			reserved += 60_000
		case core == 2:
			reserved += 10_000
		case core <= 4:
			reserved += 5_000
		default:
			reserved += further
		}
	}
	return (int64(vcpu)*1_000_000 - reserved) / 1000 // rounded down: half a milli-CPU is no use
}
