package main

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the reference page anew")

// TestReferencePage keeps docs/reference/evenkeel-controller.md what --help says.
func TestReferencePage(t *testing.T) {
	var help bytes.Buffer
	cmd := command()
	cmd.SetOut(&help)
	cmd.SetArgs([]string{"--help"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	want := "<!-- Generated from --help: go test ./cmd/evenkeel-controller -update -->\n# evenkeel-controller\n\n```\n" + help.String() + "```\n"
	const page = "../../docs/reference/evenkeel-controller.md"
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("the page is not what --help says; go test -update writes it anew")
	}
}

// TestUsage: mistakes are told apart from trouble.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--sqs-queue=q", "--on-deadline=maybe"},
		{"--sqs-queue=q", "--margin=soon"},
		{"--sqs-queue=q", "--leader-elect", "--lease=nowhere"},
		{"--sqs-queue=q", "--kubeconfig=testdata/kubeconfig", "--aws-region=eu-west-1", "--notify-webhook=nowhere"},
		{"--sqs-queue=q", "--kubeconfig=testdata/kubeconfig", "--aws-region=eu-west-1", "--notify-sns=nowhere"},
		{"--sqs-queue=q", "--kubeconfig=testdata/kubeconfig", "--aws-region=eu-west-1", "--notify-slack-file=testdata/kubeconfig"},
	} {
		cmd := command()
		cmd.SetArgs(args)
		err := cmd.ExecuteContext(t.Context())
		if _, ok := err.(usageError); !ok {
			t.Errorf("%q: %v, want a usage error", args, err)
		}
	}
}
