package tlsx

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/tlsx/tlsxtest"
)

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

// attempt is a connection that has to succeed or not.
type attempt struct {
	name   string
	client *tls.Config
	url    string
	ok     bool
}

// whoMayConnect tries what any Source has to let in and refuse, between a gateway and
// an engine that have one authority, and then more. It returns where the engine serves
// whoever is trusted.
func whoMayConnect(t *testing.T, g, e Source, more func(plain string) []attempt) (plain string) {
	t.Helper()
	plain = serve(t, e.Server(nil))
	only := serve(t, e.Server([]string{"spiffe://test/gateway"}))
	old := g.Client(nil)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	bare := g.Client(nil)
	bare.GetClientCertificate = nil
	for _, c := range append([]attempt{
		{"who is trusted", g.Client(nil), plain, true},
		{"who is named", g.Client([]string{"spiffe://test/engine"}), only, true},
		{"who is not named", e.Client(nil), only, false},
		{"a server that is not named", g.Client([]string{"spiffe://test/other"}), plain, false},
		{"no certificate", bare, plain, false},
		{"TLS 1.2", old, plain, false},
	}, more(plain)...) {
		if err := get(c.client, c.url); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	return plain
}

func TestWhoMayConnect(t *testing.T) {
	ours, theirs := tlsxtest.NewAuthority(t), tlsxtest.NewAuthority(t)
	gateway, engine, stranger := t.TempDir(), t.TempDir(), t.TempDir()
	ours.Write(t, gateway, "gateway", "spiffe://test/gateway")
	ours.Write(t, engine, "localhost", "spiffe://test/engine")
	theirs.Write(t, stranger, "localhost", "spiffe://test/gateway")
	g, e, s := load(t, gateway), load(t, engine), load(t, stranger)

	plain := whoMayConnect(t, g, e, func(plain string) []attempt {
		return []attempt{
			{"a server of another authority", s.Client(nil), plain, false},
			{"another host name", g.Client(nil), strings.Replace(plain, "localhost", "127.0.0.1", 1), false},
		}
	})
	// Who is of another authority and believes everything is refused all the same.
	s.now.Load().roots = g.now.Load().roots
	if err := get(s.Client(nil), plain); err == nil {
		t.Error("a client of another authority was let in")
	}
}

// An authority is replaced while both ends run: both trust the new one before
// anybody is signed by it, as always.
func TestReplaced(t *testing.T) {
	first, second := tlsxtest.NewAuthority(t), tlsxtest.NewAuthority(t)
	gateway, engine := t.TempDir(), t.TempDir()
	first.Write(t, gateway, "gateway", "")
	first.Write(t, engine, "localhost", "")
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
	second.Write(t, engine, "localhost", "")
	if err := e.Load(); err != nil {
		t.Fatal(err)
	}
	try(false) // the engine has changed, the gateway has not
	second.Write(t, gateway, "gateway", "")
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
