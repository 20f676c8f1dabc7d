// Package roles makes an executable able to be any component of a Kubernetes
// control plane: it links etcd and the Kubernetes components and hands the
// process over to one of them when package controlplane started it for that.
//
// Importing it adds over 100 MB to an executable. Only mains and the TestMain
// of tests that start a control plane do; everything else needs only package
// controlplane.
package roles

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics on /metrics
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/controlplane"
)

// Main returns at once in an ordinary process. In one that was started by
// package controlplane to be a role, it runs that role and never returns. It
// must be called before anything else in main or TestMain, before flags are
// parsed.
//
// There is one process per role because the components are written to own
// theirs: two of them in one process configure logging twice, and the second
// one's signal handler panics.
func Main() {
	role, ok := controlplane.RoleOf(os.Args)
	if !ok {
		return
	}
	go dieWithParent()
	os.Exit(run(role, os.Args[2:]))
}

func run(role controlplane.Role, args []string) int {
	if role == controlplane.Etcd {
		if err := runEtcd(args); err != nil {
			fmt.Fprintf(os.Stderr, "etcd: %v\n", err)
			return 1
		}
		return 0
	}
	if err := setVersion(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		return 1
	}
	var cmd *cobra.Command
	switch role {
	case controlplane.APIServer:
		cmd = apiserver.NewAPIServerCommand()
	case controlplane.ControllerManager:
		cmd = controllermanager.NewControllerManagerCommand()
	case controlplane.Scheduler:
		cmd = scheduler.NewSchedulerCommand()
	default:
		fmt.Fprintf(os.Stderr, "there is no role %q\n", role)
		return 2
	}
	cmd.SetArgs(args)
	return cli.Run(cmd) // ends on SIGTERM
}

// dieWithParent ends the process when the one that started it is gone: see
// nursery in package controlplane. It does so without a word to etcd or the
// API server, whose data nobody will read again.
func dieWithParent() {
	io.Copy(io.Discard, os.NewFile(controlplane.ParentPipe, "parent"))
	fmt.Fprintln(os.Stderr, "the process that started this one is gone")
	os.Exit(1)
}
