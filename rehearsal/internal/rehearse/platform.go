package rehearse

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
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

	// jobs begin with the load; units are what their pods are to write down.
	settings, workloads, jobs []*unstructured.Unstructured
	units                     []string
	images                    map[string]kubelet.Image
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
		p.images[s.Image] = programImage(bin, program)
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

// Add adds manifests that stand beside the rendered ones. Their pods run the
// programs that images name. Jobs begin when the load does, and every unit of
// theirs has to be done; nothing else of what is added is judged.
func (p *Platform) Add(name string, data []byte, images map[string]string, bin string) error {
	objects, err := manifest.Decode(name, data)
	if err != nil {
		return err
	}
	for _, o := range objects {
		for _, image := range imagesOf(o) {
			if _, known := p.images[image]; known || p.images[withoutTag(image)].Command != nil {
				continue
			}
			program, ok := images[withoutTag(image)]
			if !ok {
				return fmt.Errorf("%s: %s %s: the scenario's images have no program for %s", name, o.GetKind(), o.GetName(), image)
			}
			p.images[image] = programImage(bin, program)
		}
		if o.GetKind() != "Job" {
			p.add(o)
			continue
		}
		if err := p.addJob(o); err != nil {
			return fmt.Errorf("%s: Job %s: %w", name, o.GetName(), err)
		}
	}
	return nil
}

// maxUnits bounds the completions of a Job.
const maxUnits = 1000

// addJob adds a Job, whose pods write down JOB/INDEX when they are done.
func (p *Platform) addJob(o *unstructured.Unstructured) error {
	if o.GetNamespace() != p.Namespace {
		return fmt.Errorf("it is in namespace %q, and what is watched is %q", o.GetNamespace(), p.Namespace)
	}
	data, err := o.MarshalJSON()
	if err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	var job struct {
		Spec struct {
			CompletionMode string `json:"completionMode"`
			Completions    int    `json:"completions"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(data, &job); err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	if job.Spec.CompletionMode != "Indexed" {
		return fmt.Errorf("completionMode %q: only with Indexed can its units be told apart", job.Spec.CompletionMode)
	}
	n := job.Spec.Completions
	if n < 1 || n > maxUnits {
		return fmt.Errorf("completions must be a number from 1 to %d", maxUnits)
	}
	for i := range n {
		p.units = append(p.units, fmt.Sprintf("%s/%d", o.GetName(), i))
	}
	p.jobs = append(p.jobs, o)
	return nil
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

// programImage is a program of the folder bin. Where the rehearsal reads the published data,
// its programs may, too.
func programImage(bin, program string) kubelet.Image {
	i := kubelet.Image{Command: []string{filepath.Join(bin, program)}}
	if data, err := filepath.Abs(os.Getenv("EVENKEEL_DATA")); err == nil && os.Getenv("EVENKEEL_DATA") != "" {
		i.Env = map[string]string{"EVENKEEL_DATA": data}
	}
	return i
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
	for _, o := range slices.Concat(p.workloads, p.jobs) {
		for _, image := range imagesOf(o) {
			if program, ok := p.images[image]; ok {
				out[image] = program
			} else if program, ok := p.images[withoutTag(image)]; ok {
				out[image] = program
			}
		}
	}
	return out
}

// imagesOf returns the images of a workload's containers. What is wrong with it is
// left for the API server to say.
func imagesOf(o *unstructured.Unstructured) []string {
	containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return nil
	}
	var out []string
	for _, c := range containers {
		if m, ok := c.(map[string]any); ok {
			image, _ := m["image"].(string)
			out = append(out, image)
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
