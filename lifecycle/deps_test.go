package lifecycle

import (
	"os"
	"regexp"
	"testing"
)

// Who imports this package gets nothing else with it.
func TestStandardLibraryOnly(t *testing.T) {
	data, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?m)^\s*require\b.*`).Find(data); found != nil {
		t.Errorf("go.mod: %s", found)
	}
}
