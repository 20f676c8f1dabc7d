package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// The structs below are the part of SARIF 2.1.0 that a linter needs.

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool        sarifTool         `json:"tool"`
	ColumnKind  string            `json:"columnKind"`
	Invocations []sarifInvocation `json:"invocations"`
	Results     []sarifResult     `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version,omitempty"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string        `json:"id"`
	ShortDescription sarifMessage  `json:"shortDescription"`
	FullDescription  sarifMessage  `json:"fullDescription"`
	Help             sarifMarkdown `json:"help"`
	HelpURI          string        `json:"helpUri"`
	Default          sarifLevel    `json:"defaultConfiguration"`
}

type sarifMessage struct {
	Text string `json:"text"`
}

type sarifMarkdown struct {
	Text     string `json:"text"`
	Markdown string `json:"markdown"`
}

type sarifLevel struct {
	Level string `json:"level"`
}

type sarifInvocation struct {
	Successful    bool                `json:"executionSuccessful"`
	Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Level     string          `json:"level"`
	Message   sarifMessage    `json:"message"`
	Locations []sarifLocation `json:"locations,omitempty"`
}

type sarifResult struct {
	RuleID       string             `json:"ruleId"`
	RuleIndex    int                `json:"ruleIndex"`
	Level        string             `json:"level"`
	Message      sarifMessage       `json:"message"`
	Locations    []sarifLocation    `json:"locations"`
	Fingerprints map[string]string  `json:"partialFingerprints"`
	Suppressions []sarifSuppression `json:"suppressions,omitempty"`
}

type sarifLocation struct {
	Physical sarifPhysical  `json:"physicalLocation"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   *sarifRegion  `json:"region,omitempty"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn"`
}

type sarifLogical struct {
	FullyQualifiedName string `json:"fullyQualifiedName"`
	Kind               string `json:"kind"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Justification string `json:"justification"`
}

// DocsURL is where the page of each rule is published.
const DocsURL = "https://github.com/evenkeel-dev/evenkeel/blob/main/docs/lint/"

func level(s lint.Severity) string {
	if s == lint.Info {
		return "note"
	}
	return s.String()
}

func location(file string, pos manifest.Pos, object string) []sarifLocation {
	l := sarifLocation{Physical: sarifPhysical{Artifact: sarifArtifact{URI: file}}}
	if pos.Line > 0 {
		l.Physical.Region = &sarifRegion{pos.Line, max(pos.Column, 1)}
	}
	if object != "" {
		l.Logical = []sarifLogical{{object, "resource"}}
	}
	return []sarifLocation{l}
}

func (r *Report) sarif(w io.Writer) error {
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "evenkeel lint", Version: r.Version, InformationURI: "https://github.com/evenkeel-dev/evenkeel"}},
		ColumnKind: "unicodeCodePoints",
		Results:    []sarifResult{},
	}
	index := map[string]int{}
	for i, rule := range r.Rules {
		index[rule.ID] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: rule.ID, ShortDescription: sarifMessage{rule.Title}, FullDescription: sarifMessage{rule.Why},
			Help:    sarifMarkdown{Text: rule.Why + "\n\n" + rule.Remedy, Markdown: rule.Why + "\n\n" + rule.Remedy},
			HelpURI: DocsURL + rule.ID + ".md", Default: sarifLevel{level(rule.Severity)},
		})
	}
	add := func(f *lint.Finding, suppressions []sarifSuppression) {
		// The line moves when the file is edited; rule, object and message do not.
		sum := sha256.Sum256([]byte(f.Rule + "\x00" + f.Object + "\x00" + f.Message))
		run.Results = append(run.Results, sarifResult{
			RuleID: f.Rule, RuleIndex: index[f.Rule], Level: level(f.Severity), Message: sarifMessage{f.Object + ": " + f.Message},
			Locations: location(f.File, f.Pos, f.Object), Suppressions: suppressions,
			Fingerprints: map[string]string{"evenkeel/v1": hex.EncodeToString(sum[:16])},
		})
	}
	for i := range r.Findings {
		add(&r.Findings[i], nil)
	}
	for i := range r.Suppressed {
		s := &r.Suppressed[i]
		add(&s.Finding, []sarifSuppression{{"inSource", s.Reason}})
	}
	invocation := sarifInvocation{Successful: r.InvalidCount == 0}
	for _, e := range r.Invalid {
		invocation.Notifications = append(invocation.Notifications, sarifNotification{"error", sarifMessage{e.Msg}, location(e.File, e.Pos, "")})
	}
	run.Invocations = []sarifInvocation{invocation}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}
