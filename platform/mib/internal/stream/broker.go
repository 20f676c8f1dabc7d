package stream

import (
	"fmt"
	"net"
	"os"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Broker starts a broker in this process that speaks the Kafka protocol at an
// address of loopback and keeps what it gets in a directory, synced. It is for
// development: one node, no replication, and its own author calls it a fake for
// tests. In production there is Kafka, and KAFKA_BROKERS says where.
func Broker(addr, dir string) (*kfake.Cluster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("starting the broker: %w", err)
	}
	c, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, addr) }),
		kfake.DataDir(dir),
		kfake.SyncWrites(),
	)
	if err != nil {
		return nil, fmt.Errorf("starting the broker at %s: %w", addr, err)
	}
	return c, nil
}
