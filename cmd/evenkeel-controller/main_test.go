package main

import (
	"errors"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/program"
	"github.com/evenkeel-dev/evenkeel/internal/program/programtest"
)

func TestReferencePage(t *testing.T) { programtest.Reference(t, command()) }

// TestUsage: mistakes are told apart from trouble.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--sqs-queue=q", "--on-deadline=maybe"},
		{"--sqs-queue=q", "--margin=soon"},
		{"--sqs-queue=q", "--leader-elect", "--lease=nowhere"},
		{"--sqs-queue=q", "--capacity=perhaps"},
		{"--sqs-queue=q", "--capacity-objective=101"},
		{"--sqs-queue=q", "--capacity=act", "--capacity-store=nowhere"},
		{"--sqs-queue=q", "--capacity-group=a=b"},
		{"--sqs-queue=q", "--kubeconfig=testdata/kubeconfig", "--aws-region=eu-west-1", "--notify-webhook=nowhere"},
		{"--sqs-queue=q", "--kubeconfig=testdata/kubeconfig", "--aws-region=eu-west-1", "--notify-sns=nowhere"},
		{"--sqs-queue=q", "--kubeconfig=testdata/kubeconfig", "--aws-region=eu-west-1", "--notify-slack-file=testdata/kubeconfig"},
	} {
		cmd := command()
		cmd.SetArgs(args)
		err := cmd.ExecuteContext(t.Context())
		if _, ok := errors.AsType[program.UsageError](err); !ok {
			t.Errorf("%q: %v, want a usage error", args, err)
		}
	}
}
