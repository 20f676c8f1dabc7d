//go:build evenkeel_fault

// This file is in no program that is shipped: it takes -tags evenkeel_fault. Such a
// program kills itself at the points that EVENKEEL_FAULT names, so that a test can
// kill it before and after each thing that it does to the outside.

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// acknowledge is the one effect that is not the loop's: a message is deleted.
const acknowledge = "acknowledge"

// faults are points in the life of this process at which it dies, each written
//
//	before:KIND@WHERE   after:KIND/REASON@WHERE
//
// KIND is a drain.Kind or acknowledge; WHERE is a node, the namespace of a budget,
// or the instance that a message is about. Before: nothing has been asked of the
// outside. After: it has been done, and nobody here knows.
type faults struct {
	controller.Cluster
	controller.Hooks
	aws.Queue

	armed map[string]bool

	// mu is held from before to after: what has a point of its own is not under way
	// when another one kills the process, or it might be done and its point missed.
	mu sync.Mutex

	receipts sync.Map // of messages: the instance that they are about
}

func between(q aws.Queue, c controller.Cluster, h controller.Hooks) (aws.Queue, controller.Cluster, controller.Hooks) {
	f := &faults{Queue: q, Cluster: c, Hooks: h, armed: make(map[string]bool)}
	for point := range strings.SplitSeq(os.Getenv("EVENKEEL_FAULT"), ",") {
		f.armed[point] = true
	}
	return f, f, f
}

// around does something that has the given names.
func (f *faults) around(names []string, do func() (done bool)) {
	var before, after string
	for _, n := range names {
		if f.armed["before:"+n] {
			before = "before:" + n
		}
		if f.armed["after:"+n] {
			after = "after:" + n
		}
	}
	if before == "" && after == "" {
		do()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if before != "" {
		die(before)
	}
	if do() && after != "" {
		die(after)
	}
}

// die ends the process as an empty memory or a lost machine does: nothing is
// deferred, flushed or given back. What it was is the last that it says.
func die(point string) {
	fmt.Fprintf(os.Stderr, "killed %s\n", point)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it takes a moment
}

func (f *faults) Do(ctx context.Context, e drain.Effect) (o drain.Outcome, err error) {
	where := e.Node
	if where == "" {
		where = e.Pod.Namespace
	}
	f.around([]string{fmt.Sprintf("%s@%s", e.Kind, where), fmt.Sprintf("%s/%s@%s", e.Kind, e.Reason, where)}, func() bool {
		o, err = f.Cluster.Do(ctx, e)
		return o == drain.Done
	})
	return o, err
}

func (f *faults) Heartbeat(ctx context.Context, h interruption.Hook) (err error) {
	f.around([]string{fmt.Sprintf("%s@%s", drain.Heartbeat, h.Instance)}, func() bool {
		err = f.Hooks.Heartbeat(ctx, h)
		return err == nil
	})
	return err
}

func (f *faults) Complete(ctx context.Context, h interruption.Hook) (err error) {
	f.around([]string{fmt.Sprintf("%s@%s", drain.Complete, h.Instance)}, func() bool {
		err = f.Hooks.Complete(ctx, h)
		return err == nil
	})
	return err
}

func (f *faults) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, opts ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	out, err := f.Queue.ReceiveMessage(ctx, in, opts...)
	if err != nil {
		return nil, err
	}
	for _, m := range out.Messages {
		if notices, err := interruption.DecodeAWS([]byte(*m.Body), 0, time.Now()); err == nil {
			f.receipts.Store(*m.ReceiptHandle, notices[0].Instance)
		}
	}
	return out, nil
}

func (f *faults) DeleteMessage(ctx context.Context, in *sqs.DeleteMessageInput, opts ...func(*sqs.Options)) (out *sqs.DeleteMessageOutput, err error) {
	instance, _ := f.receipts.LoadAndDelete(*in.ReceiptHandle)
	f.around([]string{fmt.Sprintf("%s@%v", acknowledge, instance)}, func() bool {
		out, err = f.Queue.DeleteMessage(ctx, in, opts...)
		return err == nil
	})
	return out, err
}
