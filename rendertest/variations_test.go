package rendertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/render"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

func readExample(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../examples/market-intel-brain/platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// vary parses the reference platform with some of its text replaced.
func vary(t *testing.T, replacements ...string) *spec.Platform {
	t.Helper()
	text := readExample(t)
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("the reference platform does not contain %q", replacements[i])
		}
	}
	p, err := spec.Parse(strings.NewReader(strings.NewReplacer(replacements...).Replace(text)), "platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestVariations checks what the reference platform does not use.
func TestVariations(t *testing.T) {
	definitions := crds(t)
	const kafka = `- kafka: {brokers: "event-stream.market-intel-brain:9092", group: analytics, topic: ticks, lag: 5000}`
	platforms := map[string]*spec.Platform{
		"machines by requirement": vary(t,
			`kubernetes: "1.35"`, "provisioner: karpenter",
			"instanceTypes: [c5.xlarge, c5a.xlarge, c5d.xlarge, c5n.xlarge, c5ad.xlarge]", "requirements: {categories: [c, m], minCPU: 4, maxCPU: 8, minGeneration: 6}",
			"instanceTypes: [r5.large, r5a.large, r5d.large, r5n.large, r5ad.large]", "instanceTypes: [r6i.large, r7i.large]\n    labels: {example.com/team: search}\n    disk: 100Gi"),
		"other triggers": vary(t, kafka,
			`- nats: {monitoring: "nats.nats:8222", stream: ticks, consumer: analytics, lag: 100}
        - cron: {timezone: America/New_York, start: "0 9 * * 1-5", end: "0 17 * * 1-5", replicas: 4}`),
		"a scaled stateful service": vary(t, "replicas: 1 # the development broker is one process; in production name your Kafka in KAFKA_BROKERS",
			"scaling: {min: 1, max: 3, triggers: [{cpu: {utilization: 80}}]}"),
	}
	for name, p := range platforms {
		t.Run(name, func(t *testing.T) {
			all, err := render.Objects(p, []string{"karpenter", "keda"})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				for _, problem := range definitions[o.GetKind()].check(t.Context(), o) {
					t.Errorf("%s %s: %s", o.GetKind(), o.GetName(), problem)
				}
			}
		})
	}
}

// TestTerraformForKarpenter: with Karpenter, spot pools are not node groups.
func TestTerraformForKarpenter(t *testing.T) {
	w := newWorkspace(t)
	files, err := render.Render(vary(t, `kubernetes: "1.35"`, "provisioner: karpenter", "emails: [oncall@example.com]\n", "", "taint: {}", "taint: {effect: NoExecute}"), render.Options{Only: []string{"terraform"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		w.write(filepath.Join(w.dir, strings.TrimPrefix(f.Path, "terraform/")), string(f.Data))
	}
	for _, args := range [][]string{{"fmt", "-check", "-recursive"}, {"validate", "-no-color"}, {"test", "-no-color"}} {
		if out, err := w.run(args...); err != nil {
			t.Errorf("terraform %s: %v\n%s", args[0], err, out)
		}
	}
	data, err := os.ReadFile(filepath.Join(w.dir, "locals.tf"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), `"SPOT"`) || !strings.Contains(string(data), `"ON_DEMAND"`) {
		t.Error("with Karpenter there are to be on-demand node groups only")
	}
}
