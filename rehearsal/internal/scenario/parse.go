package scenario

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

// The file as it is written. Durations and quantities are still text, and a nil
// pointer is a field that was left out.
type (
	rawScenario struct {
		Name           string            `json:"name"`
		Seed           uint64            `json:"seed"`
		TimeScale      *float64          `json:"timeScale"`
		NoticeLead     string            `json:"noticeLead"`
		Region         string            `json:"region"`
		Nodes          []rawPool         `json:"nodes"`
		Images         map[string]string `json:"images"`
		Load           rawLoad           `json:"load"`
		Reclaims       []rawReclaim      `json:"reclaims"`
		LaunchDelay    string            `json:"launchDelay"`
		EndpointDelay  string            `json:"endpointDelay"`
		EndpointJitter string            `json:"endpointJitter"`
		PodStartDelay  rawRange          `json:"podStartDelay"`
		Trace          rawTrace          `json:"trace"`
	}
	rawPool struct {
		Name            string            `json:"name"`
		Pool            string            `json:"pool"`
		Zone            string            `json:"zone"`
		InstanceType    string            `json:"instanceType"`
		CapacityType    string            `json:"capacityType"`
		Count           int               `json:"count"`
		CPU             rawQuantity       `json:"cpu"`
		Memory          rawQuantity       `json:"memory"`
		Pods            int               `json:"pods"`
		OnDemandPerHour float64           `json:"onDemandPerHour"`
		SpotPerHour     float64           `json:"spotPerHour"`
		Labels          map[string]string `json:"labels"`
		Taints          []Taint           `json:"taints"`
	}
	rawLoad struct {
		Rate         float64 `json:"rate"`
		PostShare    float64 `json:"postShare"`
		NewConnShare float64 `json:"newConnShare"`
		Timeout      string  `json:"timeout"`
		WarmUp       string  `json:"warmUp"`
		CoolDown     string  `json:"coolDown"`
	}
	rawReclaim struct {
		At      string      `json:"at"`
		Zone    string      `json:"zone"`
		Pool    string      `json:"pool"`
		Nodes   []string    `json:"nodes"`
		Replace *rawReplace `json:"replace"`
		Back    string      `json:"back"`
	}
	rawReplace struct {
		After string `json:"after"`
		Count *int   `json:"count"`
		Pool  string `json:"pool"`
	}
	rawRange struct {
		Min string `json:"min"`
		Max string `json:"max"`
	}
	rawTrace struct {
		Zones     []string `json:"zones"`
		Events    *int     `json:"events"`
		Compress  string   `json:"compress"`
		KeepNodes *int     `json:"keepNodes"`
	}
)

// rawQuantity is the text of a quantity, which may be written as a number.
type rawQuantity string

func (q *rawQuantity) UnmarshalJSON(data []byte) error {
	*q = rawQuantity(strings.Trim(string(data), `"`))
	return nil
}

// Parse reads a scenario. The name stands for the file in errors, each of which
// names a field; all mistakes are reported at once. Unknown and repeated fields
// are mistakes.
func Parse(name string, data []byte) (*Scenario, error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var raw rawScenario
	unknown, err := kjson.UnmarshalStrict(asJSON, &raw)
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fmt.Errorf("%s: %s: a %s does not fit here, want %s", name, mismatch.Field, mismatch.Value, mismatch.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := parser{file: name, problems: unknown}
	s := p.scenario(&raw)
	if len(p.problems) > 0 {
		for i, problem := range p.problems {
			p.problems[i] = fmt.Errorf("%s: %w", name, problem)
		}
		return nil, errors.Join(p.problems...)
	}
	return s, nil
}

// parser turns text into values and collects what is wrong with it.
type parser struct {
	file     string
	problems []error
}

func (p *parser) scenario(raw *rawScenario) *Scenario {
	s := &Scenario{Name: raw.Name, Seed: raw.Seed, TimeScale: 5, Region: raw.Region, Images: raw.Images}
	if s.Name == "" {
		s.Name = strings.TrimSuffix(filepath.Base(p.file), filepath.Ext(p.file))
	}
	if raw.TimeScale != nil {
		s.TimeScale = *raw.TimeScale
	}
	p.check(s.TimeScale >= 0.1 && s.TimeScale <= 100, "timeScale", "%v is not between 0.1 and 100", s.TimeScale)
	p.check(s.Region != "", "region", "missing")
	s.NoticeLead = p.duration("noticeLead", raw.NoticeLead, 120*time.Second, time.Second)
	s.LaunchDelay = p.duration("launchDelay", raw.LaunchDelay, 40*time.Second, 0)
	s.EndpointDelay = p.duration("endpointDelay", raw.EndpointDelay, time.Second, 0)
	s.EndpointJitter = p.duration("endpointJitter", raw.EndpointJitter, 500*time.Millisecond, 0)
	p.check(s.EndpointJitter <= s.EndpointDelay, "endpointJitter", "%v is longer than endpointDelay, %v", s.EndpointJitter, s.EndpointDelay)
	s.PodStartDelay.Min = p.duration("podStartDelay.min", raw.PodStartDelay.Min, time.Second, 0)
	s.PodStartDelay.Max = p.duration("podStartDelay.max", raw.PodStartDelay.Max, max(3*time.Second, s.PodStartDelay.Min), 0)
	p.check(s.PodStartDelay.Min <= s.PodStartDelay.Max, "podStartDelay", "min %v is longer than max %v", s.PodStartDelay.Min, s.PodStartDelay.Max)
	for image, program := range raw.Images {
		p.check(program != "" && program == filepath.Base(program) && program != "..", "images."+image, "%q is not the name of a program in the bin folder", program)
	}
	p.pools(s, raw.Nodes)
	p.load(s, raw.Load)
	for i := range raw.Reclaims {
		p.reclaim(s, fmt.Sprintf("reclaims[%d]", i), &raw.Reclaims[i])
	}
	p.trace(s, raw.Trace)
	return s
}

func (p *parser) pools(s *Scenario, raw []rawPool) {
	p.check(len(raw) > 0, "nodes", "no node pool")
	nodes := 0
	for i, r := range raw {
		field := fmt.Sprintf("nodes[%d]", i)
		pool := NodePool{
			Name: r.Name, Pool: cmp.Or(r.Pool, r.Name), Zone: r.Zone, InstanceType: r.InstanceType, CapacityType: r.CapacityType,
			Count: r.Count, Pods: r.Pods,
			OnDemandPerHour: r.OnDemandPerHour, SpotPerHour: r.SpotPerHour,
			Labels: r.Labels, Taints: r.Taints,
			CPU:    p.quantity(field+".cpu", r.CPU),
			Memory: p.quantity(field+".memory", r.Memory),
		}
		_, twice := s.Pool(pool.Name)
		p.check(!twice, field+".name", "there are two pools named %q", pool.Name)
		p.check(len(validation.IsDNS1123Label(pool.Name)) == 0 && len(pool.Name) <= 40, field+".name", "%q is not a lower-case DNS label of at most 40 characters", pool.Name)
		p.check(len(validation.IsValidLabelValue(pool.Pool)) == 0, field+".pool", "%q is not the value of a label", pool.Pool)
		p.check(pool.Zone != "", field+".zone", "missing")
		p.check(pool.InstanceType != "", field+".instanceType", "missing")
		p.check(pool.CapacityType == Spot || pool.CapacityType == OnDemand, field+".capacityType", "%q is neither %s nor %s", pool.CapacityType, Spot, OnDemand)
		p.check(pool.Count >= 0 && pool.Count <= 1000, field+".count", "%d is not between 0 and 1000", pool.Count)
		p.check(pool.Pods > 0, field+".pods", "%d is not positive", pool.Pods)
		p.check(pool.OnDemandPerHour > 0, field+".onDemandPerHour", "%v is not a price in USD", pool.OnDemandPerHour)
		if pool.CapacityType == Spot {
			p.check(pool.SpotPerHour > 0, field+".spotPerHour", "%v is not a price in USD", pool.SpotPerHour)
		}
		for key, value := range pool.Labels {
			p.check(len(validation.IsQualifiedName(key))+len(validation.IsValidLabelValue(value)) == 0, field+".labels", "%s=%s is not a label", key, value)
			p.check(key != cluster.PoolLabel || value == pool.Pool, field+".labels", "%s=%s contradicts pool, which is %q", key, value, pool.Pool)
		}
		for j, t := range pool.Taints {
			at := fmt.Sprintf("%s.taints[%d]", field, j)
			p.check(len(validation.IsQualifiedName(t.Key))+len(validation.IsValidLabelValue(t.Value)) == 0, at, "%s=%s is not a taint", t.Key, t.Value)
			p.check(slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, t.Effect), at+".effect", "%q is not NoSchedule, PreferNoSchedule or NoExecute", t.Effect)
		}
		nodes += pool.Count
		s.Nodes = append(s.Nodes, pool)
	}
	p.check(nodes > 0 || len(raw) == 0, "nodes", "all pools have a count of 0: the rehearsal would start without nodes")
}

func (p *parser) load(s *Scenario, raw rawLoad) {
	s.Load = LoadSettings{
		Rate: raw.Rate, PostShare: raw.PostShare, NewConnShare: raw.NewConnShare,
		Timeout:  p.duration("load.timeout", raw.Timeout, 5*time.Second, time.Millisecond),
		WarmUp:   p.duration("load.warmUp", raw.WarmUp, 8*time.Second, 0),
		CoolDown: p.duration("load.coolDown", raw.CoolDown, 10*time.Second, 0),
	}
	p.check(raw.Rate > 0 && raw.Rate <= 100_000, "load.rate", "%v is not between 0 and 100000 requests a second", raw.Rate)
	p.check(share(raw.PostShare), "load.postShare", "%v is not a share from 0 to 1", raw.PostShare)
	p.check(share(raw.NewConnShare), "load.newConnShare", "%v is not a share from 0 to 1", raw.NewConnShare)
}

func (p *parser) reclaim(s *Scenario, field string, raw *rawReclaim) {
	r := Reclaim{
		At:   p.duration(field+".at", raw.At, -1, 0),
		Back: p.duration(field+".back", raw.Back, 0, s.NoticeLead),
		Zone: raw.Zone, Pool: raw.Pool, Nodes: raw.Nodes,
		Replace: Replacement{After: s.LaunchDelay, Count: -1},
	}
	p.check(raw.At != "", field+".at", "missing")
	targets := 0
	if r.Zone != "" {
		targets++
		known := slices.ContainsFunc(s.Nodes, func(n NodePool) bool { return n.Zone == r.Zone && n.CapacityType == Spot })
		p.check(known, field+".zone", "no spot pool is in zone %q", r.Zone)
	}
	if r.Pool != "" {
		targets++
		pool, ok := s.Pool(r.Pool)
		p.check(ok && pool.CapacityType == Spot, field+".pool", "%q is not a spot pool under nodes", r.Pool)
	}
	if len(r.Nodes) > 0 {
		targets++
	}
	p.check(targets == 1, field, "set one of zone, pool and nodes")
	if raw.Replace != nil {
		r.Replace.After = p.duration(field+".replace.after", raw.Replace.After, s.LaunchDelay, 0)
		r.Replace.Pool = raw.Replace.Pool
		if raw.Replace.Count != nil {
			r.Replace.Count = *raw.Replace.Count
			p.check(r.Replace.Count >= 0, field+".replace.count", "%d is negative", r.Replace.Count)
		}
		if r.Replace.Pool != "" {
			_, ok := s.Pool(r.Replace.Pool)
			p.check(ok, field+".replace.pool", "no pool is named %q", r.Replace.Pool)
		}
	}
	s.Reclaims = append(s.Reclaims, r)
}

func (p *parser) trace(s *Scenario, raw rawTrace) {
	s.Trace = TraceSettings{Zones: raw.Zones, Events: 3, KeepNodes: 2}
	if raw.Events != nil {
		s.Trace.Events = *raw.Events
	}
	if raw.KeepNodes != nil {
		s.Trace.KeepNodes = *raw.KeepNodes
	}
	s.Trace.Compress = p.duration("trace.compress", raw.Compress, s.NoticeLead+s.scaled(10*time.Second), time.Second)
	p.check(s.Trace.Events >= 1, "trace.events", "%d is not positive", s.Trace.Events)
	p.check(s.Trace.KeepNodes >= 0, "trace.keepNodes", "%d is negative", s.Trace.KeepNodes)
}

// check notes a problem with a field unless ok.
func (p *parser) check(ok bool, field, format string, args ...any) {
	if !ok {
		p.problems = append(p.problems, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
}

// maxDuration bounds every duration, so that scaling one cannot overflow.
const maxDuration = 30 * 24 * time.Hour

func (p *parser) duration(field, text string, def, least time.Duration) time.Duration {
	if text == "" {
		return def
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		p.check(false, field, `%q is not a duration like "120s"`, text)
		return def
	}
	p.check(d >= least && d <= maxDuration, field, "%v is not between %v and %v", d, least, maxDuration)
	return d
}

func (p *parser) quantity(field string, text rawQuantity) resource.Quantity {
	q, err := resource.ParseQuantity(string(text))
	if err != nil || q.Sign() <= 0 {
		p.check(false, field, "%q is not a positive quantity like 1930m or 7Gi", text)
	}
	return q
}

func share(v float64) bool { return v >= 0 && v <= 1 && !math.IsNaN(v) }
