package vector

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

var big = flag.Bool("big", false, "benchmark a graph of a million vectors, which takes minutes to build")

// clustered generates vectors in clusters, as those of texts are: without clusters
// all vectors of 100 dimensions are about as far from each other, and nothing is
// near.
func clustered(n, dim int, seed uint64) *Matrix {
	random := rand.New(rand.NewPCG(seed, 1))
	centres := make([][]float32, max(1, n/200))
	for i := range centres {
		centres[i] = gaussian(random, dim)
	}
	m := NewMatrix(dim)
	m.values = make([]float32, 0, n*dim)
	for range n {
		v := gaussian(random, dim)
		for i, c := range centres[random.IntN(len(centres))] {
			v[i] = c + 0.7*v[i]
		}
		m.Add(unit(v))
	}
	return m
}

func gaussian(random *rand.Rand, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(random.NormFloat64())
	}
	return v
}

func unit(v []float32) []float32 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// near is a row with noise: a query that has something near to it.
func near(random *rand.Rand, m *Matrix) []float32 {
	q := gaussian(random, m.Dim())
	for i, x := range m.Row(uint32(random.IntN(m.Len()))) {
		q[i] = x + 0.05*q[i]
	}
	return unit(q)
}

func TestMatrixFindsTheNearest(t *testing.T) {
	m := clustered(500, 20, 1)
	random := rand.New(rand.NewPCG(2, 2))
	even := func(row uint32) bool { return row%2 == 0 }
	for range 50 {
		q := near(random, m)
		var want []Hit
		for i := range uint32(m.Len()) {
			var dot float32
			for j, x := range m.Row(i) {
				dot += x * q[j]
			}
			if even(i) {
				want = append(want, Hit{i, dot})
			}
		}
		slices.SortFunc(want, nearestFirst)
		got := m.Search(q, 7, even)
		for i, h := range got {
			if len(got) != 7 || h.Row != want[i].Row || math.Abs(float64(h.Cosine-want[i].Cosine)) > 1e-5 {
				t.Fatalf("got %v, want %v", got, want[:7])
			}
		}
	}
	if got := m.Search(m.Row(0), 0, nil); got != nil {
		t.Errorf("none asked for: %v", got)
	}
	if got := NewMatrix(3).Search([]float32{1, 0, 0}, 3, nil); len(got) != 0 {
		t.Errorf("none there: %v", got)
	}
}

// recall is the share of the 10 nearest rows that the graph finds.
func recall(m *Matrix, g *Graph, queries, effort int, keep func(uint32) bool) float64 {
	random := rand.New(rand.NewPCG(3, 3))
	found, all := 0, 0
	for range queries {
		q := near(random, m)
		exact := m.Search(q, 10, keep)
		for _, h := range g.Search(q, 10, effort, keep) {
			if slices.ContainsFunc(exact, func(e Hit) bool { return e.Row == h.Row }) {
				found++
			}
		}
		all += len(exact)
	}
	return float64(found) / float64(all)
}

// The gate: a graph that finds less than 95 % is not worth its speed.
func TestGraphRecall(t *testing.T) {
	m := clustered(5000, 100, 4)
	g := NewGraph(m, 5)
	if r := recall(m, g, 200, 64, nil); r < 0.95 {
		t.Errorf("recall at 10 is %.3f", r)
	}
	// Most rows are gone, as after many deletions.
	third := func(row uint32) bool { return row%3 == 0 }
	if r := recall(m, g, 200, 64, third); r < 0.95 {
		t.Errorf("with two thirds removed recall at 10 is %.3f", r)
	}
}

func TestGraphOfFew(t *testing.T) {
	m := NewMatrix(2)
	g := NewGraph(m, 1)
	if hits := g.Search([]float32{1, 0}, 3, 10, nil); hits != nil {
		t.Errorf("an empty graph finds %v", hits)
	}
	for _, v := range [][]float32{{1, 0}, {0, 1}, {-1, 0}, {1, 0}} { // one of them twice
		m.Add(v)
		g.Add()
	}
	hits := g.Search([]float32{1, 0}, 3, 10, func(row uint32) bool { return row != 2 })
	if fmt.Sprint(hits) != "[{0 1} {3 1} {1 0}]" {
		t.Errorf("got %v", hits)
	}
}

// Searches side by side do not share what they write.
func TestGraphSearchesSideBySide(t *testing.T) {
	m := clustered(1000, 20, 6)
	g := NewGraph(m, 7)
	want := fmt.Sprint(g.Search(m.Row(3), 5, 50, nil))
	done := make(chan string)
	for range 4 {
		go func() {
			for range 100 {
				if got := fmt.Sprint(g.Search(m.Row(3), 5, 50, nil)); got != want {
					done <- got
					return
				}
			}
			done <- want
		}()
	}
	for range 4 {
		if got := <-done; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func BenchmarkMatrix100k(b *testing.B) {
	m := clustered(100_000, 100, 8)
	random := rand.New(rand.NewPCG(9, 9))
	q := near(random, m)
	begun := processor(b)
	for b.Loop() {
		m.Search(q, 10, nil)
	}
	b.ReportMetric(float64(processor(b)-begun)/float64(b.N), "cpu-ns/op")
}

// processor is the processor time that this process has used: what a benchmark
// takes when others want the processors, too.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkGraph(b *testing.B) {
	sizes := []int{20_000}
	if *big {
		sizes = append(sizes, 200_000, 1_000_000)
	}
	for _, n := range sizes {
		m := clustered(n, 100, 10)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		begun, used := time.Now(), processor(b)
		g := NewGraph(m, 11)
		build, busy := time.Since(begun), processor(b)-used
		runtime.GC()
		runtime.ReadMemStats(&after)
		for _, effort := range []int{32, 64, 128} {
			r := recall(m, g, 100, effort, nil)
			b.Run(fmt.Sprintf("%d/effort=%d", n, effort), func(b *testing.B) {
				random := rand.New(rand.NewPCG(12, 12))
				var queries [][]float32
				for range 256 {
					queries = append(queries, near(random, m))
				}
				begun := processor(b)
				for i := 0; b.Loop(); i++ {
					g.Search(queries[i%len(queries)], 10, effort, nil)
				}
				b.ReportMetric(float64(processor(b)-begun)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(r, "recall@10")
				b.ReportMetric(build.Seconds(), "build-s")
				b.ReportMetric(busy.Seconds(), "build-cpu-s")
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "links-MiB")
			})
		}
	}
}
