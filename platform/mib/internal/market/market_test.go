package market

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"reflect"
	"testing"
	"testing/fstest"
	"time"
)

func TestGenerate(t *testing.T) {
	a, b := Generate(1), Generate(1)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed generates different samples")
	}
	if reflect.DeepEqual(a.Series, Generate(2).Series) {
		t.Error("the seed changes nothing")
	}
	if !a.Synthetic || a.Series[0].Source != syntheticSource || a.Reports[0].Source != syntheticSource || a.Filings[0].Source != syntheticSource {
		t.Error("what is generated does not say so")
	}
	for _, s := range a.Series {
		for _, p := range s.Points {
			if !(p.Close > 0.05 && p.Close < 5000) {
				t.Fatalf("%s %s: %v", s.Symbol, p.Date, p.Close)
			}
		}
	}
}

func TestAt(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2020, 3, d, 0, 0, 0, 0, time.UTC) }
	s := Series{Points: []Point{{day(2), 1}, {day(4), 2}}}
	for d, want := range map[int]float64{2: 1, 3: 1, 4: 2, 9: 2} {
		if p, ok := s.At(day(d)); !ok || p.Close != want {
			t.Errorf("day %d: %v %v", d, p, ok)
		}
	}
	if p, ok := s.At(day(1)); ok {
		t.Errorf("before the first: %v", p)
	}
}

func TestReadTheSample(t *testing.T) {
	root := os.Getenv("EVENKEEL_DATA")
	if root == "" {
		t.Skip("EVENKEEL_DATA does not name a folder with the market sample: only the generator was tested")
	}
	s, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	wti, _ := s.Lookup("WTI")
	// The day on which oil had a negative price.
	p, _ := wti.At(time.Date(2020, 4, 20, 12, 0, 0, 0, time.UTC))
	if p.Close != -36.98 || len(s.Reports) != 438 || len(s.Filings) != 1831+2554 || s.Vectors.Dim != 100 || len(s.Vectors.Words) != 26346 || s.Synthetic {
		t.Errorf("WTI on 2020-04-20 %v, %d reports, %d filings, %d words", p, len(s.Reports), len(s.Filings), len(s.Vectors.Words))
	}
	if _, ok := s.Lookup("FX-JAPAN"); !ok {
		t.Error("no FX-JAPAN")
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	for name, data := range map[string]string{
		"empty":  "",
		"header": "day,close\n",
		"date":   "date,close\n1986-13-01,5\n",
		"price":  "date,close\n1986-01-01,NaN\n",
		"fields": "date,close\n1986-01-01\n",
	} {
		if s, err := Read(fstest.MapFS{"prices/wti-daily.csv": {Data: []byte(data)}}); err == nil {
			t.Errorf("%s: read %v", name, s)
		}
	}
}

func vectors(n, dim uint32, scales []float32, rows ...int8) []byte {
	var b bytes.Buffer
	b.WriteString("MIV1")
	for _, x := range []any{n, dim, scales, rows} {
		if err := binary.Write(&b, binary.LittleEndian, x); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func TestDecodeVectors(t *testing.T) {
	dim, values, err := decodeVectors(bytes.NewReader(vectors(2, 2, []float32{0.5, 2}, 1, -1, 127, 0)))
	if err != nil || dim != 2 || !reflect.DeepEqual(values, []float32{0.5, -0.5, 254, 0}) {
		t.Errorf("got %d %v %v", dim, values, err)
	}
}

func FuzzDecodeVectors(f *testing.F) {
	f.Add(vectors(2, 2, []float32{0.5, 2}, 1, -1, 127, 0))
	f.Add(vectors(math.MaxUint32, math.MaxUint32, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		dim, values, err := decodeVectors(bytes.NewReader(b))
		if err == nil && (dim == 0 || len(values)%dim != 0 || len(values) > len(b)) {
			t.Errorf("%d values of %d dimensions from %d bytes", len(values), dim, len(b))
		}
	})
}
