package interruption

import "strings"

// InstanceOfProviderID returns the instance named by a node's spec.providerID:
//
//	aws:///us-east-1a/i-0123456789abcdef0
//	gce://project/us-central1-a/name
//	azure:///subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Compute/virtualMachines/NAME
//	azure:///subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Compute/virtualMachineScaleSets/NAME/virtualMachines/0
//
// Node names are never used for this: on AWS they are the DNS name or the instance
// ID, depending on how the cluster was set up.
func InstanceOfProviderID(providerID string) (InstanceID, bool) {
	provider, rest, ok := strings.Cut(providerID, "://")
	if !ok {
		return "", false
	}
	switch provider {
	case "aws":
		id := rest[strings.LastIndexByte(rest, '/')+1:]
		return InstanceID(id), strings.HasPrefix(id, "i-")
	case "gce":
		return InstanceID(rest), parts(rest, "", "", "")
	case "azure":
		// Azure does not tell names apart by case, and its own components write the
		// same one in different cases.
		id := strings.ToLower(rest)
		path, ok := strings.CutPrefix(id, "/")
		return InstanceID(id), ok &&
			(parts(path, "subscriptions", "", "resourcegroups", "", "providers", "microsoft.compute", "virtualmachines", "") ||
				parts(path, "subscriptions", "", "resourcegroups", "", "providers", "microsoft.compute", "virtualmachinescalesets", "", "virtualmachines", ""))
	}
	return "", false
}

// parts reports whether a path has these parts. An empty one stands for any name.
func parts(path string, want ...string) bool {
	got := strings.Split(path, "/")
	if len(got) != len(want) {
		return false
	}
	for i, w := range want {
		if got[i] == "" || w != "" && got[i] != w {
			return false
		}
	}
	return true
}
