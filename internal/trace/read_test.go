package trace_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

const poolsHeader = "pool,dataset,region,zone,instance_type,on_demand_usd_h,spot_usd_h,tick_seconds,first_tick,ticks,days\n"

func TestRead(t *testing.T) {
	history := "pool,tick,capacity\nz1a/big,10,1\nz1a/big,12,0\nz1b/big,10,0\nz1a/big,15,1\n"
	pools := poolsHeader +
		"z1a/big,set-1,z1,z1a,big,3.06,0.97,100,10,20,0.1\n" +
		"z1b/big,set-1,z1,z1b,big,3.06,,100,10,20,0.1\n" +
		"z1a/big,set-2,z1,z1a,big,3.06,0.97,600,0,20,0.1\n" // another data set's

	tr, err := trace.Read(strings.NewReader(history), "set-1-big.csv", strings.NewReader(pools), trace.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.Pools) != 2 || tr.Name != "set-1-big.csv" {
		t.Fatalf("trace = %+v, want 2 pools", tr)
	}
	a, ok := tr.Pool("z1a/big")
	if !ok {
		t.Fatal("pool z1a/big is missing")
	}
	if a.Region != "z1" || a.Tick != 100*time.Second || a.First != 10 || a.Ticks != 20 || a.OnDemandPerHour != 3.06 || a.SpotPerHour != 0.97 {
		t.Errorf("pool = %+v", a)
	}
	if got, want := a.Availability(), 17.0/20; got != want {
		t.Errorf("availability = %v, want %v", got, want)
	}
	if got, want := a.MeanUp(), 1700*time.Second; got != want {
		t.Errorf("mean up time = %v, want %v", got, want)
	}
	for at, want := range map[time.Duration]bool{
		999 * time.Second:  false, // before the first tick
		1000 * time.Second: true,
		1199 * time.Second: true,
		1200 * time.Second: false,
		1500 * time.Second: true,
		2999 * time.Second: true,
		3000 * time.Second: false, // past the end
	} {
		if got := a.AvailableAt(at); got != want {
			t.Errorf("available at %v = %v, want %v", at, got, want)
		}
	}

	reclaims := tr.Reclaims(nil)
	if len(reclaims) != 1 || reclaims[0] != (trace.Reclaim{At: 1200 * time.Second, Pool: "z1a/big", Back: 1500 * time.Second}) {
		t.Errorf("reclaims = %+v", reclaims)
	}
	if got := tr.Reclaims([]string{"z1b"}); len(got) != 0 {
		t.Errorf("reclaims of z1b = %+v, want none", got)
	}
}

func TestReadWithoutPools(t *testing.T) {
	history := "pool,tick,capacity\r\neu-west-1b/m5.large,0,1\r\neu-west-1b/m5.large,4,1\r\neu-west-1b/m5.large,6,0\r\n"
	tr, err := trace.Read(strings.NewReader(history), "mine.csv", nil, trace.Defaults{Tick: time.Minute, SpotPerHour: 0.03})
	if err != nil {
		t.Fatal(err)
	}
	p := tr.Pools[0]
	if p.Region != "eu-west-1" || p.Tick != time.Minute || p.Ticks != 7 || p.SpotPerHour != 0.03 {
		t.Errorf("pool = %+v", p)
	}
	if len(p.Changes) != 2 {
		t.Errorf("changes = %v; the row that repeats the value must not be one", p.Changes)
	}
	want := trace.Reclaim{At: 6 * time.Minute, Pool: "eu-west-1b/m5.large", Back: -1}
	if got := tr.Reclaims([]string{"eu-west-1b/m5.large"}); len(got) != 1 || got[0] != want {
		t.Errorf("reclaims = %+v, want %+v", got, want)
	}
}

func TestReadErrors(t *testing.T) {
	const header = "pool,tick,capacity\n"
	const pools = poolsHeader + "za/t,d,z,za,t,1,0.5,60,5,10,1\n"
	tests := []struct {
		name, history, pools, want string
	}{
		{"empty", "", "", "d.csv:1: empty file"},
		{"no rows", header, "", "d.csv: no rows"},
		{"missing column", "pool,tick\n", "", `d.csv:1: column "capacity" is missing`},
		{"extra column", "pool,tick,capacity,x\n", "", "d.csv:1: columns are not pool,tick,capacity"},
		{"fields", header + "za/t,5\n", "", "d.csv:2: 2 fields, want 3"},
		{"capacity", header + "za/t,5,2\n", "", `d.csv:2: capacity "2" is neither 0 nor 1`},
		{"tick", header + "za/t,-5,1\n", "", `d.csv:2: tick "-5" is not a whole number`},
		{"tick far out", header + "za/t,1500000000,1\n", "", "d.csv:2: tick 1500000000 of pool za/t is more than 50 years after tick 0"},
		{"same tick", header + "za/t,5,1\nza/t,5,0\n", "", "d.csv:3: tick 5 of pool za/t is not after its previous tick, 5"},
		{"backwards", header + "za/t,5,1\nza/t,4,0\n", "", "d.csv:3: tick 4 of pool za/t is not after"},
		{"pool name", header + "za,5,1\n", "", `d.csv:2: pool "za" is not zone/instance-type`},
		{"unknown pool", header + "zb/t,5,1\n", pools, `d.csv:2: pool "zb/t" is not in the pools file`},
		{"first tick", header + "za/t,4,1\n", pools, "d.csv:2: first row of pool za/t is at tick 4, the pools file says 5"},
		{"past the end", header + "za/t,5,1\nza/t,15,0\n", pools, "d.csv:3: tick 15 is past the end of pool za/t, which covers ticks 5 to 14"},
		{"long line", header + strings.Repeat("x", 5000), "", "d.csv:2: reading: "},
		{"pools twice", header, pools + "za/t,d,z,za,t,1,0.5,60,5,10,1\n", "pools.csv: pool za/t is there more than once for d.csv"},
		{"pools tick", header, poolsHeader + "za/t,d,z,za,t,1,0.5,0,5,10,1\n", `pools.csv:2: tick_seconds "0"`},
		{"pools price", header, poolsHeader + "za/t,d,z,za,t,NaN,0.5,60,5,10,1\n", `pools.csv:2: on_demand_usd_h: "NaN" is not a price`},
		{"pools name", header, poolsHeader + "za/t,d,z,zb,t,1,0.5,60,5,10,1\n", `pools.csv:2: pool "za/t" is not zone "zb"`},
		{"pools span", header, poolsHeader + "za/t,d,z,za,t,1,0.5,86400,0,1500000000,1\n", "pools.csv:2: pool za/t ends more than 50 years"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			if tt.pools == "" {
				_, err = trace.Read(strings.NewReader(tt.history), "d.csv", nil, trace.Defaults{})
			} else {
				_, err = trace.Read(strings.NewReader(tt.history), "d.csv", strings.NewReader(tt.pools), trace.Defaults{})
			}
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error = %v, want it to begin with %q", err, tt.want)
			}
		})
	}
}

// FuzzRead checks that whatever is accepted keeps the promises of Trace.
func FuzzRead(f *testing.F) {
	f.Add("pool,tick,capacity\nus-east-1a/p3.2xlarge,0,0\nus-east-1a/p3.2xlarge,109,1\n", "")
	f.Add("pool,tick,capacity\nza/t,5,1\nza/t,7,0\nza/t,8,1\n", poolsHeader+"za/t,d,z,za,t,1,0.5,60,5,10,1\n")
	f.Add("pool,tick,capacity\r\nza/t,1576800000,1\r\n", "")
	f.Fuzz(func(t *testing.T, history, pools string) {
		var tr *trace.Trace
		var err error
		if pools == "" {
			tr, err = trace.Read(strings.NewReader(history), "d.csv", nil, trace.Defaults{Tick: time.Second})
		} else {
			tr, err = trace.Read(strings.NewReader(history), "d.csv", strings.NewReader(pools), trace.Defaults{})
		}
		if err != nil {
			return
		}
		for i := range tr.Pools {
			p := &tr.Pools[i]
			if p.Start() < 0 || p.End() <= p.Start() {
				t.Fatalf("pool %s covers %v to %v", p.Name(), p.Start(), p.End())
			}
			if len(p.Changes) == 0 || p.Changes[0].Tick != p.First {
				t.Fatalf("pool %s begins at tick %d, its changes are %v", p.Name(), p.First, p.Changes)
			}
			for j, c := range p.Changes {
				if c.Tick >= p.First+p.Ticks {
					t.Fatalf("change %v is outside of pool %s", c, p.Name())
				}
				if j > 0 && (c.Tick <= p.Changes[j-1].Tick || c.Available == p.Changes[j-1].Available) {
					t.Fatalf("pool %s: change %v follows %v", p.Name(), c, p.Changes[j-1])
				}
			}
			if a := p.Availability(); a < 0 || a > 1 {
				t.Fatalf("availability %v", a)
			}
			for _, r := range p.Reclaims() {
				if p.AvailableAt(r.At) || (r.Back >= 0 && r.Back <= r.At) {
					t.Fatalf("reclaim %+v", r)
				}
			}
		}
	})
}
