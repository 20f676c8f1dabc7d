package lifecyclekafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// members asks the broker how many members the group has.
func members(t *testing.T, client *kgo.Client) int {
	t.Helper()
	r := kmsg.NewPtrDescribeGroupsRequest()
	r.Groups = []string{"analytics"}
	resp, err := r.RequestWith(t.Context(), client)
	if err != nil || len(resp.Groups) != 1 {
		t.Fatalf("describing the group: %+v, %v", resp, err)
	}
	return len(resp.Groups[0].Members)
}
