package embed

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/viterin/vek/vek32"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

func TestWordsThatMeanTheSameAreNear(t *testing.T) {
	s := market.Generate(1)
	var corpus []string
	for _, r := range s.Reports {
		corpus = append(corpus, r.Text)
	}
	w := NewWords(s.Vectors, corpus)
	v, err := w.Embed(t.Context(), []string{"crude wells", "the drilling of rigs", "hotels and airlines", "xyzzy"})
	if err != nil {
		t.Fatal(err)
	}
	if same, other := vek32.Dot(v[0], v[1]), vek32.Dot(v[0], v[2]); same < other+0.3 {
		t.Errorf("cosine %.2f with the same topic, %.2f with another", same, other)
	}
	if length := vek32.Norm(v[0]); math.Abs(float64(length)-1) > 1e-5 {
		t.Errorf("length %v", length)
	}
	if !isZero(v[3]) {
		t.Errorf("an unknown word has the vector %v", v[3])
	}
	if again := NewWords(s.Vectors, corpus); again.ID() != w.ID() {
		t.Errorf("ids %s and %s of the same embedder", w.ID(), again.ID())
	}
	if other := NewWords(s.Vectors, corpus[1:]); other.ID() == w.ID() {
		t.Error("embedders of different corpora have the same id")
	}
}

func TestHTTP(t *testing.T) {
	answer := `{"data":[{"index":1,"embedding":[0,2]},{"index":0,"embedding":[3,0]}]}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Model string
			Input []string
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.URL.Path != "/v1/embeddings" || q.Model != "m" || len(q.Input) != 2 || r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "secret?", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, answer)
	}))
	defer srv.Close()
	h := HTTP{URL: srv.URL, Model: "m", Dimensions: 2, Key: "secret"}
	v, err := h.Embed(t.Context(), []string{"a", "b"})
	if err != nil || fmt.Sprint(v) != "[[1 0] [0 1]]" {
		t.Errorf("got %v, %v", v, err)
	}
	for _, bad := range []string{
		`{"data":[{"index":0,"embedding":[3,0]}]}`,
		`{"data":[{"index":0,"embedding":[3,0]},{"index":0,"embedding":[3,0]}]}`,
		`{"data":[{"index":0,"embedding":[3,0]},{"index":2,"embedding":[3,0]}]}`,
		`{"data":[{"index":0,"embedding":[3]},{"index":1,"embedding":[3,0]}]}`,
		`nonsense`,
	} {
		answer = bad
		if v, err := h.Embed(t.Context(), []string{"a", "b"}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", bad, v, err)
		}
	}
	h.Model = "other"
	if _, err := h.Embed(t.Context(), []string{"a", "b"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("refused by the server: %v", err)
	}
}
