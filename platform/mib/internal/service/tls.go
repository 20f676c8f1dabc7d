package service

import (
	"context"
	"flag"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/reload"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/tlsx"
)

// TLS are the flags that say which certificate a service shows to others, and whom
// it trusts. Without any it speaks plain text.
type TLS struct {
	cert, key, ca, spiffe string
	peers                 string // of a server: who may connect
}

// Add adds the flags to a set.
func (t *TLS) Add(set *flag.FlagSet) {
	set.StringVar(&t.cert, "tls-cert", "", "certificate `file` to show to other services; with --tls-key and --tls-ca. Read again when it changes")
	set.StringVar(&t.key, "tls-key", "", "its key `file`")
	set.StringVar(&t.ca, "tls-ca", "", "`file` of the certificates that sign those of other services")
	set.StringVar(&t.spiffe, "spiffe", "", "take certificates from the SPIFFE workload API at this `address`, like unix:///run/spire/agent.sock")
}

// AddServer adds the flags of a service that others connect to.
func (t *TLS) AddServer(set *flag.FlagSet) {
	t.Add(set)
	set.StringVar(&t.peers, "tls-peers", "", "`names` in the certificates of those who may connect, with commas between; whoever is trusted, if empty")
}

// Peers returns who may connect; none for whoever is trusted.
func (t *TLS) Peers() []string { return Names(t.peers) }

// Names splits a list with commas.
func Names(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// Spiffe reports whether certificates come from a workload API.
func (t *TLS) Spiffe() bool { return t.spiffe != "" }

// Problem says what is wrong with the flags; empty if nothing is.
func (t *TLS) Problem() string {
	files := 0
	for _, f := range []string{t.cert, t.key, t.ca} {
		if f != "" {
			files++
		}
	}
	switch {
	case t.spiffe != "" && files > 0:
		return "--spiffe and --tls-cert are two ways to the same; choose one"
	case files != 0 && files != 3:
		return "--tls-cert, --tls-key and --tls-ca are needed together"
	case t.peers != "" && t.spiffe == "" && files == 0:
		return "--tls-peers needs --tls-cert or --spiffe: without TLS nobody shows a name"
	}
	return ""
}

// WatchEvery is how often files that may change are looked at.
const WatchEvery = 2 * time.Second

// Certificates returns the certificates of the service, kept fresh until it ends; nil
// if it is to speak plain text.
func (s *Service) Certificates(ctx context.Context, t TLS) (tlsx.Source, error) {
	switch {
	case t.spiffe != "":
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		w, err := tlsx.Spiffe(wait, t.spiffe)
		if err != nil {
			return nil, err
		}
		s.Lifecycle.OnFlush(func(context.Context) error { return w.Close() })
		return w, nil
	case t.cert != "":
		f, err := tlsx.Load(t.cert, t.key, t.ca)
		if err != nil {
			return nil, err
		}
		s.Lifecycle.Job("certificates", func(ctx context.Context) error {
			reload.Files(ctx, WatchEvery, s.Log, f.Load, f.Names()...)
			return nil
		})
		return f, nil
	}
	return nil, nil
}
