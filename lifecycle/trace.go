package lifecycle

import "context"

// spans turns the phases into spans. It is owned by the loop of Run.
type spans struct {
	trace            func(context.Context, string) (context.Context, func(Reason))
	root             context.Context
	endRoot, endSpan func(Reason)
}

// begin ends the span of the phase before and begins that of p.
func (s *spans) begin(background context.Context, p Phase, why Reason) {
	if s.trace == nil {
		return
	}
	if s.root == nil {
		s.root, s.endRoot = s.trace(background, "termination")
	}
	if s.endSpan != nil {
		s.endSpan(why)
	}
	_, s.endSpan = s.trace(s.root, p.String())
}

// end ends all spans; calls after the first do nothing.
func (s *spans) end(why Reason) {
	if s.endSpan != nil {
		s.endSpan(why)
		s.endRoot(why)
		s.endSpan, s.endRoot = nil, nil
	}
}
