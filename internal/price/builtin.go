package price

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/rows"
)

//go:embed builtin/*.csv
var builtin embed.FS

// Builtin returns the table that the program carries: the instance types of the
// examples and their common alternatives. Every call makes a new one.
func Builtin() *Table {
	files, err := fs.Sub(builtin, "builtin")
	if err == nil {
		var t *Table
		if t, err = ReadFiles(files); err == nil {
			return t
		}
	}
	panic(fmt.Sprintf("price: the built-in table: %v", err)) // a test reads it
}

// A File is a part of a table as text.
type File struct{ Name, Text string }

// WriteFiles returns the files that ReadFiles reads.
func WriteFiles(t *Table) []File {
	var out []File
	for _, file := range tableFiles {
		out = append(out, File{file.name, file.write(t)})
	}
	return out
}

// ReadFiles reads a table that WriteFiles wrote. All files must be there.
func ReadFiles(fsys fs.FS) (*Table, error) {
	t := new(Table)
	for _, file := range tableFiles {
		f, err := fsys.Open(file.name)
		if err != nil {
			return nil, fmt.Errorf("reading prices: %w", err)
		}
		err = file.read(f, file.name, t)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading prices: %w", err)
		}
	}
	return t, nil
}

// stamp writes a date, and the time of day where there is one.
func stamp(at time.Time) string {
	if at.Equal(at.Truncate(24 * time.Hour)) {
		return at.Format(time.DateOnly)
	}
	return at.UTC().Format(time.RFC3339)
}

func parseStamp(s string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, s); err == nil && at.Year() >= 2006 && at.Year() <= 2100 {
		return at.UTC(), nil
	}
	return parseDate(s)
}

// plain keeps text from ending its field.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ',' || r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, s)
}

// tableFiles are the files of a table.
var tableFiles = []struct {
	name  string
	read  func(io.Reader, string, *Table) error
	write func(*Table) string
}{
	{"instances.csv", readBuiltinInstances, writeBuiltinInstances},
	{"prices.csv", readBuiltinPrices, writeBuiltinPrices},
	{"advice.csv", readBuiltinAdvice, writeBuiltinAdvice},
}

func readBuiltinInstances(r io.Reader, name string, t *Table) error {
	columns := []string{"instance_type", "arch", "vcpu", "mem_mib", "alloc_cpu_milli", "alloc_mem_mib", "max_pods", "gpu_count", "source"}
	return rows.File{Name: name, Columns: columns, Exact: true}.Each(r, func(f []string) error {
		i, err := parseInstance(f)
		if err != nil {
			return err
		}
		i.Source = f[8]
		t.AddInstance(i)
		return nil
	})
}

func writeBuiltinInstances(t *Table) string {
	var b strings.Builder
	b.WriteString("instance_type,arch,vcpu,mem_mib,alloc_cpu_milli,alloc_mem_mib,max_pods,gpu_count,source\n")
	for _, i := range t.Instances() {
		fmt.Fprintf(&b, "%s,%s,%d,%d,%d,%d,%d,%d,%s\n", i.Type, i.Arch, i.VCPU, i.MemoryMiB,
			i.Allocatable.CPUMilli, i.Allocatable.MemoryMiB, i.Allocatable.Pods, i.GPUs, plain(i.Source))
	}
	return b.String()
}

func readBuiltinPrices(r io.Reader, name string, t *Table) error {
	columns := []string{"instance_type", "region", "zone", "capacity", "usd_h", "date", "source", "note"}
	return rows.File{Name: name, Columns: columns, Exact: true}.Each(r, func(f []string) error {
		c := Capacity(f[3])
		if c != Spot && c != OnDemand {
			return fmt.Errorf("capacity %q is neither spot nor on-demand", f[3])
		}
		perHour, err := parsePerHour(f[4])
		if err != nil {
			return err
		}
		date, err := parseStamp(f[5])
		if err != nil {
			return err
		}
		t.Add(f[0], f[1], f[2], c, Quote{PerHour: perHour, Date: date, Source: f[6], Note: f[7]})
		return nil
	})
}

func writeBuiltinPrices(t *Table) string {
	var b strings.Builder
	b.WriteString("instance_type,region,zone,capacity,usd_h,date,source,note\n")
	for _, k := range sortedPlaces(t.quotes) {
		q := t.quotes[k]
		fmt.Fprintf(&b, "%s,%s,%s,%s,%s,%s,%s,%s\n", k.instanceType, k.region, k.zone, k.capacity, q.PerHour, stamp(q.Date), plain(q.Source), plain(q.Note))
	}
	return b.String()
}

func readBuiltinAdvice(r io.Reader, name string, t *Table) error {
	columns := []string{"instance_type", "region", "savings_pct", "interruption_band", "date", "source"}
	return rows.File{Name: name, Columns: columns, Exact: true}.Each(r, func(f []string) error {
		a, err := parseAdvice(f[2], f[3])
		if err != nil {
			return err
		}
		if a.Date, err = parseStamp(f[4]); err != nil {
			return err
		}
		a.Source = f[5]
		t.AddAdvice(f[0], f[1], a)
		return nil
	})
}

func writeBuiltinAdvice(t *Table) string {
	var b strings.Builder
	b.WriteString("instance_type,region,savings_pct,interruption_band,date,source\n")
	for _, k := range sortedPlaces(t.advice) {
		a := t.advice[k]
		fmt.Fprintf(&b, "%s,%s,%d,%d,%s,%s\n", k.instanceType, k.region, a.SavingPercent, a.Band, stamp(a.Date), plain(a.Source))
	}
	return b.String()
}
