package service

import (
	"context"
	"strings"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// Broker makes the service the broker for development. It ends last of all: clients
// that end at the same time still say what they have done.
func (s *Service) Broker(addr, dir string) error {
	c, err := stream.Broker(addr, dir)
	if err != nil {
		return err
	}
	s.Brokers = c.ListenAddrs()
	s.Lifecycle.OnStart(s.Topics)
	s.Lifecycle.OnStart(func(context.Context) error {
		s.Log.Info("serving", "kafka", strings.Join(s.Brokers, ","), "note", "a broker for development: one node, no replication")
		return nil
	})
	s.Lifecycle.OnFlush(func(context.Context) error { c.Close(); return nil })
	return nil
}
