package terraform

import (
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// A queue is an SQS queue before it is known what is attached to it.
type queue struct {
	*manifest.Queue
	name string
}

// An attachment is the policy of a queue.
type attachment struct {
	queue    string
	document string // name of the policy document, "" where the policy is inline
	known    bool
	denies   bool
}

func (m *module) queue(b *block) {
	q := &queue{Queue: &manifest.Queue{Meta: b.meta()}, name: b.label(1)}
	q.HasDeadLetter = b.Body.Attributes["redrive_policy"] != nil
	if attr := b.Body.Attributes["policy"]; attr != nil {
		m.attach(q.name, attr.Expr)
	}
	m.queues = append(m.queues, q)
}

func (m *module) queuePolicy(b *block) {
	attr := b.Body.Attributes["policy"]
	for _, name := range refs(b.Body, "queue_url", "aws_sqs_queue") {
		if attr != nil {
			m.attach(name, attr.Expr)
		}
	}
}

func (m *module) attach(queue string, expr hclsyntax.Expression) {
	a := attachment{queue: queue}
	if docs := refsIn(expr, "data", "aws_iam_policy_document"); len(docs) == 1 {
		a.document = docs[0]
	} else if policy := m.policyValue(expr); policy != cty.NilVal {
		a.known = true
		for _, s := range statements(policy) {
			if effect, _ := asString(attribute(s, "Effect")); effect == "Deny" && attribute(s, "Condition") != cty.NilVal {
				a.denies = true
			}
		}
	}
	m.policies = append(m.policies, a)
}

// joinQueues keeps the queues that an EventBridge rule sends to.
func (m *module) joinQueues() {
	for _, q := range m.queues {
		if !m.targets[q.name] {
			continue
		}
		q.HasDeadLetter = q.HasDeadLetter || m.dead[q.name]
		q.PolicyKnown = true
		for _, a := range m.policies {
			if a.queue != q.name {
				continue
			}
			q.HasPolicy = true
			q.PolicyKnown = q.PolicyKnown && (a.known || m.documents[a.document])
			q.DeniesPlain = q.DeniesPlain || a.denies || m.denies[a.document]
		}
		m.set.Queues = append(m.set.Queues, q.Queue)
	}
}

// policyDocument reads data "aws_iam_policy_document". A statement with
// principals belongs to a resource policy, where resources are often "*" because
// the policy is already attached to one.
func (m *module) policyDocument(b *block) {
	m.documents[b.label(1)] = !dynamic(b.Body, "statement") && b.Body.Attributes["source_policy_documents"] == nil
	for _, s := range blocksOf(b.Body, "statement") {
		conditions := blocksOf(s.Body, "condition")
		effect := m.str(s.Body, "effect").Or("Allow")
		if effect == "Deny" {
			for _, c := range conditions {
				if m.str(c.Body, "variable").Value == "aws:SecureTransport" {
					m.denies[b.label(1)] = true
				}
			}
			continue
		}
		if effect != "Allow" || len(blocksOf(s.Body, "principals")) > 0 || dynamic(s.Body, "principals") {
			continue
		}
		meta := b.meta()
		m.set.Statements = append(m.set.Statements, &manifest.Statement{
			Meta:        meta,
			Actions:     m.fields(s.Body, "actions"),
			Resources:   m.fields(s.Body, "resources"),
			Conditional: len(conditions) > 0 || dynamic(s.Body, "condition"),
		})
	}
}

// fields returns the known elements of a list of strings, at the place of the
// attribute.
func (m *module) fields(body *hclsyntax.Body, name string) []manifest.Field[string] {
	attr := body.Attributes[name]
	if attr == nil {
		return nil
	}
	return asFields(m.eval(attr.Expr), position(attr.NameRange.Start))
}

func asFields(v cty.Value, pos manifest.Pos) (out []manifest.Field[string]) {
	if v == cty.NilVal || !v.IsKnown() || v.IsNull() {
		return nil
	}
	if s, ok := asString(v); ok { // policies allow one string for a list of one
		return []manifest.Field[string]{{Value: s, Set: true, Pos: pos}}
	}
	if !v.CanIterateElements() {
		return nil
	}
	for it := v.ElementIterator(); it.Next(); {
		_, element := it.Element()
		if s, ok := asString(element); ok {
			out = append(out, manifest.Field[string]{Value: s, Set: true, Pos: pos})
		}
	}
	return out
}

// policyJSON reads the policy of an identity: a JSON text, or jsonencode of an
// object.
func (m *module) policyJSON(b *block) {
	attr := b.Body.Attributes["policy"]
	if attr == nil {
		return
	}
	policy := m.policyValue(attr.Expr)
	if policy == cty.NilVal {
		return
	}
	pos := position(attr.NameRange.Start)
	for _, s := range statements(policy) {
		if effect, _ := asString(attribute(s, "Effect")); effect != "Allow" {
			continue
		}
		m.set.Statements = append(m.set.Statements, &manifest.Statement{
			Meta:        b.meta(),
			Actions:     asFields(attribute(s, "Action"), pos),
			Resources:   asFields(attribute(s, "Resource"), pos),
			Conditional: attribute(s, "Condition") != cty.NilVal,
		})
	}
}

// policyValue returns a policy as an object. The argument of jsonencode is read
// itself, because one unknown ARN would make the encoded text unknown as a
// whole.
func (m *module) policyValue(expr hclsyntax.Expression) cty.Value {
	if call, ok := expr.(*hclsyntax.FunctionCallExpr); ok && call.Name == "jsonencode" && len(call.Args) == 1 {
		if v := m.eval(call.Args[0]); v.IsKnown() && !v.IsNull() && v.Type().IsObjectType() {
			return v
		}
		return cty.NilVal
	}
	text, ok := asString(m.eval(expr))
	if !ok || !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return cty.NilVal
	}
	t, err := ctyjson.ImpliedType([]byte(text))
	if err != nil {
		return cty.NilVal
	}
	v, err := ctyjson.Unmarshal([]byte(text), t)
	if err != nil || !v.Type().IsObjectType() {
		return cty.NilVal
	}
	return v
}

// statements returns the statements of a policy, which may be one or a list.
func statements(policy cty.Value) (out []cty.Value) {
	v := attribute(policy, "Statement")
	if v == cty.NilVal || !v.IsKnown() || v.IsNull() {
		return nil
	}
	if v.Type().IsObjectType() {
		return []cty.Value{v}
	}
	if !v.CanIterateElements() {
		return nil
	}
	for it := v.ElementIterator(); it.Next(); {
		_, s := it.Element()
		out = append(out, s)
	}
	return out
}
