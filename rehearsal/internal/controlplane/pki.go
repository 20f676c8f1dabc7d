package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// pki is the control plane's identities. One authority vouches for the servers
// and for the clients, as in a cluster made by kubeadm.
type pki struct {
	ca, admin *identity
	pool      *x509.CertPool // ca
}

// identity is a certificate and its key.
type identity struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

// validity of all certificates. A control plane lives for minutes or hours.
const validity = 30 * 24 * time.Hour

// createPKI makes all keys and certificates, and writes them and the
// kubeconfigs that use them.
func createPKI(l layout, server string, services netip.Prefix) (*pki, error) {
	ca, err := newIdentity(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "evenkeel-rehearsal-ca"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}, nil)
	if err != nil {
		return nil, err
	}
	p := &pki{ca: ca, pool: x509.NewCertPool()}
	p.pool.AddCert(ca.cert)
	if err := os.WriteFile(l.cert("ca"), ca.certPEM, 0o600); err != nil {
		return nil, err
	}

	for _, role := range []Role{APIServer, ControllerManager, Scheduler} {
		id, err := newIdentity(servingTemplate(role, services), ca)
		if err != nil {
			return nil, err
		}
		if err := id.write(l, string(role)); err != nil {
			return nil, err
		}
	}
	for _, client := range []struct {
		name    string
		subject pkix.Name
	}{
		{"admin", pkix.Name{CommonName: "kubernetes-admin", Organization: []string{"system:masters"}}},
		{"controller-manager", pkix.Name{CommonName: "system:kube-controller-manager"}},
		{"scheduler", pkix.Name{CommonName: "system:kube-scheduler"}},
	} {
		id, err := newIdentity(&x509.Certificate{
			Subject:     client.subject,
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, ca)
		if err != nil {
			return nil, err
		}
		if client.name == "admin" {
			p.admin = id
		}
		if err := writeKubeconfig(l.kubeconfig(client.name), server, ca, id); err != nil {
			return nil, err
		}
	}

	// Signs service account tokens; it has no certificate.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return p, os.WriteFile(l.key("service-account"), keyPEM, 0o600)
}

// servingTemplate names what a role's certificate is valid for. Pods know the
// API server by more names than where it listens.
func servingTemplate(role Role, services netip.Prefix) *x509.Certificate {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: string(role)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{{127, 0, 0, 1}},
	}
	if role == APIServer {
		t.DNSNames = append(t.DNSNames, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
		first := firstService(services.String())
		t.IPAddresses = append(t.IPAddresses, first.AsSlice())
		if first.Is4() {
			twin := first.As4()
			twin[0] = 127
			t.IPAddresses = append(t.IPAddresses, twin[:])
		}
	}
	return t
}

// newIdentity fills in the template's serial number and validity, and has it
// signed by ca, or by itself if ca is nil.
func newIdentity(template *x509.Certificate, ca *identity) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, err
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(validity)
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return &identity{
		cert:    cert,
		key:     key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  keyPEM,
	}, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func (id *identity) write(l layout, name string) error {
	if err := os.WriteFile(l.cert(name), id.certPEM, 0o600); err != nil {
		return err
	}
	return os.WriteFile(l.key(name), id.keyPEM, 0o600)
}

func writeKubeconfig(path, server string, ca, client *identity) error {
	const name = "rehearsal"
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca.certPEM, DisableCompression: true}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: client.certPEM, ClientKeyData: client.keyPEM}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	return clientcmd.WriteToFile(*cfg, path)
}

// probeClient returns a client for readiness: anonymous, and without idle
// connections that a server would have to close when it stops.
func (p *pki) probeClient() *http.Client {
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: p.pool},
			DisableKeepAlives: true,
		},
	}
}
