package roles

import (
	"errors"

	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/util/compatibility"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
)

// setVersion makes the components report the version of Kubernetes that was
// linked. They expect the linker to be told (-ldflags -X) and otherwise report
// v0.0.0-master, which clients that look at the version cannot make sense of;
// that would have to be told to every go build and go test there is.
//
// What the components do is not affected: without the linker's help they take
// their minor version, which feature gates and API lifecycles go by, from a
// constant in their source.
func setVersion() error {
	registry := compatibility.DefaultComponentGlobalsRegistry
	effective, ok := registry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent).(basecompatibility.MutableEffectiveVersion)
	if !ok {
		return errors.New("setting the version: no effective version is registered")
	}
	gates, ok := registry.FeatureGateFor(basecompatibility.DefaultKubeComponent).(featuregate.MutableVersionedFeatureGate)
	if !ok {
		return errors.New("setting the version: no feature gate is registered")
	}
	registry.Reset() // the component registered itself, alone, on initialization
	return registry.Register(basecompatibility.DefaultKubeComponent, releaseVersion{effective}, gates)
}

// releaseVersion is an effective version that knows its release.
type releaseVersion struct {
	basecompatibility.MutableEffectiveVersion
}

// Info returns what /version answers.
func (v releaseVersion) Info() *apimachineryversion.Info {
	info := v.MutableEffectiveVersion.Info()
	if info != nil {
		info.GitVersion = controlplane.KubernetesVersion
		info.GitCommit = ""
		info.GitTreeState = "archive" // what Kubernetes calls sources without a repository
	}
	return info
}
