package rehearse

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/evenkeel-dev/evenkeel/deploy"
	"github.com/evenkeel-dev/evenkeel/internal/render"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/kubelet"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/manifest"
)

// nameLabel is how rendered objects say to which service they belong.
const nameLabel = "app.kubernetes.io/name"

// pause is the image of headroom: pods that hold a place and do nothing.
const pause = "registry.k8s.io/pause"

// Platform is what is rehearsed: what `evenkeel render` makes of a platform file,
// as it is, but for the services for which there is no program here.
type Platform struct {
	Namespace string
	// Controller names the Deployment of evenkeel-controller, FrontDoor the Service
	// that the load is put on.
	Controller, FrontDoor string
	// Apps are the services that are judged.
	Apps []string
	// LeftOut are the services that cannot be run here.
	LeftOut []string

	settings, workloads []*unstructured.Unstructured
	images              map[string]kubelet.Image
}

// NewPlatform renders a platform file and picks what can be run with the programs
// that images name, in the folder bin. Its errors are Problems with a place in the
// file, or say what is missing.
func NewPlatform(r io.Reader, name string, images map[string]string, bin string) (*Platform, error) {
	platform, err := spec.Parse(r, name)
	if err != nil {
		return nil, err
	}
	// There is no KEDA here to set replicas.
	files, err := render.Render(platform, render.Options{Only: []string{"kubernetes"}, FixedReplicas: true})
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	p := &Platform{Namespace: platform.Cluster.Namespace, images: make(map[string]kubelet.Image)}
	if err := p.addPause(); err != nil {
		return nil, err
	}
	runs := make(map[string]bool)
	for _, s := range platform.Services {
		program, ok := images[withoutTag(s.Image)]
		if !ok {
			p.LeftOut = append(p.LeftOut, s.Name)
			continue
		}
		runs[s.Name] = true
		p.images[s.Image] = kubelet.Image{Command: []string{filepath.Join(bin, program)}}
		switch s.Component {
		case "controller":
			p.Controller = s.Name
			continue
		case "gateway":
			p.FrontDoor = s.Name
		}
		p.Apps = append(p.Apps, s.Name)
	}
	if p.FrontDoor == "" {
		return nil, fmt.Errorf("%s: no service with component gateway can be run here: the load has nowhere to go", name)
	}
	if p.Controller == "" {
		return nil, fmt.Errorf("%s: no service with component controller can be run here: it is what is rehearsed", name)
	}
	for _, f := range files {
		objects, err := manifest.Decode(f.Path, f.Data)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if of := o.GetLabels()[nameLabel]; slices.Contains(p.LeftOut, of) {
				continue
			}
			p.add(o)
		}
	}
	return p, nil
}

// add puts an object where it is applied: workloads last, when there are nodes to
// spread them over and the Services whose addresses their pods are told.
func (p *Platform) add(o *unstructured.Unstructured) {
	switch o.GetKind() {
	case "Namespace":
		p.settings = slices.Insert(p.settings, 0, o)
	case "Deployment", "StatefulSet", "DaemonSet", "Job":
		p.workloads = append(p.workloads, o)
	default:
		p.settings = append(p.settings, o)
	}
}

func (p *Platform) addPause() error {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		return fmt.Errorf("looking for what stands for the pause image: %w", err)
	}
	p.images[pause] = kubelet.Image{Command: []string{sleep, "infinity"}}
	return nil
}

// objects returns what is applied before the nodes join and after, for a handler.
// The controller, and what belongs to it, is there only when it handles
// interruptions. What the rehearsal must tell it is
// given as it would be by hand: arguments appended, variables set.
func (p *Platform) objects(handler string, args []string, env []envVar) (settings, workloads []*unstructured.Unstructured, err error) {
	for _, o := range p.settings {
		if handler == Evenkeel || o.GetLabels()[nameLabel] != p.Controller {
			settings = append(settings, o)
		}
	}
	for _, o := range p.workloads {
		if o.GetName() != p.Controller {
			workloads = append(workloads, o)
		} else if handler == Evenkeel {
			o = o.DeepCopy()
			if err := extend(o, args, env); err != nil {
				return nil, nil, err
			}
			workloads = append(workloads, o)
		}
	}
	if handler != Evenkeel {
		return settings, workloads, nil
	}
	// The platform binds its controller to the role that is shipped beside it. What
	// that allows is held by the policies that are shipped too.
	shipped, err := manifest.Decode("deploy/controller.yaml", deploy.Controller)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range shipped {
		if o.GetKind() == "ClusterRole" {
			settings = append(settings, o)
		}
	}
	policies, err := manifest.Decode("deploy/policies.yaml", deploy.PoliciesFor(p.Namespace, p.Controller))
	if err != nil {
		return nil, nil, err
	}
	return append(settings, policies...), workloads, nil
}

// imagesByName returns the programs under every name that a rendered container
// gives its image.
func (p *Platform) imagesByName() map[string]kubelet.Image {
	out := make(map[string]kubelet.Image)
	for _, o := range p.workloads {
		containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if err != nil {
			continue // the API server says what is wrong with it
		}
		for _, c := range containers {
			image, _ := c.(map[string]any)["image"].(string)
			if program, ok := p.images[image]; ok {
				out[image] = program
			} else if program, ok := p.images[withoutTag(image)]; ok {
				out[image] = program
			}
		}
	}
	return out
}

// withoutTag returns an image's name without tag and digest.
func withoutTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	slash := strings.LastIndexByte(image, '/')
	if colon := strings.LastIndexByte(image, ':'); colon > slash {
		image = image[:colon]
	}
	return image
}
