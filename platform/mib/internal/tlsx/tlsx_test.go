package tlsx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// write writes the files of a service that has the given names.
func (a *authority) write(t *testing.T, dir, dns, uri string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: dns}, DNSNames: []string{dns},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: der},
		"tls.key": {Type: "PRIVATE KEY", Bytes: keyDER},
		"ca.crt":  {Type: "CERTIFICATE", Bytes: a.cert.Raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func load(t *testing.T, dir string) *Files {
	t.Helper()
	f, err := Load(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// serve serves at a port of loopback over TLS, and returns its URL by that name.
func serve(t *testing.T, c *tls.Config) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.TLS = c
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "https://localhost:" + port
}

func get(c *tls.Config, url string) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func TestWhoMayConnect(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	gateway, engine, stranger := t.TempDir(), t.TempDir(), t.TempDir()
	ours.write(t, gateway, "gateway", "spiffe://test/gateway")
	ours.write(t, engine, "localhost", "spiffe://test/engine")
	theirs.write(t, stranger, "localhost", "spiffe://test/gateway")
	g, e, s := load(t, gateway), load(t, engine), load(t, stranger)

	plain := serve(t, e.Server(nil))
	only := serve(t, e.Server([]string{"spiffe://test/gateway"}))
	old := g.Client(nil)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	bare := g.Client(nil)
	bare.GetClientCertificate = nil
	for _, c := range []struct {
		name   string
		client *tls.Config
		url    string
		ok     bool
	}{
		{"who is trusted", g.Client(nil), plain, true},
		{"who is named", g.Client([]string{"spiffe://test/engine"}), only, true},
		{"who is not named", e.Client(nil), only, false},
		{"a server that is not named", g.Client([]string{"spiffe://test/other"}), plain, false},
		{"a server of another authority", s.Client(nil), plain, false},
		{"no certificate", bare, plain, false},
		{"TLS 1.2", old, plain, false},
		{"another host name", g.Client(nil), strings.Replace(plain, "localhost", "127.0.0.1", 1), false},
	} {
		if err := get(c.client, c.url); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// Who is of another authority and believes everything is refused all the same.
	s.now.Load().roots = g.now.Load().roots
	if err := get(s.Client(nil), plain); err == nil {
		t.Error("a client of another authority was let in")
	}
}

// An authority is replaced while both ends run: both trust the new one before
// anybody is signed by it, as always.
func TestReplaced(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	gateway, engine := t.TempDir(), t.TempDir()
	first.write(t, gateway, "gateway", "")
	first.write(t, engine, "localhost", "")
	g, e := load(t, gateway), load(t, engine)
	client := g.Client(nil)
	at := serve(t, e.Server(nil))
	try := func(ok bool) {
		t.Helper()
		if err := get(client, at); (err == nil) != ok {
			t.Fatal(err)
		}
	}
	try(true)
	second.write(t, engine, "localhost", "")
	if err := e.Load(); err != nil {
		t.Fatal(err)
	}
	try(false) // the engine has changed, the gateway has not
	second.write(t, gateway, "gateway", "")
	if err := g.Load(); err != nil {
		t.Fatal(err)
	}
	try(true)

	if err := os.WriteFile(filepath.Join(gateway, "tls.key"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.Load(); err == nil {
		t.Error("half a key was read")
	}
	try(true)
}
