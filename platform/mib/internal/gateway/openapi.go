package gateway

import (
	"net/http"

	"github.com/evenkeel-dev/evenkeel/platform/mib/proto"
)

// openAPI describes the JSON routes.
func openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(proto.OpenAPI) // the client has gone; nobody is left to tell
}
