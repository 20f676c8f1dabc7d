package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-dev/evenkeel/internal/adopt"
)

// maxManifests bounds what is read from files, together.
const maxManifests = 64 << 20

// readManifests reads YAML from a file, a folder or standard input.
func readManifests(s Streams, from, namespace string) (adopt.Input, error) {
	in := adopt.Input{Namespace: namespace}
	add := func(name string, r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, maxManifests+1))
		if err != nil {
			return err
		}
		if len(data) > maxManifests {
			return fmt.Errorf("%s is larger than %d bytes", name, maxManifests)
		}
		return in.AddYAML(name, data)
	}
	if from == "-" {
		return in, add("<stdin>", s.In)
	}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || path != from && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return add(path, f)
	})
	return in, err
}

// readCluster reads one namespace and the nodes.
func readCluster(ctx context.Context, flags *clusterFlags, namespace string) (adopt.Input, error) {
	in := adopt.Input{Namespace: namespace}
	if namespace == "" {
		return in, errors.New("--from-cluster needs -n NAMESPACE")
	}
	client, err := flags.client()
	if err != nil {
		return in, err
	}
	all := metav1.ListOptions{}
	if l, err := client.AppsV1().Deployments(namespace).List(ctx, all); err != nil {
		return in, fmt.Errorf("reading deployments: %w", err)
	} else {
		in.Deployments = l.Items
	}
	if l, err := client.AppsV1().StatefulSets(namespace).List(ctx, all); err != nil {
		return in, fmt.Errorf("reading stateful sets: %w", err)
	} else {
		in.StatefulSets = l.Items
	}
	if l, err := client.CoreV1().Services(namespace).List(ctx, all); err != nil {
		return in, fmt.Errorf("reading services: %w", err)
	} else {
		in.Services = l.Items
	}
	if l, err := client.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, all); err != nil {
		return in, fmt.Errorf("reading budgets: %w", err)
	} else {
		in.Budgets = l.Items
	}
	if l, err := client.AutoscalingV2().HorizontalPodAutoscalers(namespace).List(ctx, all); err != nil {
		return in, fmt.Errorf("reading autoscalers: %w", err)
	} else {
		in.Autoscalers = l.Items
	}
	in.Nodes, err = listNodes(ctx, client)
	return in, err
}
