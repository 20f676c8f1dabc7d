package spec

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// A scalar is a value that is written as one word. Reading it and describing it
// to editors are kept together, so that the parser and the JSON Schema agree.
type scalar interface {
	// parse reads the word; on a mistake it returns what is wrong and the fix.
	parse(word string) (problem, fix string)
	// pattern is the regular expression that the schema gives to editors.
	pattern() string
}

// duration is a time span with its unit, in whole seconds: pods, nodes and
// clouds count in seconds, and a fraction would be cut off silently later.
type duration time.Duration

func (d *duration) parse(word string) (string, string) {
	if _, err := strconv.ParseFloat(word, 64); err == nil {
		return fmt.Sprintf("%s has no unit", word), fmt.Sprintf("write %ss for seconds or %sm for minutes", word, word)
	}
	v, err := time.ParseDuration(word)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not a duration", clip(word)), "write a number with a unit, such as 30s or 5m"
	case v < 0:
		return fmt.Sprintf("%s is negative", word), "write a duration of zero or more"
	case v%time.Second != 0:
		return fmt.Sprintf("%s is not a whole number of seconds", word), fmt.Sprintf("write %s", v.Round(time.Second))
	case v > 10000*time.Hour:
		return fmt.Sprintf("%s is more than a year", word), "write a shorter duration"
	}
	*d = duration(v)
	return "", ""
}

func (*duration) pattern() string { return `^([0-9]+h)?([0-9]+m)?([0-9]+s)?$` }

// Count is a number of replicas: absolute, or a percentage of the replicas that
// there are.
type Count struct {
	N       int
	Percent bool
}

// String returns the count as Kubernetes writes it: 2 or 25%.
func (c Count) String() string {
	if c.Percent {
		return strconv.Itoa(c.N) + "%"
	}
	return strconv.Itoa(c.N)
}

// Of returns how many of the given replicas the count means. Kubernetes rounds
// percentages up, both for minAvailable and for maxUnavailable.
func (c Count) Of(replicas int) int {
	if !c.Percent {
		return c.N
	}
	return (c.N*replicas + 99) / 100
}

func (c *Count) parse(word string) (string, string) {
	digits, percent := strings.CutSuffix(word, "%")
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil:
		fix := "write a number of replicas such as 2, or a percentage such as 25%"
		if f, err := strconv.ParseFloat(digits, 64); err == nil && f > 0 && f < 1 && !percent {
			fix = fmt.Sprintf("write %.0f%% for the share", f*100)
		}
		return fmt.Sprintf("%q is neither a whole number nor a percentage", clip(word)), fix
	case n < 0:
		return word + " is negative", "write zero or more"
	case percent && n > 100:
		return word + " is more than all replicas", "write a percentage from 0% to 100%"
	case n > 100000:
		return word + " replicas is out of range", "write at most 100000"
	}
	*c = Count{N: n, Percent: percent}
	return "", ""
}

func (*Count) pattern() string { return `^([0-9]{1,6}|([0-9]{1,2}|100)%)$` }

// cpu is an amount of processor time in cores or millicores.
type cpu struct{ resource.Quantity }

func (q *cpu) parse(word string) (string, string) {
	v, problem := quantity(word)
	if problem != "" {
		return problem, "write cores such as 0.5 or 2, or millicores such as 250m"
	}
	switch {
	case v.Cmp(resource.MustParse("448")) > 0:
		return word + " is more cores than any machine has", fmt.Sprintf("write %sm for millicores", strings.TrimRight(word, "mM"))
	case v.MilliValue() < 1:
		return word + " is less than one millicore", "write at least 1m"
	}
	q.Quantity = v
	return "", ""
}

func (*cpu) pattern() string { return `^([0-9]+m|[0-9]+(\.[0-9]+)?)$` }

// memory is an amount of memory or storage with its unit.
type memory struct{ resource.Quantity }

func (q *memory) parse(word string) (string, string) {
	v, problem := quantity(word)
	switch {
	case problem != "":
		return problem, "write an amount with a unit, such as 256Mi or 2Gi"
	case strings.HasSuffix(word, "m"):
		return word + " means thousandths of a byte", fmt.Sprintf("write %sMi for mebibytes", strings.TrimSuffix(word, "m"))
	case v.Cmp(resource.MustParse("1Mi")) < 0:
		return word + " is less than a mebibyte", fmt.Sprintf("write the unit, such as %sMi", strings.TrimRight(word, "kKi"))
	case v.Cmp(resource.MustParse("64Ti")) > 0:
		return word + " is more than 64Ti", "write a smaller amount"
	}
	q.Quantity = v
	return "", ""
}

func (*memory) pattern() string { return `^[0-9]+(\.[0-9]+)?(Mi|Gi|Ti|M|G|T)$` }

func quantity(word string) (resource.Quantity, string) {
	// The quantity parser accepts exponents, and 1e999999999 costs it minutes.
	if len(word) > 20 || strings.ContainsAny(word, "eE") {
		return resource.Quantity{}, fmt.Sprintf("%q is not an amount", clip(word))
	}
	v, err := resource.ParseQuantity(word)
	if err != nil || v.Sign() < 0 {
		return resource.Quantity{}, fmt.Sprintf("%q is not an amount", clip(word))
	}
	return v, ""
}

// A format is the form of a name that another system will check later. Checked
// here, the mistake has a line number.
type format struct {
	re   *regexp.Regexp
	max  int
	hint string
}

// formats returns the named formats that `format` tags refer to.
func formats(name string) format {
	switch name {
	case "dns": // RFC 1123 label
		return format{dnsLabel, 63, "write lower-case letters, digits and dashes, such as my-service"}
	case "zone":
		return format{zoneName, 32, "write a zone of the region, such as us-east-1a"}
	case "instance":
		return format{instanceType, 32, "write an instance type such as m5.large"}
	case "version":
		return format{minorVersion, 8, `write a minor version in quotes, such as "1.35"`}
	case "path":
		return format{urlPath, 200, "write an absolute path such as /readyz"}
	case "image":
		return format{imageRef, 300, "write registry/name:tag without spaces"}
	case "env":
		return format{envName, 100, "write a variable name such as ENGINE_URL"}
	case "label":
		return format{labelKey, 317, "write a label key such as example.com/team"}
	case "labelvalue":
		return format{labelValue, 63, "write at most 63 letters, digits, dashes, dots and underscores"}
	case "url":
		return format{httpURL, 500, "write a URL such as http://prometheus.monitoring:9090"}
	case "email":
		return format{email, 254, "write an address such as oncall@example.com"}
	case "cron":
		return format{cron, 100, "write five cron fields in quotes, such as \"0 8 * * 1-5\""}
	}
	panic("spec: no format " + name) // a tag in raw.go is misspelt; the tests read every tag
}

var (
	dnsLabel     = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	zoneName     = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	instanceType = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9-]+$`)
	minorVersion = regexp.MustCompile(`^1\.[0-9]{2}$`)
	urlPath      = regexp.MustCompile(`^/[!-~]*$`)
	imageRef     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`)
	envName      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	labelKey     = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	labelValue   = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`)
	httpURL      = regexp.MustCompile(`^https?://[^\s/]+[^\s]*$`)
	email        = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)
	cron         = regexp.MustCompile(`^[0-9*/,-]+( [0-9A-Za-z*/,-]+){4}$`)
)

// clip shortens a word that is repeated back in a message.
func clip(word string) string {
	if len(word) > 40 {
		return strings.ToValidUTF8(word[:40], "") + "..."
	}
	return word
}
