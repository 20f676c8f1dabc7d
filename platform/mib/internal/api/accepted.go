package api

import "github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"

// Accepted returns the tick with an id and where the topic has it, if it is among
// the last that came back from there.
func (h *Hub) Accepted(id string) (t stream.Tick, partition int32, offset int64, ok bool) {
	a, ok := h.lookup(id)
	return a.tick, a.partition, a.offset, ok
}
