package cli

import (
	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

const schemaHelp = `Schema prints the JSON Schema of platform.yaml. Editors that speak the YAML
language server read it from the first line of the file:

  # yaml-language-server: $schema=./platform.schema.json`

// NewSchemaCommand returns the command "schema".
func NewSchemaCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of platform.yaml, for editors",
		Long:    schemaHelp,
		Example: "  evenkeel schema > platform.schema.json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			data, err := spec.JSONSchema()
			if err != nil {
				return failed(err)
			}
			_, err = s.Out.Write(data)
			return failed(err)
		},
	}
}
