package tlsx

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/tlsx/tlsxtest"
)

func spiffe(t *testing.T, addr string) *Workload {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w, err := Spiffe(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestSpiffeWhoMayConnect(t *testing.T) {
	ours, theirs := tlsxtest.NewAuthority(t), tlsxtest.NewAuthority(t)
	workload := func(a *tlsxtest.Authority, id string) *Workload {
		api := tlsxtest.NewWorkload(t)
		api.Issue(t, a, id)
		return spiffe(t, api.Addr)
	}
	g, e := workload(ours, "spiffe://test/gateway"), workload(ours, "spiffe://test/engine")
	domain, forger := workload(theirs, "spiffe://other/gateway"), workload(theirs, "spiffe://test/gateway")

	// Only one end is to refuse, so that it is known which did: these believe everything.
	gullible := domain.Server(nil)
	gullible.ClientAuth, gullible.VerifyPeerCertificate, gullible.VerifyConnection = tls.NoClientCert, nil, nil
	foreign := serve(t, gullible)
	believing := func(w *Workload) *tls.Config {
		c := w.Client(nil)
		c.VerifyPeerCertificate, c.VerifyConnection = nil, nil
		return c
	}
	whoMayConnect(t, g, e, func(plain string) []attempt {
		return []attempt{
			{"a server of another trust domain", g.Client(nil), foreign, false},
			{"a client of another trust domain", believing(domain), plain, false},
			{"a client of another authority, with a name of ours", believing(forger), plain, false},
			{"a believing client that is trusted", believing(g), plain, true},
		}
	})
}

// The workload API replaces what it gave while connections are made.
func TestSpiffeReplaced(t *testing.T) {
	first, second := tlsxtest.NewAuthority(t), tlsxtest.NewAuthority(t)
	gateway, engine := tlsxtest.NewWorkload(t), tlsxtest.NewWorkload(t)
	gateway.Issue(t, first, "spiffe://test/gateway")
	engine.Issue(t, first, "spiffe://test/engine")
	g, e := spiffe(t, gateway.Addr), spiffe(t, engine.Addr)
	client := g.Client([]string{"spiffe://test/engine"})
	at := serve(t, e.Server([]string{"spiffe://test/gateway"}))
	try := func(ok bool) {
		t.Helper()
		if err := get(client, at); (err == nil) != ok {
			t.Fatal(err)
		}
	}
	replace := func(api *tlsxtest.Workload, w *Workload, id string, others ...*tlsxtest.Authority) {
		t.Helper()
		updated := w.source.Updated()
		api.Issue(t, second, id, others...)
		select {
		case <-updated:
		case <-time.After(20 * time.Second):
			t.Fatal("the new certificate has not come")
		}
	}
	try(true)
	replace(engine, e, "spiffe://test/engine", first)
	try(false) // the gateway does not trust the new authority yet
	replace(gateway, g, "spiffe://test/gateway", first)
	try(true)
}

// A workload that is not registered is told so, and a wait for it ends.
func TestSpiffeNobody(t *testing.T) {
	api := tlsxtest.NewWorkload(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if w, err := Spiffe(ctx, api.Addr); err == nil {
		w.Close()
		t.Error("it was given a certificate")
	}
	if _, err := Spiffe(t.Context(), "tcp://nowhere"); err == nil {
		t.Error("an address that makes no sense was taken")
	}
}
