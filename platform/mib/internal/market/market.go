// Package market reads the data that the Market Intel Brain works on: daily and
// monthly prices, the Federal Reserve's Beige Books, an index of SEC filings, and
// word vectors. Where there is no data it generates some from a seed, and says so
// in the Source of everything that it generates.
//
// It knows nothing of searching, streaming or indicators.
package market

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Symbol names a series of prices: "WTI", "FX-JAPAN".
type Symbol string

// A Series is the history of one price, the oldest first.
type Series struct {
	Symbol Symbol
	Name   string
	Unit   string
	Source string
	Points []Point
}

// A Point is a price of one day, which begins at Date in UTC.
type Point struct {
	Date  time.Time
	Close float64
}

// At returns the last point that is not after t.
func (s Series) At(t time.Time) (Point, bool) {
	i, _ := slices.BinarySearchFunc(s.Points, t, func(p Point, t time.Time) int {
		if p.Date.After(t) {
			return 1
		}
		return -1
	})
	if i == 0 {
		return Point{}, false
	}
	return s.Points[i-1], true
}

// A Report is a text about the economy. Only its month is known.
type Report struct {
	ID     string
	Month  time.Time // the first day
	Text   string
	Source string
}

// A Filing is one entry of an index of filings; the filing's text is not here.
type Filing struct {
	Date    time.Time
	Form    string
	CIK     string
	Company string
	Path    string
	Source  string
}

// Vectors are word vectors: row i of Values belongs to Words[i].
type Vectors struct {
	Source string
	Dim    int
	Words  []string // the most frequent first
	Values []float32
}

// Row returns the vector of word i.
func (v Vectors) Row(i int) []float32 { return v.Values[i*v.Dim : (i+1)*v.Dim] }

// A Sample is all of it.
type Sample struct {
	Synthetic bool // generated, not observed
	Series    []Series
	Reports   []Report
	Filings   []Filing
	Vectors   Vectors
}

// Lookup returns the series of a symbol.
func (s *Sample) Lookup(symbol Symbol) (Series, bool) {
	for _, series := range s.Series {
		if series.Symbol == symbol {
			return series, true
		}
	}
	return Series{}, false
}

// Seed is what the stand-in is generated from.
const Seed = 7

// Load reads the folder market in root, or generates a sample if root is empty.
func Load(root string) (*Sample, error) {
	if root == "" {
		return Generate(Seed), nil
	}
	return Read(os.DirFS(filepath.Join(root, "market")))
}

// LoadPrices is Load for who needs nothing but prices.
func LoadPrices(root string) (*Sample, error) {
	if root == "" {
		s := Generate(Seed)
		return &Sample{Synthetic: true, Series: s.Series}, nil
	}
	s := new(Sample)
	return s, s.readPrices(os.DirFS(filepath.Join(root, "market")))
}

// Read reads a sample; the README beside the files describes them.
func Read(fsys fs.FS) (*Sample, error) {
	s := new(Sample)
	var errs [4]error
	var wg sync.WaitGroup // they are as many files, and unpacking them takes most of the time
	wg.Go(func() { errs[0] = s.readPrices(fsys) })
	wg.Go(func() { s.Reports, errs[1] = readReports(fsys) })
	wg.Go(func() { s.Filings, errs[2] = readFilings(fsys) })
	wg.Go(func() { s.Vectors, errs[3] = readVectors(fsys) })
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Sample) readPrices(fsys fs.FS) error {
	for _, d := range []struct{ file, symbol, name, unit string }{
		{"prices/wti-daily.csv", "WTI", "WTI crude oil, spot", "USD/barrel"},
		{"prices/brent-daily.csv", "BRENT", "Brent crude oil, spot", "USD/barrel"},
		{"prices/henryhub-daily.csv", "HENRYHUB", "Henry Hub natural gas, spot", "USD/MMBtu"},
	} {
		series := Series{Symbol: Symbol(d.symbol), Name: d.name, Unit: d.unit, Source: "U.S. Energy Information Administration"}
		err := readCSV(fsys, d.file, []string{"date", "close"}, func(f []string) error {
			p, err := parsePoint(f[0], f[1])
			series.Points = append(series.Points, p)
			return err
		})
		if err != nil {
			return err
		}
		s.Series = append(s.Series, series)
	}
	fx, err := readExchangeRates(fsys)
	if err != nil {
		return err
	}
	s.Series = append(s.Series, fx...)
	for _, series := range s.Series {
		if !slices.IsSortedFunc(series.Points, func(a, b Point) int { return a.Date.Compare(b.Date) }) {
			return fmt.Errorf("%s: dates are not in order", series.Symbol)
		}
	}
	return nil
}

func parsePoint(date, value string) (Point, error) {
	d, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return Point{}, err
	}
	v, err := strconv.ParseFloat(value, 64)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = fmt.Errorf("%q is not a price", value)
	}
	return Point{d, v}, err
}

// perUnit lists the currencies that are quoted in dollars; the others are quoted
// per dollar.
var perUnit = []string{"Australia", "Euro", "Ireland", "New Zealand", "United Kingdom"}

func readExchangeRates(fsys fs.FS) ([]Series, error) {
	var series []Series
	index := make(map[string]int)
	err := readCSV(fsys, "prices/fx-monthly.csv", []string{"Date", "Country", "Exchange rate"}, func(f []string) error {
		if f[2] == "" {
			return nil // a month without a rate
		}
		p, err := parsePoint(f[0], f[2])
		if err != nil {
			return err
		}
		i, ok := index[f[1]]
		if !ok {
			unit := "units per USD"
			if slices.Contains(perUnit, f[1]) {
				unit = "USD per unit"
			}
			i = len(series)
			index[f[1]] = i
			series = append(series, Series{
				Symbol: Symbol("FX-" + strings.ReplaceAll(strings.ToUpper(f[1]), " ", "-")),
				Name:   "exchange rate of " + f[1] + ", monthly",
				Unit:   unit,
				Source: "Federal Reserve H.10 via FRED",
			})
		}
		series[i].Points = append(series[i].Points, p)
		return nil
	})
	return series, err
}

func readReports(fsys fs.FS) ([]Report, error) {
	const file = "text/beige-book-national-summary.jsonl.gz"
	var reports []Report
	err := readGzip(fsys, file, func(r io.Reader) error {
		for dec := json.NewDecoder(r); ; {
			var line struct{ ID, Month, Kind, Text string }
			if err := dec.Decode(&line); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			month, err := time.Parse("2006-01", line.Month)
			if err != nil {
				return err
			}
			reports = append(reports, Report{line.ID, month, line.Text, "Beige Book, Board of Governors of the Federal Reserve System"})
		}
	})
	return reports, err
}

func readFilings(fsys fs.FS) ([]Filing, error) {
	files, err := fs.Glob(fsys, "filings/edgar-*.csv.gz")
	if err != nil {
		return nil, err
	}
	var filings []Filing
	for _, file := range files {
		err := readCSV(fsys, file, []string{"date", "form", "cik", "company", "path"}, func(f []string) error {
			d, err := time.Parse(time.DateOnly, f[0])
			filings = append(filings, Filing{d, f[1], f[2], f[3], f[4], "SEC EDGAR daily index"})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return filings, nil
}

// maxWords bounds what a damaged header can make us allocate.
const maxWords, maxDim = 1 << 20, 1 << 12

func readVectors(fsys fs.FS) (Vectors, error) {
	v := Vectors{Source: "GloVe 6B, 100 dimensions, int8"}
	err := readGzip(fsys, "embeddings/glove100-words.txt.gz", func(r io.Reader) error {
		for sc := bufio.NewScanner(r); ; {
			if !sc.Scan() {
				return sc.Err()
			}
			v.Words = append(v.Words, sc.Text())
		}
	})
	if err != nil {
		return Vectors{}, err
	}
	err = readGzip(fsys, "embeddings/glove100-int8.bin.gz", func(r io.Reader) error {
		v.Dim, v.Values, err = decodeVectors(r)
		return err
	})
	if err == nil && len(v.Values) != v.Dim*len(v.Words) {
		err = fmt.Errorf("%d words, but vectors of %d", len(v.Words), len(v.Values)/v.Dim)
	}
	return v, err
}

// decodeVectors reads "MIV1", the number of words, their dimension, a scale for
// each word, and for each word that many int8.
func decodeVectors(r io.Reader) (dim int, values []float32, err error) {
	var head struct {
		Magic  [4]byte
		N, Dim uint32
	}
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil {
		return 0, nil, fmt.Errorf("reading the header: %w", err)
	}
	if string(head.Magic[:]) != "MIV1" || head.N == 0 || head.N > maxWords || head.Dim == 0 || head.Dim > maxDim {
		return 0, nil, fmt.Errorf("not word vectors: magic %q, %d words of %d dimensions", head.Magic[:], head.N, head.Dim)
	}
	// Row by row: what is allocated is never more than what is there.
	br := bufio.NewReader(r)
	var scales []float32
	var four [4]byte
	for range head.N {
		if _, err := io.ReadFull(br, four[:]); err != nil {
			return 0, nil, fmt.Errorf("reading scales: %w", err)
		}
		scales = append(scales, math.Float32frombits(binary.LittleEndian.Uint32(four[:])))
	}
	row := make([]byte, head.Dim)
	for _, scale := range scales {
		if _, err := io.ReadFull(br, row); err != nil {
			return 0, nil, fmt.Errorf("reading vectors: %w", err)
		}
		for _, b := range row {
			values = append(values, float32(int8(b))*scale)
		}
	}
	return int(head.Dim), values, nil
}

// readCSV calls f with the rows after the header, which has to be as expected.
// Files whose name ends with .gz are unpacked.
func readCSV(fsys fs.FS, name string, header []string, f func([]string) error) error {
	read := func(r io.Reader) error {
		cr := csv.NewReader(r)
		cr.FieldsPerRecord = len(header)
		for first := true; ; first = false {
			fields, err := cr.Read()
			switch {
			case errors.Is(err, io.EOF) && !first:
				return nil
			case err != nil:
				return err
			case first && !slices.Equal(fields, header):
				return fmt.Errorf("the header is %q, not %q", fields, header)
			case first:
				continue
			}
			if err := f(fields); err != nil {
				line, _ := cr.FieldPos(0)
				return fmt.Errorf("line %d: %w", line, err)
			}
		}
	}
	if strings.HasSuffix(name, ".gz") {
		return readGzip(fsys, name, read)
	}
	return readFile(fsys, name, read)
}

func readGzip(fsys fs.FS, name string, f func(io.Reader) error) error {
	return readFile(fsys, name, func(r io.Reader) error {
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		return f(z)
	})
}

func readFile(fsys fs.FS, name string, f func(io.Reader) error) error {
	file, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := f(bufio.NewReader(file)); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}
