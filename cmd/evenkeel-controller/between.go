//go:build !evenkeel_fault

package main

import (
	"github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/controller"
)

// between puts nothing between the loop and the outside. Only a program that is
// built for the crash table does: see fault.go.
func between(q aws.Queue, c controller.Cluster, h controller.Hooks) (aws.Queue, controller.Cluster, controller.Hooks) {
	return q, c, h
}
