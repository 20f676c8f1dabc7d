package rendertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// A workspace is a copy of the rendered module in which terraform runs with a
// provider that has the AWS schema and reaches no network.
type workspace struct {
	t         *testing.T
	terraform string
	dir       string
	env       []string
}

func newWorkspace(t *testing.T) workspace {
	t.Helper()
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("terraform, which checks its own module, is not installed")
	}
	root := t.TempDir()
	w := workspace{t: t, terraform: terraform, dir: filepath.Join(root, "module")}
	if err := os.CopyFS(w.dir, os.DirFS(filepath.Join(rendered, "terraform"))); err != nil {
		t.Fatal(err)
	}
	mirror := filepath.Join(root, "mirror")
	provider := filepath.Join(mirror, "registry.terraform.io", "hashicorp", "aws", "6.66.0", runtime.GOOS+"_"+runtime.GOARCH)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(provider, "terraform-provider-aws_v6.66.0"), "./tfschema")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the schema provider: %v\n%s", err, out)
	}
	schema, err := os.ReadFile(filepath.Join("tfschema", "aws-6.66.0.json"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(filepath.Join(provider, "schema.json"), string(schema))
	config := filepath.Join(root, "terraformrc")
	w.write(config, "provider_installation {\n  filesystem_mirror {\n    path = "+`"`+mirror+`"`+"\n  }\n}\n")
	w.env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+config, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	if out, err := w.run("init", "-backend=false", "-no-color"); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	return w
}

func (w workspace) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w workspace) run(args ...string) (string, error) {
	cmd := exec.CommandContext(w.t.Context(), w.terraform, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// change replaces text in one file of the module.
func (w workspace) change(file, old, new string) {
	w.t.Helper()
	path := filepath.Join(w.dir, file)
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), old) {
		w.t.Fatalf("%s does not contain %q: %v", file, old, err)
	}
	w.write(path, strings.Replace(string(data), old, new, 1))
}

func TestTerraform(t *testing.T) {
	w := newWorkspace(t)
	if out, err := w.run("fmt", "-check", "-recursive", "-diff"); err != nil {
		t.Errorf("fmt -check: %v\n%s", err, out)
	}
	if out, err := w.run("validate", "-no-color"); err != nil {
		t.Errorf("validate: %v\n%s", err, out)
	}
	out, err := w.run("test", "-no-color")
	if err != nil || !strings.Contains(out, "2 passed, 0 failed") {
		t.Errorf("test: %v\n%s", err, out)
	}
}

// TestTerraformCanFail plants mistakes, each of which one of the three checks
// must find.
func TestTerraformCanFail(t *testing.T) {
	w := newWorkspace(t)
	for _, tt := range []struct {
		file, old, new string
		args           []string
		want           string
	}{
		{"nodes.tf", "  tags = local.tags\n", "tags=local.tags\n", []string{"fmt", "-check"}, "nodes.tf"},
		{"nodes.tf", "capacity_type ", "capacity_typ ", []string{"validate", "-no-color"}, "Unsupported argument"},
		{"queue.tf", "message_retention_seconds  = 300", "message_retention_seconds  = \"long\"", []string{"validate", "-no-color"}, "a number is required"},
		{"nodes.tf", "scaling_config {", "scaling_conf {", []string{"validate", "-no-color"}, "Unsupported block type"},
		{"locals.tf", `capacity_type    = "SPOT"`, `capacity_type    = "ON_DEMAND"`, []string{"test", "-no-color"}, "There are to be 4 spot node groups."},
		{"nodes.tf", `http_tokens                 = "required"`, `http_tokens                 = "optional"`, []string{"test", "-no-color"}, "must require IMDSv2"},
		{"identity.tf", "Resource = aws_sqs_queue.interruptions.arn", `Resource = "*"`, []string{"test", "-no-color"}, "No policy may be granted on everything."},
	} {
		before, err := os.ReadFile(filepath.Join(w.dir, tt.file))
		if err != nil {
			t.Fatal(err)
		}
		w.change(tt.file, tt.old, tt.new)
		if out, err := w.run(tt.args...); err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), tt.want) {
			t.Errorf("%s with %q: terraform %s: error %v, want %q in\n%s", tt.file, tt.new, tt.args[0], err, tt.want, out)
		}
		w.write(filepath.Join(w.dir, tt.file), string(before))
	}
}

// TestTerraformWords looks up what the schema does not check: words that AWS
// knows from a list.
func TestTerraformWords(t *testing.T) {
	known := make(map[string]bool)
	for _, v := range ec2types.InstanceType("").Values() {
		known[string(v)] = true
	}
	for _, v := range ekstypes.CapacityTypes("").Values() {
		known[string(v)] = true
	}
	for _, v := range ekstypes.AMITypes("").Values() {
		known[string(v)] = true
	}
	for _, v := range ekstypes.TaintEffect("").Values() {
		known[string(v)] = true
	}
	words := regexp.MustCompile(`"([a-z][a-z0-9-]*\.[a-z0-9]*(?:large|metal)|SPOT|ON_DEMAND|[A-Z_]*SCHEDULE|NO_EXECUTE|AL2023_\w+)"`)
	seen := 0
	for _, file := range []string{"locals.tf", "nodes.tf"} {
		data, err := os.ReadFile(filepath.Join(rendered, "terraform", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range words.FindAllStringSubmatch(string(data), -1) {
			seen++
			if !known[m[1]] {
				t.Errorf("%s: AWS knows no %q", file, m[1])
			}
		}
	}
	if seen < 25 {
		t.Errorf("only %d words were looked up", seen)
	}
}
