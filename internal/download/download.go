// Package download asks a server over HTTP for one answer of bounded size.
package download

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Do sends a request and returns the body of its answer. Any status but 200 is an
// error that shows how the body begins, and so is a body of more than limit bytes,
// of which no more than that is read.
func Do(client *http.Client, req *http.Request, limit int) ([]byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %.300s", resp.Status, strings.TrimSpace(string(data)))
	case len(data) > limit:
		return nil, fmt.Errorf("the answer is larger than %d bytes", limit)
	}
	return data, nil
}
