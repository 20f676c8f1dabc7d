// Command protogen generates code and the OpenAPI description from the protocol in
// ../proto, and checks it. It runs in platform/mib/tools:
//
//	go run ./protogen            generate
//	go run ./protogen -lint      check style, and compare with what was accepted
//	go run ./protogen -accept    accept the protocol as it is: later ones are compared with it
//
// What it runs are tools of this module and of the one in buf, in the versions pinned
// there: nothing has to be installed, and nothing but Go modules is fetched. Generating
// needs the plugins alone; buf, which takes minutes to build, only checks.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	lint := flag.Bool("lint", false, "check style, and compare with what was accepted")
	accept := flag.Bool("accept", false, "accept the protocol as it is")
	flag.Parse()
	run := func() error { return generate(ctx, "../proto", "../proto") }
	if *lint || *accept {
		run = func() error { return check(ctx, "..", *accept) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

// plugins make files of a request that protoc would send them.
var plugins = []struct{ pkg, parameter string }{
	{"google.golang.org/protobuf/cmd/protoc-gen-go", "paths=source_relative"},
	{"google.golang.org/grpc/cmd/protoc-gen-go-grpc", "paths=source_relative"},
	{"connectrpc.com/connect/cmd/protoc-gen-connect-go", "paths=source_relative"},
	{openAPIPlugin, ""},
}

const openAPIPlugin = "github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv3"

// generate generates everything from the .proto files in one folder into another.
func generate(ctx context.Context, from, to string) error {
	tmp, err := os.MkdirTemp("", "protogen-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	request, err := compile(ctx, from)
	if err != nil {
		return err
	}
	for _, p := range plugins {
		program := filepath.Join(tmp, filepath.Base(p.pkg))
		if err := build(ctx, ".", program, p.pkg); err != nil {
			return err
		}
		out := to
		if p.pkg == openAPIPlugin {
			out = filepath.Join(tmp, "openapi")
		}
		request.Parameter = &p.parameter
		if err := plugin(ctx, program, request, out); err != nil {
			return err
		}
	}
	return mergeOpenAPI(filepath.Join(tmp, "openapi"), filepath.Join(to, "openapi.json"))
}

func build(ctx context.Context, dir, program, pkg string) error {
	c := exec.CommandContext(ctx, "go", "build", "-o", program, pkg)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOWORK=off")
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("building %s: %w", pkg, err)
	}
	return nil
}

// plugin runs a plugin and writes what it answers.
func plugin(ctx context.Context, program string, request *pluginpb.CodeGeneratorRequest, to string) error {
	in, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, program)
	c.Stdin = bytes.NewReader(in)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	var answer pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &answer); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s", filepath.Base(program), answer.GetError())
	}
	for _, f := range answer.GetFile() {
		name := filepath.Join(to, filepath.FromSlash(f.GetName()))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compile reads our files. What they import is in the Go modules that the generated
// code uses anyway, as descriptors.
func compile(ctx context.Context, from string) (*pluginpb.CodeGeneratorRequest, error) {
	names, err := protoFiles(from)
	if err != nil {
		return nil, err
	}
	c := protocompile.Compiler{
		SourceInfoMode: protocompile.SourceInfoStandard,
		Resolver: protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: []string{from}},
			protocompile.ResolverFunc(func(name string) (protocompile.SearchResult, error) {
				d, err := protoregistry.GlobalFiles.FindFileByPath(name)
				return protocompile.SearchResult{Desc: d}, err
			}),
		},
	}
	files, err := c.Compile(ctx, names...)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: names}
	seen := make(map[string]bool)
	var add func(protoreflect.FileDescriptor) error
	add = func(f protoreflect.FileDescriptor) error {
		if seen[f.Path()] {
			return nil
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			if err := add(f.Imports().Get(i).FileDescriptor); err != nil {
				return err
			}
		}
		// Written and read again, so that options are those of their generated types.
		b, err := proto.Marshal(protoutil.ProtoFromFileDescriptor(f))
		if err != nil {
			return err
		}
		d := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(b, d); err != nil {
			return err
		}
		request.ProtoFile = append(request.ProtoFile, d)
		return nil
	}
	for _, f := range files {
		if err := add(f); err != nil {
			return nil, err
		}
	}
	return request, nil
}

// protoFiles returns the .proto files below a folder, by name.
func protoFiles(dir string) ([]string, error) {
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, _ fs.DirEntry, err error) error {
		if filepath.Ext(name) == ".proto" {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// accepted is the protocol that clients may rely on, as a file descriptor set.
const accepted = "proto/accepted.binpb"

// check runs buf in a folder that has buf.yaml.
func check(ctx context.Context, dir string, accept bool) error {
	program, err := filepath.Abs("buf/bin/buf")
	if err != nil {
		return err
	}
	if err := build(ctx, "buf", program, "github.com/bufbuild/buf/cmd/buf"); err != nil {
		return err
	}
	if err := writeImports(filepath.Join(dir, "proto-deps")); err != nil {
		return err
	}
	commands := [][]string{
		{"format", "--diff", "--exit-code", "proto"},
		{"lint", "proto"},
		{"breaking", "proto", "--against", accepted},
	}
	if accept {
		commands = [][]string{commands[0], commands[1], {"build", "proto", "--exclude-source-info", "-o", accepted}}
	}
	for _, args := range commands {
		c := exec.CommandContext(ctx, program, args...)
		c.Dir = dir
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Run(); err != nil {
			return fmt.Errorf("buf %s: %w", args[0], err)
		}
	}
	return nil
}

// writeImports writes what our files import, for buf, which takes nothing but files.
func writeImports(dir string) error {
	var p protoprint.Printer
	err := p.PrintProtosToFileSystem([]protoreflect.FileDescriptor{
		validate.File_buf_validate_validate_proto,
		annotations.File_google_api_annotations_proto,
		annotations.File_google_api_http_proto,
	}, dir)
	if err != nil {
		return fmt.Errorf("writing what the protocol imports: %w", err)
	}
	return nil
}
