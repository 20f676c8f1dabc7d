// Package tlsx makes TLS configurations for services that know each other: both ends
// show a certificate, TLS is 1.3, and what they show and trust may change while they
// run. Certificates are files, or come from a SPIFFE workload API.
package tlsx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// A Source has the certificate of this process and knows which others to trust.
// Peers are the names that the other end must have one of: DNS names or URIs such as
// spiffe://example.org/engine. If there are none, any that is trusted will do.
type Source interface {
	Server(peers []string) *tls.Config
	Client(peers []string) *tls.Config
}

// Files are a certificate with its chain, its key, and the certificates that sign
// those of peers, all PEM.
type Files struct {
	cert, key, ca string
	now           atomic.Pointer[identity]
}

type identity struct {
	own   *tls.Certificate
	roots *x509.CertPool
}

// Load reads the files.
func Load(cert, key, ca string) (*Files, error) {
	f := &Files{cert: cert, key: key, ca: ca}
	return f, f.Load()
}

// Names returns the names of the files, to be watched.
func (f *Files) Names() []string { return []string{f.cert, f.key, f.ca} }

// Load reads the files again. If it fails, what was read before stays in use.
// Connections that are there go on with what they began with.
func (f *Files) Load() error {
	own, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	b, err := os.ReadFile(f.ca)
	if err != nil {
		return fmt.Errorf("reading who is trusted: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return fmt.Errorf("reading who is trusted: %s has no certificate", f.ca)
	}
	f.now.Store(&identity{&own, roots})
	return nil
}

// Server implements Source.
func (f *Files) Server(peers []string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.now.Load().own, nil },
		// The chain is verified below, with the roots of that moment.
		ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			return f.verify(s, "", x509.ExtKeyUsageClientAuth, peers)
		},
	}
}

// Client implements Source. The server's certificate must be for the name that is
// dialled, unless peers say otherwise.
func (f *Files) Client(peers []string) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.now.Load().own, nil },
		InsecureSkipVerify:   true, // verified below, with the roots of that moment
		VerifyConnection: func(s tls.ConnectionState) error {
			name := s.ServerName
			if len(peers) > 0 {
				name = ""
			}
			return f.verify(s, name, x509.ExtKeyUsageServerAuth, peers)
		},
	}
}

func (f *Files) verify(s tls.ConnectionState, name string, usage x509.ExtKeyUsage, peers []string) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the peer shows no certificate")
	}
	leaf := s.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		DNSName: name, Roots: f.now.Load().roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage},
	}); err != nil {
		return err
	}
	return named(leaf, peers)
}

// named returns an error if the certificate has none of the names.
func named(c *x509.Certificate, peers []string) error {
	if len(peers) == 0 {
		return nil
	}
	names := slices.Clone(c.DNSNames)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	for _, n := range names {
		if slices.Contains(peers, n) {
			return nil
		}
	}
	return fmt.Errorf("the peer is %q, which may not connect here", names)
}

// A Workload takes certificates from a SPIFFE workload API, which replaces them
// before they end.
type Workload struct{ source *workloadapi.X509Source }

// Spiffe waits until the workload API at an address (unix:///run/spire/agent.sock;
// if empty, SPIFFE_ENDPOINT_SOCKET says which) has given a certificate.
func Spiffe(ctx context.Context, addr string) (*Workload, error) {
	var options []workloadapi.X509SourceOption
	if addr != "" {
		options = append(options, workloadapi.WithClientOptions(workloadapi.WithAddr(addr)))
	}
	source, err := workloadapi.NewX509Source(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("asking the workload API for a certificate: %w", err)
	}
	return &Workload{source}, nil
}

// Close ends the connection to the workload API.
func (w *Workload) Close() error { return w.source.Close() }

// Server implements Source.
func (w *Workload) Server(peers []string) *tls.Config {
	c := tlsconfig.MTLSServerConfig(w.source, w.source, tlsconfig.AuthorizeAny())
	return restrict(c, peers)
}

// Client implements Source. SPIFFE knows no host names: peers say who is meant.
func (w *Workload) Client(peers []string) *tls.Config {
	c := tlsconfig.MTLSClientConfig(w.source, w.source, tlsconfig.AuthorizeAny())
	return restrict(c, peers)
}

func restrict(c *tls.Config, peers []string) *tls.Config {
	c.MinVersion = tls.VersionTLS13
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the peer shows no certificate")
		}
		return named(s.PeerCertificates[0], peers)
	}
	return c
}
