package lint

func imdsV1() Rule {
	return Rule{
		ID:       "EK043",
		Title:    "instance metadata without session tokens (IMDSv1)",
		Severity: Warning,
		Why: `With ` + "`http_tokens = \"optional\"`" + ` anything on the node that can be made to fetch a URL reads the credentials of the
node's role from the metadata service. Agents that poll the service for the interruption notice speak IMDSv2, so nothing
is lost by requiring it.

A launch template without ` + "`metadata_options`" + ` inherits from the image and the account, which the input does not show:
that is an info.`,
		Remedy:    "Write `http_tokens = \"required\"`, with `http_put_response_hop_limit = 1`.",
		Terraform: true,
		Bad: `resource "aws_launch_template" "node" {
  name_prefix = "node-"
  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "optional" # EK043
  }
}
`,
		Good: `resource "aws_launch_template" "node" {
  name_prefix = "node-"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}
`,
		Check: func(t *Target) (out []Finding) {
			for _, lt := range t.LaunchTemplates {
				switch {
				case !lt.Declared:
					f := at(&lt.Meta, lt.Pos, "does not say whether instance metadata needs a session token")
					f.Severity = Info
					out = append(out, f)
				case lt.TokensUnknown:
				case lt.HTTPTokens.Set && lt.HTTPTokens.Value != "required", !lt.HTTPTokens.Set && lt.Kind == "aws_launch_template":
					out = append(out, at(&lt.Meta, lt.HTTPTokens.Pos, "instance metadata can be read without a session token"))
				}
			}
			return out
		},
	}
}
