package kubelet

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenRetry is the wait after a renewal that was refused. A token is renewed
// with a fifth of its life left, which leaves many attempts.
const tokenRetry = 5 * time.Second

// token is a service account token in a file, bound to one pod: it is void once
// the pod is gone.
type token struct {
	path string
	spec authenticationv1.TokenRequestSpec
	due  time.Time // when to renew it
}

// request gets a new token and writes the file.
func (t *token) request(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, now time.Time) error {
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	answer, err := client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, account,
		&authenticationv1.TokenRequest{Spec: t.spec}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("requesting a token of service account %s: %w", account, err)
	}
	life := answer.Status.ExpirationTimestamp.Sub(now)
	t.due = now.Add(max(life*4/5, tokenRetry))
	return writeFile(t.path, []byte(answer.Status.Token), 0o600)
}

// keepTokens renews the tokens until ctx ends. It takes the slice over.
func keepTokens(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, tokens []token, warn func(error)) {
	for {
		next := &tokens[0]
		for i := range tokens {
			if tokens[i].due.Before(next.due) {
				next = &tokens[i]
			}
		}
		if !sleep(ctx, time.Until(next.due)) {
			return
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		if err := next.request(call, client, pod, time.Now()); err != nil {
			warn(err)
			next.due = time.Now().Add(tokenRetry)
		}
		cancel()
	}
}

// sleep reports whether the whole time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wantsKubeconfig reports whether the pod has an identity of its own.
func wantsKubeconfig(pod *corev1.Pod) bool {
	account, automount := pod.Spec.ServiceAccountName, pod.Spec.AutomountServiceAccountToken
	return account != "" && account != "default" && (automount == nil || *automount)
}

func kubeconfigPath(podDir string) string { return filepath.Join(podDir, "kubeconfig") }

// writeKubeconfig gives the pod access to the API server under its service
// account. Clients read the token's file again by themselves.
func (p *preparer) writeKubeconfig(ctx context.Context, server, caFile string) error {
	t := token{path: filepath.Join(p.dir, "token")}
	if err := p.addToken(ctx, t); err != nil {
		return err
	}
	const name = "rehearsal"
	data, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server, CertificateAuthority: caFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {TokenFile: t.path}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name, Namespace: p.pod.Namespace}},
		CurrentContext: name,
	})
	if err != nil {
		return fmt.Errorf("encoding the kubeconfig: %w", err)
	}
	return writeFile(kubeconfigPath(p.dir), data, 0o600)
}
