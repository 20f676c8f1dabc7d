package price

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestMicros(t *testing.T) {
	for _, tt := range []struct {
		text    string
		want    Micros
		printed string
	}{
		{"0.096", 96_000, "0.0960"},
		{"3.06", 3_060_000, "3.0600"},
		{"0.032048", 32_048, "0.032048"},
		{"12", 12_000_000, "12.0000"},
		{".5", 500_000, "0.5000"},
		{"0.0000005", 1, "0.000001"},
		{"0", 0, "0.0000"},
	} {
		got, err := ParseUSD(tt.text)
		if err != nil || got != tt.want || got.String() != tt.printed {
			t.Errorf("%q = %d (%s), %v; want %d (%s)", tt.text, got, got, err, tt.want, tt.printed)
		}
	}
	for _, bad := range []string{"", ".", "1.", "-1", "+1", "1e3", "NaN", "0x1", "1,5", " 1", "9999999999"} {
		if got, err := ParseUSD(bad); err == nil {
			t.Errorf("%q = %s, want an error", bad, got)
		}
	}
	if got := Micros(96_000).Less(66); got != 32_640 {
		t.Errorf("0.096 less 66%% = %s", got)
	}
	for m, want := range map[Micros]string{1_234_999: "1.23", 1_235_000: "1.24", -1_235_000: "-1.24", 0: "0.00"} {
		if got := m.Cents(); got != want {
			t.Errorf("%d in cents = %s, want %s", m, got, want)
		}
	}
	if out, err := json.Marshal(Micros(96_000)); err != nil || string(out) != "0.0960" {
		t.Errorf("JSON = %s, %v", out, err)
	}
}

func TestLookup(t *testing.T) {
	date := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	quote := func(perHour Micros, day int) Quote { return Quote{PerHour: perHour, Date: date(day)} }
	table := new(Table)
	table.Add("t", "r1", "", OnDemand, quote(100, 1))
	table.Add("t", "r1", "r1a", Spot, quote(30, 5))
	table.Add("t", "r1", "r1b", Spot, quote(50, 6))
	table.Add("t", "r2", "", OnDemand, quote(1000, 1))
	table.AddAdvice("t", "r2", Advice{SavingPercent: 60, Date: date(3)})
	table.Add("t", "r3", "", Spot, quote(77, 2))
	table.Add("t", "r3", "", OnDemand, quote(100, 2))
	table.AddAdvice("t", "r3", Advice{SavingPercent: 60, Date: date(3)})

	for _, tt := range []struct {
		name, region, zone string
		capacity           Capacity
		want               Micros
		day                int
	}{
		{"on-demand", "r1", "r1a", OnDemand, 100, 1},
		{"of the zone", "r1", "r1a", Spot, 30, 5},
		{"mean of zones, as old as the oldest", "r1", "", Spot, 40, 5},
		{"from advice", "r2", "r2a", Spot, 400, 3},
		{"later advice before an earlier price", "r3", "", Spot, 40, 3},
	} {
		q, ok := table.Lookup("t", tt.region, tt.zone, tt.capacity)
		if !ok || q.PerHour != tt.want || !q.Date.Equal(date(tt.day)) {
			t.Errorf("%s: %+v, %v", tt.name, q, ok)
		}
	}
	for _, c := range []Capacity{Spot, OnDemand} {
		if q, ok := table.Lookup("u", "r1", "", c); ok {
			t.Errorf("an unknown type costs %+v", q)
		}
	}
	if q, ok := table.Spot("t", "r1", "r1c"); ok {
		t.Errorf("a zone without a price costs %+v", q)
	}

	// The later price stays, whatever the order.
	table.Add("t", "r1", "", OnDemand, quote(90, 9))
	table.Add("t", "r1", "", OnDemand, quote(80, 8))
	if q, _ := table.OnDemand("t", "r1"); q.PerHour != 90 {
		t.Errorf("the later price went: %+v", q)
	}
	other := new(Table)
	other.Merge(table)
	if q, _ := other.Spot("t", "r1", "r1b"); q.PerHour != 50 {
		t.Errorf("merged: %+v", q)
	}
}

func TestRegionOf(t *testing.T) {
	for zone, want := range map[string]string{
		"us-east-1a": "us-east-1", "us-central1-a": "us-central1", "westeurope-1": "westeurope-1",
		"us-east-1": "us-east-1", "": "", "a": "a", "europe-west1": "europe-west1",
	} {
		if got := RegionOf(zone); got != want {
			t.Errorf("region of %q = %q, want %q", zone, got, want)
		}
	}
}

// TestBands: the hazards are what the design names.
func TestBands(t *testing.T) {
	if lo, hi := Under5.Hazard(), Over20.Hazard(); lo < 0.0008 || lo > 0.00085 || hi < 0.0104 || hi > 0.0105 {
		t.Errorf("hazards from %v to %v, want 0.08%% to 1.05%% a node-day", lo, hi)
	}
	for b := Under10; b.Valid(); b++ {
		if b.Hazard() <= (b - 1).Hazard() {
			t.Errorf("band %v is not worse than %v", b, b-1)
		}
	}
	if Band(7).Hazard() != Over20.Hazard() || Band(7).String() != "band 7" {
		t.Error("an unknown band is not the worst")
	}
}

// TestAllocatable checks the formulas against figures that were published.
func TestAllocatable(t *testing.T) {
	for _, tt := range []struct {
		instanceType, arch    string
		vcpu                  int
		memory                int64
		enis, addresses, pods int
		cpu, left             int64
	}{
		// karpenter.sh, instance types: allocatable of AL2023 nodes.
		{"m5.large", "amd64", 2, 8192, 3, 10, 29, 1930, 6903},
		{"m5.xlarge", "amd64", 4, 16384, 4, 15, 58, 3920, 14162},
		{"c5.large", "amd64", 2, 4096, 3, 10, 29, 1930, 3114},
		{"r5.xlarge", "amd64", 4, 32768, 4, 15, 58, 3920, 29317},
		{"a1.4xlarge", "arm64", 16, 32768, 8, 30, 234, 15890, 27322},
	} {
		if got := ENIPods(tt.enis, tt.addresses); got != tt.pods {
			t.Errorf("%s: %d pods, want %d", tt.instanceType, got, tt.pods)
		}
		got := EKSAllocatable(tt.arch, tt.vcpu, tt.memory, tt.pods)
		if got != (Allocatable{tt.cpu, tt.left, tt.pods}) {
			t.Errorf("%s: %+v, want %d m, %d MiB", tt.instanceType, got, tt.cpu, tt.left)
		}
	}
	// Google's documentation: 16 GiB keep 2.6 GiB, a 4-core machine 80 m.
	got := GKEAllocatable(4, 16*1024)
	if reserved := 16*1024 - 100 - got.MemoryMiB; reserved < 2660 || reserved > 2663 || got.CPUMilli != 3920 {
		t.Errorf("GKE, 4 cores and 16 GiB: %+v, reserved %d MiB", got, reserved)
	}
	if got := GKEAllocatable(1, 600); got.MemoryMiB != 600-255-100 || got.CPUMilli != 940 {
		t.Errorf("GKE, 1 core and 600 MiB: %+v", got)
	}
}

// TestAllocatableOfAll checks the EKS formula on every published type.
func TestAllocatableOfAll(t *testing.T) {
	root := os.Getenv("EVENKEEL_DATA")
	if root == "" {
		t.Skip("EVENKEEL_DATA does not name a data folder: only the types of TestAllocatable are compared")
	}
	f, err := os.Open(filepath.Join(root, instancesFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := make(map[string]int)
	for i, name := range all[0] {
		column[name] = i
	}
	for _, row := range all[1:] {
		number := func(name string) int {
			n, err := strconv.Atoi(row[column[name]])
			if err != nil {
				t.Fatalf("%s: %s: %v", row[0], name, err)
			}
			return n
		}
		got := EKSAllocatable(row[column["arch"]], number("vcpu"), int64(number("mem_mib")), number("max_pods"))
		want := Allocatable{int64(number("alloc_cpu_milli")), int64(number("alloc_mem_mib")), number("max_pods")}
		if got.CPUMilli != want.CPUMilli || got.MemoryMiB-want.MemoryMiB > 1 || want.MemoryMiB-got.MemoryMiB > 1 {
			t.Errorf("%s: %+v, published %+v", row[0], got, want)
		}
	}
	t.Logf("compared %d types", len(all)-1)
}

func TestReadDataErrors(t *testing.T) {
	const (
		instances = "instance_type,arch,vcpu,mem_mib,alloc_cpu_milli,alloc_mem_mib,max_pods,gpu_count\n"
		onDemand  = "date,instance_type,on_demand_usd_h\n"
		advisor   = "snapshot,region,instance_type,savings_pct,interruption_band\n"
		gcp       = "date,machine_type,region,on_demand_usd_h,spot_usd_h\n"
	)
	for _, tt := range []struct{ name, file, text, want string }{
		{"empty", instancesFile, "", "instance-types.csv:1: empty file"},
		{"architecture", instancesFile, instances + "t,mips,2,4,1,1,1,\n", `:2: t: architecture "mips"`},
		{"more than there is", instancesFile, instances + "t,arm64,2,4,2001,1,1,\n", ":2: t: more is allocatable than there is"},
		{"no CPUs", instancesFile, instances + "t,arm64,0,4,1,1,1,\n", `:2: t: "0" is not`},
		{"missing column", onDemandFile, "date,instance_type\n", `:1: column "on_demand_usd_h" is missing`},
		{"date", onDemandFile, onDemand + "2026-13-01,t,1\n", `:2: "2026-13-01" is not a date`},
		{"negative price", onDemandFile, onDemand + "2026-01-01,t,-1\n", `:2: t: "-1" is not an amount`},
		{"absurd price", onDemandFile, onDemand + "2026-01-01,t,99999\n", `:2: t: "99999" is not a price of a machine-hour`},
		{"fields", onDemandFile, onDemand + "2026-01-01,t,1\n2026-01-01,t\n", ":3: 2 fields, want 3"},
		{"saving", advisorFile, advisor + "2025-01-01,r,t,100,0\n", `:2: saving "100"`},
		{"band", advisorFile, advisor + "2025-01-01,r,t,10,9\n", `:2: interruption band "9"`},
		{"no region", advisorFile, advisor + "2025-01-01,,t,10,1\n", ":2: no region"},
		{"backwards", gcpFile, gcp + "2025-01-02,t,r,1,1\n2025-01-01,t,r,1,1\n", ":3: 2025-01-01 comes after 2025-01-02"},
		{"free", gcpFile, gcp + "2025-01-02,t,r,1,0\n", `:2: t: "0" is not a price`},
		{"memory", gcpTypesFile, "machine_type,vcpu,mem_gb\nt,1,NaN\n", `:2: t: "NaN" is not a size`},
	} {
		_, err := ReadData(fstest.MapFS{tt.file: {Data: []byte(tt.text)}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q in it", tt.name, err, tt.want)
		}
	}
	if _, err := ReadData(fstest.MapFS{}); err == nil {
		t.Error("an empty folder has prices")
	}
}

// TestOnDemandHistory: a type's latest event counts, wherever it stands.
func TestOnDemandHistory(t *testing.T) {
	text := "date,instance_type,on_demand_usd_h\n2024-01-01,a,1\n2024-01-01,gone,1\n2025-01-01,a,2\n2024-06-01,a,3\n2025-02-01,gone,0\n"
	table, err := ReadData(fstest.MapFS{onDemandFile: {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	q, ok := table.OnDemand("a", "us-east-1")
	if !ok || q.PerHour != 2*Dollar || q.Date.Format(time.DateOnly) != "2025-02-01" || q.Note != "unchanged since 2025-01-01" {
		t.Errorf("a: %+v, %v", q, ok)
	}
	if q, ok := table.OnDemand("gone", "us-east-1"); ok {
		t.Errorf("a type that is no longer listed costs %+v", q)
	}
}

// FuzzReadData checks that whatever is accepted is plausible.
func FuzzReadData(f *testing.F) {
	for i, file := range []string{onDemandFile, advisorFile, gcpFile, instancesFile} {
		f.Add(i, file+"\nx")
	}
	f.Add(0, "date,instance_type,on_demand_usd_h\n2024-01-01,a,1\n2024-01-01,gone,0\n")
	f.Add(1, "snapshot,region,instance_type,savings_pct,interruption_band\n2025-01-01,us-east-1,a,-10,1\n")
	f.Add(2, "date,machine_type,region,on_demand_usd_h,spot_usd_h\n2025-01-02,t,r,1,0.3\n")
	f.Add(3, "instance_type,arch,vcpu,mem_mib,alloc_cpu_milli,alloc_mem_mib,max_pods,gpu_count\nt,arm64,2,4,1,1,1,\n")
	files := []string{onDemandFile, advisorFile, gcpFile, instancesFile}
	f.Fuzz(func(t *testing.T, which int, text string) {
		if which < 0 || which >= len(files) {
			return
		}
		table, err := ReadData(fstest.MapFS{files[which]: {Data: []byte(text)}})
		if err != nil {
			return
		}
		for k, q := range table.quotes {
			if q.PerHour <= 0 || q.PerHour > maxPerHour || q.Date.IsZero() || q.Source == "" {
				t.Errorf("%v costs %+v", k, q)
			}
		}
		for k, a := range table.advice {
			if a.SavingPercent > 99 || !a.Band.Valid() {
				t.Errorf("%v: %+v", k, a)
			}
		}
		for _, i := range table.Instances() {
			if i.Type == "" || i.VCPU <= 0 || i.Allocatable.CPUMilli <= 0 || i.Allocatable.MemoryMiB > i.MemoryMiB {
				t.Errorf("%+v", i)
			}
		}
	})
}

func FuzzParseUSD(f *testing.F) {
	f.Add("0.096")
	f.Add("9999.999999")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseUSD(s)
		if err != nil {
			return
		}
		again, err := ParseUSD(m.String())
		if m < 0 || err != nil || again != m {
			t.Errorf("%q = %d, printed %q = %d, %v", s, m, m, again, err)
		}
		if data, err := json.Marshal(m); err != nil || !json.Valid(bytes.TrimSpace(data)) {
			t.Errorf("%q: JSON %s, %v", s, data, err)
		}
	})
}

// TestFiles: a table that is written and read again is the same.
func TestFiles(t *testing.T) {
	table := Builtin()
	now := time.Date(2026, 11, 25, 10, 11, 12, 0, time.UTC)
	table.Add("m5.large", "us-east-1", "us-east-1a", Spot, Quote{PerHour: 31_000, Date: now, Source: "a, b", Note: "c\nd"})
	fsys := make(fstest.MapFS)
	for _, f := range WriteFiles(table) {
		fsys[f.Name] = &fstest.MapFile{Data: []byte(f.Text)}
	}
	again, err := ReadFiles(fsys)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range WriteFiles(again) {
		if want := WriteFiles(table)[i]; f != want {
			t.Errorf("%s changes when it is written again", f.Name)
		}
	}
	if q, _ := again.Spot("m5.large", "us-east-1", "us-east-1a"); !q.Date.Equal(now) || q.Source != "a  b" || !again.Newest().Equal(now) {
		t.Errorf("%+v, newest %v", q, again.Newest())
	}
	delete(fsys, "advice.csv")
	if _, err := ReadFiles(fsys); err == nil {
		t.Error("a table without one of its files was read")
	}
}

func TestReadAdvisorFeed(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no JSON", "x", "reading the spot advisor's feed: invalid"},
		{"no region", `{"spot_advisor":{}}`, `it does not know region "r"`},
		{"band", `{"spot_advisor":{"r":{"Linux":{"t":{"s":1,"r":9}}}}}`, "band 9"},
		{"saving", `{"spot_advisor":{"r":{"Linux":{"t":{"s":101,"r":1}}}}}`, "saves 101 %"},
	} {
		err := ReadAdvisorFeed(strings.NewReader(tt.text), "r", nil, time.Now(), "x", new(Table))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

func FuzzReadAdvisorFeed(f *testing.F) {
	f.Add(`{"spot_advisor":{"r":{"Linux":{"t":{"s":66,"r":3}}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		table := new(Table)
		if ReadAdvisorFeed(strings.NewReader(text), "r", nil, time.Now(), "x", table) != nil {
			return
		}
		for k, a := range table.advice {
			if a.SavingPercent > 99 || !a.Band.Valid() {
				t.Errorf("%v: %+v", k, a)
			}
		}
	})
}
