package roles

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
)

// runEtcd runs a single-member etcd in the working directory until SIGTERM.
// It opens no port: clients come through a socket, and there are no peers.
func runEtcd(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("etcd takes no flags here, got %q", args)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGINT)

	socket := []url.URL{{Scheme: "unix", Host: controlplane.EtcdSocket}}
	cfg := embed.NewConfig()
	cfg.Name = "rehearsal"
	cfg.Dir = "etcd"
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = socket, socket
	cfg.ListenPeerUrls = nil // the advertised one is only a name
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.LogLevel = "warn"
	cfg.LogFormat = "console"
	// A rehearsal's data does not survive it, and writing it through to a disk
	// costs more than everything else that etcd does.
	cfg.UnsafeNoFsync = true
	cfg.EnableGRPCGateway = false

	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		return err
	case <-term:
		return nil
	}
	if err := os.WriteFile(controlplane.EtcdReadyFile, nil, 0o600); err != nil {
		return err
	}
	select {
	case err := <-e.Err():
		return err
	case <-e.Server.StopNotify():
		return errors.New("the server stopped by itself")
	case <-term:
		return nil
	}
}
