package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// tokenMount is where admission mounts the default service account token of
// every pod. No process can find it there, so that volume is left out; a pod's
// kubeconfig takes its place (token.go).
const tokenMount = "/var/run/secrets/kubernetes.io/serviceaccount"

// downwardFile is a file of the downward API that follows the pod.
type downwardFile struct {
	path  string
	field string
	mode  os.FileMode
}

// preparer makes one pod's volumes. It reads the API and writes files, so it
// runs beside the worker and may be run again after an error.
type preparer struct {
	client      kubernetes.Interface
	pod         *corev1.Pod
	dir         string // of the pod
	allocatable corev1.ResourceList
	box         *sandbox // the result
}

// prepare reads every ConfigMap and Secret that the pod names and fills its
// volumes. It is the only time that they are read: a restart of a container must
// not depend on the API server.
func (p *preparer) prepare(ctx context.Context) error {
	p.box = &sandbox{
		folders: make(map[string]string),
		sources: sources{configMaps: make(map[string]*corev1.ConfigMap), secrets: make(map[string]*corev1.Secret)},
	}
	for c := range containersOf(&p.pod.Spec) {
		if err := p.readEnv(ctx, c); err != nil {
			return err
		}
	}
	skip := automounted(p.pod)
	for i := range p.pod.Spec.Volumes {
		v := &p.pod.Spec.Volumes[i]
		if skip[v.Name] {
			continue
		}
		folder := filepath.Join(p.dir, "volumes", v.Name)
		if err := p.fill(ctx, v, folder); err != nil {
			return fmt.Errorf("setting up volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// automounted names the volumes that are mounted at tokenMount.
func automounted(pod *corev1.Pod) map[string]bool {
	names := make(map[string]bool)
	for c := range containersOf(&pod.Spec) {
		for _, m := range c.VolumeMounts {
			if m.MountPath == tokenMount {
				names[m.Name] = true
			}
		}
	}
	return names
}

// readEnv fetches what the container's variables refer to. What is not there is
// left out: whether that matters is decided by environment.
func (p *preparer) readEnv(ctx context.Context, c *corev1.Container) error {
	var configMaps, secrets []string
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			configMaps = append(configMaps, from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil {
			secrets = append(secrets, from.SecretRef.Name)
		}
	}
	for _, v := range c.Env {
		if v.ValueFrom != nil && v.ValueFrom.ConfigMapKeyRef != nil {
			configMaps = append(configMaps, v.ValueFrom.ConfigMapKeyRef.Name)
		}
		if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
			secrets = append(secrets, v.ValueFrom.SecretKeyRef.Name)
		}
	}
	for _, name := range configMaps {
		if _, err := p.configMap(ctx, name); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for _, name := range secrets {
		if _, err := p.secret(ctx, name); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (p *preparer) configMap(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	if cm := p.box.sources.configMaps[name]; cm != nil {
		return cm, nil
	}
	cm, err := p.client.CoreV1().ConfigMaps(p.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading ConfigMap %s: %w", name, err)
	}
	p.box.sources.configMaps[name] = cm
	return cm, nil
}

func (p *preparer) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	if s := p.box.sources.secrets[name]; s != nil {
		return s, nil
	}
	s, err := p.client.CoreV1().Secrets(p.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", name, err)
	}
	p.box.sources.secrets[name] = s
	return s, nil
}

func (p *preparer) fill(ctx context.Context, v *corev1.Volume, folder string) error {
	p.box.folders[v.Name] = folder
	if v.PersistentVolumeClaim != nil {
		path, err := p.claimed(ctx, v.PersistentVolumeClaim.ClaimName)
		p.box.folders[v.Name] = path
		return err
	}
	if v.HostPath != nil {
		p.box.folders[v.Name] = v.HostPath.Path
		if t := v.HostPath.Type; t != nil && *t == corev1.HostPathDirectoryOrCreate {
			return os.MkdirAll(v.HostPath.Path, 0o755)
		}
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	switch {
	case v.EmptyDir != nil:
		return nil
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return p.fillConfigMap(ctx, folder, s.Name, s.Items, s.DefaultMode, s.Optional)
	case v.Secret != nil:
		s := v.Secret
		return p.fillSecret(ctx, folder, s.SecretName, s.Items, s.DefaultMode, s.Optional)
	case v.DownwardAPI != nil:
		return p.fillDownward(folder, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if err := p.fillProjected(ctx, folder, s, v.Projected.DefaultMode); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("a volume of this kind is not played")
}

// claimed returns the folder of the volume that a claim is bound to.
func (p *preparer) claimed(ctx context.Context, claim string) (string, error) {
	c, err := p.client.CoreV1().PersistentVolumeClaims(p.pod.Namespace).Get(ctx, claim, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading claim %s: %w", claim, err)
	}
	if c.Spec.VolumeName == "" || c.Status.Phase != corev1.ClaimBound {
		return "", fmt.Errorf("claim %s is not bound to a volume", claim)
	}
	v, err := p.client.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading volume %s: %w", c.Spec.VolumeName, err)
	}
	if v.Spec.HostPath == nil {
		return "", fmt.Errorf("volume %s is no folder: others are not played", v.Name)
	}
	return v.Spec.HostPath.Path, nil
}

func (p *preparer) fillProjected(ctx context.Context, folder string, s corev1.VolumeProjection, mode *int32) error {
	switch {
	case s.ConfigMap != nil:
		return p.fillConfigMap(ctx, folder, s.ConfigMap.Name, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
	case s.Secret != nil:
		return p.fillSecret(ctx, folder, s.Secret.Name, s.Secret.Items, mode, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return p.fillDownward(folder, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		t := token{path: filepath.Join(folder, s.ServiceAccountToken.Path)}
		t.spec.ExpirationSeconds = s.ServiceAccountToken.ExpirationSeconds
		if a := s.ServiceAccountToken.Audience; a != "" {
			t.spec.Audiences = []string{a}
		}
		return p.addToken(ctx, t)
	}
	return errors.New("a projected source of this kind is not played")
}

func (p *preparer) addToken(ctx context.Context, t token) error {
	t.spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.pod.Name, UID: p.pod.UID}
	if err := t.request(ctx, p.client, p.pod, time.Now()); err != nil {
		return err
	}
	p.box.tokens = append(p.box.tokens, t)
	return nil
}

func (p *preparer) fillConfigMap(ctx context.Context, folder, name string, items []corev1.KeyToPath, mode *int32, opt *bool) error {
	cm, err := p.configMap(ctx, name)
	if apierrors.IsNotFound(err) && optional(opt) {
		return nil
	}
	if err != nil {
		return err
	}
	files := make(map[string][]byte)
	for key, value := range cm.Data {
		files[key] = []byte(value)
	}
	for key, value := range cm.BinaryData {
		files[key] = value
	}
	return writeItems(folder, files, items, mode, opt)
}

func (p *preparer) fillSecret(ctx context.Context, folder, name string, items []corev1.KeyToPath, mode *int32, opt *bool) error {
	s, err := p.secret(ctx, name)
	if apierrors.IsNotFound(err) && optional(opt) {
		return nil
	}
	if err != nil {
		return err
	}
	return writeItems(folder, s.Data, items, mode, opt)
}

func (p *preparer) fillDownward(folder string, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for _, item := range items {
		path, m := filepath.Join(folder, item.Path), fileMode(item.Mode, mode)
		if item.FieldRef != nil {
			f := downwardFile{path: path, field: item.FieldRef.FieldPath, mode: m}
			if err := f.write(p.pod); err != nil {
				return err
			}
			p.box.downward = append(p.box.downward, f)
			continue
		}
		if item.ResourceFieldRef == nil {
			continue
		}
		for c := range containersOf(&p.pod.Spec) {
			if c.Name != item.ResourceFieldRef.ContainerName {
				continue
			}
			value, err := resourceField(item.ResourceFieldRef, c, p.allocatable)
			if err != nil {
				return err
			}
			if err := writeFile(path, []byte(value), m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f downwardFile) write(pod *corev1.Pod) error {
	value, err := metadataField(pod, f.field)
	if err != nil {
		return err
	}
	return writeFile(f.path, []byte(value), f.mode)
}

// writeItems writes the chosen files, or all of them when none is chosen.
func writeItems(folder string, files map[string][]byte, items []corev1.KeyToPath, mode *int32, opt *bool) error {
	if items == nil {
		for key := range files {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		data, ok := files[item.Key]
		if !ok {
			if optional(opt) {
				continue
			}
			return fmt.Errorf("there is no key %s", item.Key)
		}
		if err := writeFile(filepath.Join(folder, item.Path), data, fileMode(item.Mode, mode)); err != nil {
			return err
		}
	}
	return nil
}

// fileMode returns the first mode that is set.
func fileMode(modes ...*int32) os.FileMode {
	for _, m := range modes {
		if m != nil {
			return os.FileMode(*m) & os.ModePerm
		}
	}
	return 0o644
}

// writeFile replaces a file in one step: a reader sees the old content or the
// new one. The API server has checked that item paths stay below their volume.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
