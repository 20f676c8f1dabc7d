// Package embed turns texts into vectors that are near to each other when the
// texts are about the same.
package embed

import (
	"context"
	"fmt"
	"hash/crc32"
	"math"
	"sync"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/search"
)

// An Embedder makes vectors of length 1, or all zero for a text of which it knows
// nothing. It is safe for concurrent use.
type Embedder interface {
	// ID names the embedder and everything that its vectors depend on: only
	// vectors of the same ID can be compared.
	ID() string

	Dim() int

	// Embed returns one vector for each text.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}

// Words embeds a text as the weighted mean of its words' vectors, in which rare
// words weigh more (smooth inverse frequency), less what all texts have in common.
// It looks only at words, not at their order.
type Words struct {
	id     string
	dim    int
	rows   map[string][]float32
	weight map[string]float32
	common []float32
}

var _ Embedder = (*Words)(nil)

// smoothing is the frequency at which a word's weight is half.
const smoothing = 1e-3

// NewWords makes an embedder for texts like those of the corpus: their words'
// frequencies are the weights, and their mean is what they have in common.
func NewWords(v market.Vectors, corpus []string) *Words {
	w := &Words{dim: v.Dim, rows: make(map[string][]float32, len(v.Words)), weight: make(map[string]float32)}
	for i, word := range v.Words {
		w.rows[word] = v.Row(i)
	}
	words := make([][]string, len(corpus))
	beside(len(corpus), func(i int) { words[i] = search.Words(corpus[i]) })
	counts, total := make(map[string]int), 0
	sum := crc32.NewIEEE()
	for i, text := range corpus {
		_, _ = sum.Write([]byte(text))
		for _, word := range words[i] {
			counts[word]++
		}
		total += len(words[i])
	}
	for word, n := range counts {
		w.weight[word] = smoothing / (smoothing + float32(n)/float32(total))
	}
	means := make([][]float32, len(corpus))
	beside(len(corpus), func(i int) { means[i] = w.mean(words[i]) })
	common := make([]float32, v.Dim)
	for _, mean := range means { // in their order, or the last bits would differ from start to start
		for i, x := range mean {
			common[i] += x / float32(len(corpus))
		}
	}
	w.common = common
	w.id = fmt.Sprintf("words/%d/%d/%08x", v.Dim, len(v.Words), sum.Sum32())
	return w
}

func (w *Words) ID() string { return w.id }
func (w *Words) Dim() int   { return w.dim }

func (w *Words) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	vectors := make([][]float32, len(texts))
	beside(len(texts), func(i int) {
		if ctx.Err() == nil {
			vectors[i] = w.embed(texts[i])
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return vectors, nil
}

// beside calls f for the numbers below n, some of them beside others.
func beside(n int, f func(i int)) {
	const chunk = 256
	var wg sync.WaitGroup
	for from := 0; from < n; from += chunk {
		wg.Go(func() {
			for i := from; i < min(from+chunk, n); i++ {
				f(i)
			}
		})
	}
	wg.Wait()
}

func (w *Words) embed(text string) []float32 {
	v := w.mean(search.Words(text))
	if isZero(v) {
		return v // not one known word: what is common is not subtracted from nothing
	}
	for j := range v {
		v[j] -= w.common[j]
	}
	normalize(v)
	return v
}

// mean is the weighted mean of the words' vectors, each as long as 1.
func (w *Words) mean(words []string) []float32 {
	mean := make([]float32, w.dim)
	var total float32
	for _, word := range words {
		row, ok := w.rows[word]
		if !ok {
			continue
		}
		weight, ok := w.weight[word]
		if !ok {
			weight = 1 // never in the corpus, so rare
		}
		for i, x := range row {
			mean[i] += weight * x
		}
		total += weight
	}
	if total > 0 {
		for i := range mean {
			mean[i] /= total
		}
	}
	return mean
}

func isZero(v []float32) bool {
	for _, x := range v {
		if x != 0 {
			return false
		}
	}
	return true
}

func normalize(v []float32) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return
	}
	scale := float32(1 / math.Sqrt(sum))
	for i := range v {
		v[i] *= scale
	}
}
