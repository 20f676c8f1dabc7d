package price

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/rows"
)

// Where a data folder keeps what, and what its files are called in quotes.
const (
	instancesFile = "aws-instances/instance-types.csv"
	onDemandFile  = "aws-instances/on-demand-us-east-1-history.csv"
	advisorFile   = "aws-spot-advisor/advisor-linux.csv"
	spotFile      = "aws-spot-advisor/spot-price-2021-04.csv"
	gcpTypesFile  = "gcp-prices/machine-types.csv"
	gcpFile       = "gcp-prices/price-events.csv"

	sourceInstances = "karpenter-provider-aws 1d92708"
	sourceAdvisor   = "AWS Spot Instance Advisor (spotinfo 05e9331)"
	sourceSpot      = "AWS spot.js (spotinfo 0c1f224)"
	sourceGCP       = "google-cloud-pricing-cost-calculator"
)

// maxMachines bounds how many instance types and prices a table takes from one
// file.
const maxMachines = 1 << 20

// ReadData reads the parts of a data folder that say what machines cost and
// hold: aws-instances, aws-spot-advisor and gcp-prices. A folder that is not
// there is left out; a file that is there is read strictly. Prices are the ones
// that held when the files ended.
func ReadData(fsys fs.FS) (*Table, error) {
	t := new(Table)
	for _, file := range []struct {
		name string
		read func(io.Reader, string, *Table) error
	}{
		{instancesFile, readInstances},
		{onDemandFile, readOnDemand},
		{advisorFile, readAdvisor},
		{spotFile, readSpotSnapshot},
		{gcpTypesFile, readGCPTypes},
		{gcpFile, readGCP},
	} {
		f, err := fsys.Open(file.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading prices: %w", err)
		}
		err = file.read(f, file.name, t)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading prices: %w", err)
		}
	}
	if len(t.quotes)+len(t.advice)+len(t.instances) == 0 {
		return nil, fmt.Errorf("reading prices: the folder has none of %s, %s, %s, %s", instancesFile, onDemandFile, advisorFile, gcpFile)
	}
	return t, nil
}

func readInstances(r io.Reader, name string, t *Table) error {
	columns := []string{"instance_type", "arch", "vcpu", "mem_mib", "alloc_cpu_milli", "alloc_mem_mib", "max_pods", "gpu_count"}
	return rows.File{Name: name, Columns: columns, MaxRows: maxMachines}.Each(r, func(f []string) error {
		i, err := parseInstance(f)
		if err != nil {
			return err
		}
		i.Source = sourceInstances
		t.AddInstance(i)
		return nil
	})
}

// parseInstance reads name, architecture, CPUs, memory, what is left of them for
// pods, pods, and GPUs, which may be empty.
func parseInstance(f []string) (Instance, error) {
	i := Instance{Type: f[0], Arch: f[1]}
	if i.Type == "" {
		return i, errors.New("no instance type")
	}
	if i.Arch != "amd64" && i.Arch != "arm64" {
		return i, fmt.Errorf("%s: architecture %q is neither amd64 nor arm64", i.Type, i.Arch)
	}
	var numbers [6]int64
	for n, s := range f[2:8] {
		if s == "" && n == 5 {
			continue
		}
		v, err := strconv.ParseInt(s, 10, 32)
		if err != nil || v < 0 || v == 0 && n < 5 {
			return i, fmt.Errorf("%s: %q is not a number of CPUs, MiB, pods or GPUs", i.Type, s)
		}
		numbers[n] = v
	}
	i.VCPU, i.MemoryMiB, i.GPUs = int(numbers[0]), numbers[1], int(numbers[5])
	i.Allocatable = Allocatable{CPUMilli: numbers[2], MemoryMiB: numbers[3], Pods: int(numbers[4])}
	if i.Allocatable.CPUMilli > int64(i.VCPU)*1000 || i.Allocatable.MemoryMiB > i.MemoryMiB {
		return i, fmt.Errorf("%s: more is allocatable than there is", i.Type)
	}
	return i, nil
}

// An event is a change of a price that holds until the next one.
type event struct {
	perHour Micros // 0 if the type is no longer listed
	since   time.Time
}

// readOnDemand reads change events of us-east-1. Of a type's events the latest
// counts, wherever it stands: the source's commits are not all in order of their
// dates. What held at the end was seen by the last snapshot, so that is the date
// of the quote.
func readOnDemand(r io.Reader, name string, t *Table) error {
	current := make(map[string]event)
	var last time.Time
	err := rows.File{Name: name, Columns: []string{"date", "instance_type", "on_demand_usd_h"}, Exact: true}.Each(r, func(f []string) error {
		e := event{}
		var err error
		if e.since, err = parseDate(f[0]); err != nil {
			return err
		}
		if f[1] == "" {
			return errors.New("no instance type")
		}
		if f[2] != "0" {
			if e.perHour, err = parsePerHour(f[2]); err != nil {
				return fmt.Errorf("%s: %w", f[1], err)
			}
		}
		if e.since.After(last) {
			last = e.since
		}
		if len(current) == maxMachines {
			return fmt.Errorf("more than %d instance types", maxMachines)
		}
		if !e.since.Before(current[f[1]].since) {
			current[f[1]] = e
		}
		return nil
	})
	if err != nil {
		return err
	}
	for instanceType, e := range current {
		if e.perHour > 0 {
			t.Add(instanceType, "us-east-1", "", OnDemand, Quote{PerHour: e.perHour, Date: last, Source: sourceInstances, Note: unchanged(e.since, last)})
		}
	}
	return nil
}

func unchanged(since, last time.Time) string {
	if since.Equal(last) {
		return ""
	}
	return "unchanged since " + since.Format(time.DateOnly)
}

func readAdvisor(r io.Reader, name string, t *Table) error {
	columns := []string{"snapshot", "region", "instance_type", "savings_pct", "interruption_band"}
	return rows.File{Name: name, Columns: columns, Exact: true, MaxRows: maxMachines}.Each(r, func(f []string) error {
		date, err := parseDate(f[0])
		if err != nil {
			return err
		}
		a, err := parseAdvice(f[3], f[4])
		if err != nil {
			return err
		}
		if f[1] == "" || f[2] == "" {
			return errors.New("no region or instance type")
		}
		a.Date, a.Source = date, sourceAdvisor
		t.AddAdvice(f[2], f[1], a)
		return nil
	})
}

// parseAdvice reads a saving, which is negative where spot is dearer than
// on-demand (p5.48xlarge in ca-central-1 in 2025), and a band.
func parseAdvice(saving, band string) (Advice, error) {
	s, err := strconv.Atoi(saving)
	if err != nil || s < -1000 || s > 99 {
		return Advice{}, fmt.Errorf("saving %q is not a percentage below 100", saving)
	}
	b, err := strconv.Atoi(band)
	if err != nil || !Band(b).Valid() {
		return Advice{}, fmt.Errorf("interruption band %q is not 0 to 4", band)
	}
	return Advice{SavingPercent: s, Band: Band(b)}, nil
}

// spotSnapshot is the day of the one snapshot of prices that the folder has.
var spotSnapshot = time.Date(2021, 4, 6, 0, 0, 0, 0, time.UTC)

func readSpotSnapshot(r io.Reader, name string, t *Table) error {
	return rows.File{Name: name, Columns: []string{"region", "instance_type", "spot_usd_h"}, Exact: true, MaxRows: maxMachines}.Each(r, func(f []string) error {
		if f[0] == "" || f[1] == "" {
			return errors.New("no region or instance type")
		}
		perHour, err := parsePerHour(f[2])
		if err != nil {
			return fmt.Errorf("%s: %w", f[1], err)
		}
		t.Add(f[1], f[0], "", Spot, Quote{PerHour: perHour, Date: spotSnapshot, Source: sourceSpot})
		return nil
	})
}

func readGCPTypes(r io.Reader, name string, t *Table) error {
	return rows.File{Name: name, Columns: []string{"machine_type", "vcpu", "mem_gb"}, Exact: true, MaxRows: maxMachines}.Each(r, func(f []string) error {
		vcpu, err := strconv.Atoi(f[1])
		if err != nil || vcpu < 1 || vcpu > 10_000 {
			return fmt.Errorf("%s: %q is not a number of CPUs", f[0], f[1])
		}
		gib, err := strconv.ParseFloat(f[2], 64)
		if err != nil || !(gib > 0 && gib < 1_000_000) {
			return fmt.Errorf("%s: %q is not a size of memory", f[0], f[2])
		}
		if f[0] == "" {
			return errors.New("no machine type")
		}
		i := Instance{Type: f[0], Arch: gcpArch(f[0]), VCPU: vcpu, MemoryMiB: int64(gib * 1024), Source: sourceGCP}
		i.Allocatable = GKEAllocatable(i.VCPU, i.MemoryMiB)
		t.AddInstance(i)
		return nil
	})
}

// gcpArch tells Google's Arm families from the others.
func gcpArch(machineType string) string {
	for _, family := range []string{"t2a-", "c4a-", "n4a-"} {
		if len(machineType) > len(family) && machineType[:len(family)] == family {
			return "arm64"
		}
	}
	return "amd64"
}

// readGCP reads change events; as with readOnDemand, the last crawl dates what
// held at the end.
func readGCP(r io.Reader, name string, t *Table) error {
	type key struct{ machineType, region string }
	type pair struct {
		onDemand, spot Micros
		since          time.Time
	}
	current := make(map[key]pair)
	var last time.Time
	columns := []string{"date", "machine_type", "region", "on_demand_usd_h", "spot_usd_h"}
	err := rows.File{Name: name, Columns: columns, Exact: true}.Each(r, func(f []string) error {
		date, err := parseDate(f[0])
		if err != nil {
			return err
		}
		if date.Before(last) {
			return fmt.Errorf("%s comes after %s", f[0], last.Format(time.DateOnly))
		}
		last = date
		p := pair{since: date}
		if p.onDemand, err = parsePerHour(f[3]); err != nil {
			return fmt.Errorf("%s: %w", f[1], err)
		}
		if p.spot, err = parsePerHour(f[4]); err != nil {
			return fmt.Errorf("%s: %w", f[1], err)
		}
		if f[1] == "" || f[2] == "" {
			return errors.New("no machine type or region")
		}
		if len(current) == maxMachines {
			return fmt.Errorf("more than %d prices", maxMachines)
		}
		current[key{f[1], f[2]}] = p
		return nil
	})
	if err != nil {
		return err
	}
	for k, p := range current {
		q := Quote{Date: last, Source: sourceGCP, Note: unchanged(p.since, last)}
		q.PerHour = p.onDemand
		t.Add(k.machineType, k.region, "", OnDemand, q)
		q.PerHour = p.spot
		t.Add(k.machineType, k.region, "", Spot, q)
	}
	return nil
}

func parseDate(s string) (time.Time, error) {
	date, err := time.Parse(time.DateOnly, s)
	if err != nil || date.Year() < 2006 || date.Year() > 2100 {
		return date, fmt.Errorf("%q is not a date such as 2026-07-20", s)
	}
	return date, nil
}
