package embed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// HTTP asks a model server that speaks POST /v1/embeddings. It is off unless
// somebody configures it: texts leave the machine.
type HTTP struct {
	// URL is that of the server, without /v1/embeddings.
	URL string

	Model      string
	Dimensions int

	// Key is sent as a bearer token, if there is one. It is in no error.
	Key string

	// Client does the requests. If nil, it is one that gives up after 30 s.
	Client *http.Client
}

var _ Embedder = HTTP{}

// NewHTTP returns an embedder by a model server, or an error if something is not said.
func NewHTTP(url, model string, dimensions int, key string) (HTTP, error) {
	if model == "" || dimensions <= 0 {
		return HTTP{}, errors.New("--embed-url needs --embed-model and --embed-dimensions")
	}
	return HTTP{URL: url, Model: model, Dimensions: dimensions, Key: key}, nil
}

func (h HTTP) ID() string { return fmt.Sprintf("http/%s/%d", h.Model, h.Dimensions) }
func (h HTTP) Dim() int   { return h.Dimensions }

// maxAnswer bounds what a server can make us read.
const maxAnswer = 256 << 20

func (h HTTP) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	vectors, err := h.embed(ctx, texts)
	if err != nil {
		return nil, fmt.Errorf("embedding %d texts with %s: %w", len(texts), h.Model, err)
	}
	return vectors, nil
}

func (h HTTP) embed(ctx context.Context, texts []string) ([][]float32, error) {
	body, err := json.Marshal(map[string]any{"model": h.Model, "input": texts})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+"/v1/embeddings", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if h.Key != "" {
		req.Header.Set("Authorization", "Bearer "+h.Key)
	}
	client := h.Client
	if client == nil {
		client = &http.Client{Timeout: 30 * time.Second}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	var answer struct {
		Data []struct {
			Index     int       `json:"index"`
			Embedding []float32 `json:"embedding"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	vectors := make([][]float32, len(texts))
	for _, d := range answer.Data {
		switch {
		case d.Index < 0 || d.Index >= len(texts) || vectors[d.Index] != nil:
			return nil, fmt.Errorf("the answer has an embedding of text %d", d.Index)
		case len(d.Embedding) != h.Dimensions:
			return nil, fmt.Errorf("the answer has %d dimensions, not %d", len(d.Embedding), h.Dimensions)
		}
		normalize(d.Embedding)
		vectors[d.Index] = d.Embedding
	}
	for i, v := range vectors {
		if v == nil {
			return nil, fmt.Errorf("the answer has no embedding of text %d", i)
		}
	}
	return vectors, nil
}
