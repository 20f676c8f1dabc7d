// Package terraform reads the node pools, launch templates, queues and IAM
// statements of a Terraform module into the model that the lint rules read.
//
// It does not run Terraform. Expressions are evaluated as far as literals,
// variable defaults, locals and a few functions go; what depends on anything
// else is unknown, and an unknown value is left out of the model, so that no
// rule fires on it. Blocks of other kinds are not looked at.
package terraform

import (
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// A File is one .tf file of a module.
type File struct {
	Name string
	Text []byte
}

// MaxFile is the size in bytes above which a file is not read.
const MaxFile = 1 << 20

// Decode reads the files of one module, which is what one directory holds.
// Files are read in the order of their names, as Terraform does. A file that is
// malformed is an error with its place, and costs only itself.
func Decode(files []File) (*manifest.Set, []*manifest.Error) {
	files = append([]File(nil), files...)
	sort.Slice(files, func(i, j int) bool { return files[i].Name < files[j].Name })
	m := &module{set: &manifest.Set{}}
	var errs []*manifest.Error
	for _, f := range files {
		m.set.Documents++
		if len(f.Text) > MaxFile {
			errs = append(errs, &manifest.Error{File: f.Name, Msg: "the file is larger than 1 MiB and was skipped"})
			continue
		}
		if pos, why := tooComplex(f.Text); why != "" {
			errs = append(errs, &manifest.Error{File: f.Name, Pos: pos, Msg: why + "; the file was skipped"})
			continue
		}
		parsed, diags := hclsyntax.ParseConfig(f.Text, f.Name, hcl.InitialPos)
		if diags.HasErrors() {
			errs = append(errs, diagnostic(f.Name, diags))
			continue
		}
		body := parsed.Body.(*hclsyntax.Body) // ParseConfig returns no other type
		ignores := ignoreComments(f)
		for _, b := range body.Blocks {
			m.blocks = append(m.blocks, &block{Block: b, file: f.Name, ignores: ignores.within(b)})
		}
	}
	m.context()
	for _, b := range m.blocks {
		m.read(b)
	}
	m.joinQueues()
	return m.set, errs
}

func diagnostic(file string, diags hcl.Diagnostics) *manifest.Error {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			e := &manifest.Error{File: file, Msg: "malformed HCL: " + d.Summary + ": " + d.Detail}
			if d.Subject != nil {
				e.Pos = manifest.Pos{Line: d.Subject.Start.Line, Column: d.Subject.Start.Column}
			}
			return e
		}
	}
	return &manifest.Error{File: file, Msg: "malformed HCL"}
}

// A module is a directory being read.
type module struct {
	set    *manifest.Set
	blocks []*block
	vars   map[string]cty.Value

	queues    []*queue
	policies  []attachment    // of queues
	targets   map[string]bool // queues that a rule sends to
	documents map[string]bool // policy documents, true if all of it can be read
	denies    map[string]bool // policy documents that deny plain requests
	dead      map[string]bool // queues with a separate redrive resource
}

// A block is a top-level block and where it stands.
type block struct {
	*hclsyntax.Block
	file    string
	ignores []manifest.Ignore
}

func (b *block) label(i int) string {
	if i < len(b.Labels) {
		return b.Labels[i]
	}
	return ""
}

// meta returns the identity of a block: resource "type" "name".
func (b *block) meta() manifest.Meta {
	start := b.DefRange().Start
	m := manifest.Meta{File: b.file, Pos: position(start), APIVersion: "terraform", Kind: b.label(0), Name: b.label(1), Ignores: b.ignores}
	if b.Type != "resource" {
		m.Kind = b.Type
		if b.Type == "module" {
			m.Name = b.label(0)
		} else {
			m.Kind = b.Type + " " + b.label(0)
		}
	}
	return m
}

func position(p hcl.Pos) manifest.Pos { return manifest.Pos{Line: p.Line, Column: p.Column} }

// read adds what a block declares to the set.
func (m *module) read(b *block) {
	switch b.Type {
	case "resource":
		switch b.label(0) {
		case "aws_eks_node_group":
			m.eksNodeGroups(b)
		case "aws_autoscaling_group":
			m.autoscalingGroup(b)
		case "google_container_node_pool":
			m.gkeNodePool(b)
		case "azurerm_kubernetes_cluster_node_pool":
			m.aksNodePool(b)
		case "aws_launch_template":
			m.launchTemplate(b)
		case "aws_sqs_queue":
			m.queue(b)
		case "aws_sqs_queue_policy":
			m.queuePolicy(b)
		case "aws_sqs_queue_redrive_policy":
			for _, name := range refs(b.Body, "queue_url", "aws_sqs_queue") {
				m.dead[name] = true
			}
		case "aws_cloudwatch_event_target":
			for _, name := range refs(b.Body, "arn", "aws_sqs_queue") {
				m.targets[name] = true
			}
		case "aws_iam_policy", "aws_iam_role_policy", "aws_iam_user_policy", "aws_iam_group_policy":
			m.policyJSON(b)
		}
	case "data":
		if b.label(0) == "aws_iam_policy_document" {
			m.policyDocument(b)
		}
	case "module":
		m.eksModule(b)
	}
}
