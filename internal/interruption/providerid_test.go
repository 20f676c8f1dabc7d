package interruption

import (
	"strings"
	"testing"
)

func TestInstanceOfProviderID(t *testing.T) {
	const vm = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/MC_rg/providers/Microsoft.Compute/virtualMachines/aks-0"
	const scaleSet = "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/aks-spot-vmss/virtualMachines/17"
	for in, want := range map[string]InstanceID{
		"aws:///us-east-1a/i-0123456789abcdef0":    "i-0123456789abcdef0",
		"aws://us-east-1a/i-0123456789abcdef0":     "i-0123456789abcdef0",
		"gce://my-project/us-central1-a/gke-spot":  "my-project/us-central1-a/gke-spot",
		"gce://example.com:proj/europe-west1-b/vm": "example.com:proj/europe-west1-b/vm",
		"azure://" + vm:                   InstanceID(strings.ToLower(vm)),
		"azure://" + strings.ToUpper(vm):  InstanceID(strings.ToLower(vm)),
		"azure://" + scaleSet:             InstanceID(strings.ToLower(scaleSet)),
		"":                                "",
		"aws:///us-east-1a/fargate-ip-10": "",
		"aws:///":                         "",
		"gce://my-project/us-central1-a":  "",
		"gce:///us-central1-a/vm":         "",
		"gce://a/b/":                      "",
		"azure:///subscriptions/1/resourceGroups/rg/providers/Microsoft.Compute/disks/d":                               "",
		"azure:///subscriptions//resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/a":                      "",
		"azure:///subscriptions/1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/s/extensions/": "",
		"kind://docker/x/node": "",
		"i-0123456789abcdef0":  "",
	} {
		got, ok := InstanceOfProviderID(in)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: got %q, %t; want %q", in, got, ok, want)
		}
	}
}

func FuzzInstanceOfProviderID(f *testing.F) {
	f.Add("aws:///us-east-1a/i-0123456789abcdef0")
	f.Add("gce://my-project/us-central1-a/gke-spot")
	f.Add("azure:///subscriptions/1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/s/virtualMachines/17")
	f.Fuzz(func(t *testing.T, in string) {
		if id, ok := InstanceOfProviderID(in); ok && (id == "" || len(id) > 2*len(in)) {
			t.Errorf("%q: %q", in, id)
		}
	})
}
