package lint

import (
	"path"
	"regexp"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func shellSwallowsSIGTERM() Rule {
	return Rule{
		ID:       "EK013",
		Title:    "shell entrypoint that keeps SIGTERM from the process",
		Severity: Warning,
		Why: `The kubelet signals the container's first process. If that is a shell that has started the server as a child, the
shell, being PID 1 without a handler, ignores SIGTERM and passes nothing on. The server serves on until SIGKILL, which
cuts its requests, and the pod takes its whole grace period to go. dash (sh on Debian and Ubuntu) and ash (on Alpine)
do this even for a single command; bash replaces itself by the last command unless that is part of a pipe, a loop or a
redirection.

The rule is silent for scripts with a trap, and for workloads that are neither behind a Service nor on spot.`,
		Remedy: "Start the server with `exec`, or call it without a shell. `--fix` adds `exec` where the last command is a simple one.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: orders}
spec:
  replicas: 2
  selector: {matchLabels: {app: orders}}
  template:
    metadata: {labels: {app: orders}}
    spec:
      containers:
        - name: orders
          image: orders
          command: ["/bin/sh", "-c"]
          args: ["./migrate && java -jar /app.jar"] # EK013
          ports: [{containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: orders}
spec:
  selector: {app: orders}
  ports: [{port: 8080}]
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: orders}
spec:
  replicas: 2
  selector: {matchLabels: {app: orders}}
  template:
    metadata: {labels: {app: orders}}
    spec:
      containers:
        - name: orders
          image: orders
          command: ["/bin/sh", "-c"]
          args: ["./migrate && exec java -jar /app.jar"]
          ports: [{containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: orders}
spec:
  selector: {app: orders}
  ports: [{port: 8080}]
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if !a.LongRunning() || !a.Serves() && !a.Placement.OnSpot() {
					continue
				}
				for i := range a.Pod.Containers {
					c := &a.Pod.Containers[i]
					shell, script, ok := shellScript(append(c.Command[:len(c.Command):len(c.Command)], c.Args...))
					if !ok {
						continue
					}
					last, swallows := swallowsSignals(shell, script.Value)
					if !swallows {
						continue
					}
					f := at(&a.Meta, script.Pos, "container %s runs its server as a child of %s, which does not pass SIGTERM on", c.Name, shell)
					f.Fix = addExec(script, last)
					out = append(out, f)
				}
			}
			return out
		},
	}
}

// shellScript returns the script of a command line such as sh -ec 'script'.
func shellScript(argv []manifest.Field[string]) (shell string, script manifest.Field[string], ok bool) {
	if len(argv) < 3 {
		return "", script, false
	}
	switch shell = path.Base(argv[0].Value); shell {
	case "sh", "ash", "dash", "bash":
	default:
		return "", script, false
	}
	for i := 1; i+1 < len(argv); i++ {
		flag := argv[i].Value
		if !strings.HasPrefix(flag, "-") && !strings.HasPrefix(flag, "+") {
			return "", script, false
		}
		if strings.HasPrefix(flag, "-") && !strings.HasPrefix(flag, "--") && strings.HasSuffix(flag, "c") {
			return shell, argv[i+1], true
		}
	}
	return "", script, false
}

var (
	execWord  = regexp.MustCompile(`(?:^|[\s;&|({])exec\s`)
	trapWord  = regexp.MustCompile(`(?:^|[\s;&|({])trap\s`)
	separator = regexp.MustCompile(`\n|;|&&|\|\|`)
	quoted    = regexp.MustCompile(`(?s)'[^']*'|"(?:[^"\\]|\\.)*"|\\.`)
)

// swallowsSignals reports whether the shell stays the parent of the script's
// last command, which it returns.
func swallowsSignals(shell, script string) (last string, swallows bool) {
	// Separators inside quotes are none. Blanking keeps the offsets.
	bare := quoted.ReplaceAllStringFunc(script, func(q string) string { return strings.Repeat("_", len(q)) })
	if trapWord.MatchString(bare) {
		return "", false
	}
	trimmed := strings.TrimRight(bare, " \t\n;")
	start, end := 0, len(trimmed)
	for _, m := range separator.FindAllStringIndex(trimmed, -1) {
		start = m[1]
	}
	for start < end && strings.ContainsRune(" \t\n", rune(bare[start])) {
		start++
	}
	tail := bare[start:end]
	if tail == "" || strings.HasPrefix(tail, "#") || strings.HasPrefix(tail, "exec ") {
		return "", false
	}
	first, _, _ := strings.Cut(tail, " ")
	switch first {
	case "done", "fi", "esac", "}", ")":
		// Somewhere in the compound the server may be exec'ed.
		return "", !execWord.MatchString(bare)
	}
	if shell == "bash" && !strings.ContainsAny(tail, "|>&") {
		return "", false
	}
	return script[start:end], true
}

// addExec returns a fix that puts exec before a script's last command, nil
// where that might change what the script means.
func addExec(script manifest.Field[string], last string) *Fix {
	first, _, _ := strings.Cut(last, " ")
	if last == "" || script.Pos.Line == 0 || strings.ContainsAny(last, "|&(){}`\n") || strings.Contains(first, "=") || strings.Count(script.Value, last) != 1 {
		return nil
	}
	switch first {
	case "wait", "echo", "cd", "export", "set", "true", "false", ":", "return", "exit", ".", "source", "eval", "if", "while", "until", "for", "case", "then", "else", "do":
		return nil // not a program
	}
	e := Edit{Line: script.Pos.Line, Old: last, New: "exec " + last}
	if head, _, found := strings.Cut(script.Value, last); found && strings.Contains(strings.TrimRight(script.Value, "\n"), "\n") {
		// A literal block: its first line is the one after the indicator.
		e.Line += 1 + strings.Count(head, "\n")
	}
	return &Fix{Description: "start " + first + " with exec", Edits: []Edit{e}}
}
