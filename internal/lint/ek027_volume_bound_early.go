package lint

func volumeBoundEarly() Rule {
	return Rule{
		ID:       "EK027",
		Title:    "storage class that places disks before pods",
		Severity: Warning,
		Why: `With ` + "`volumeBindingMode: Immediate`" + `, the default of the API, a disk is made in some zone before the scheduler has seen
the pod. The pod must then run in that zone, whatever its spread constraints and pools say; if no pool has nodes there
it stays Pending. The field cannot be changed later.`,
		Remedy: "Write `volumeBindingMode: WaitForFirstConsumer`.",
		Bad: `apiVersion: storage.k8s.io/v1
kind: StorageClass # EK027
metadata: {name: gp3}
provisioner: ebs.csi.aws.com
`,
		Good: `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: gp3}
provisioner: ebs.csi.aws.com
volumeBindingMode: WaitForFirstConsumer
`,
		Check: func(t *Target) (out []Finding) {
			for _, c := range t.StorageClasses {
				if zonal(c.Provisioner) && c.BindingMode.Or("Immediate") == "Immediate" && !c.HasTopologies {
					out = append(out, at(&c.Meta, c.BindingMode.Pos, "%s makes zonal disks before it is known where the pod can run", c.Provisioner))
				}
			}
			return out
		},
	}
}
