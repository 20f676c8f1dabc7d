package price

import (
	"fmt"
	"strconv"
	"strings"
)

// Micros is an amount in millionths of a US dollar. Money is counted in whole
// ones, so that sums do not depend on their order.
type Micros int64

// Dollar is one US dollar.
const Dollar Micros = 1_000_000

// maxPerHour bounds what a machine may cost an hour. The dearest published one
// costs a few hundred dollars; what is beyond is a mistake in a file.
const maxPerHour = 10_000 * Dollar

// ParseUSD reads a plain decimal amount such as 0.096 without a detour through
// floating point. Digits beyond the sixth are rounded half up.
func ParseUSD(s string) (Micros, error) {
	whole, fraction, point := strings.Cut(s, ".")
	if (whole == "" && fraction == "") || (point && fraction == "") || !digits(whole) || !digits(fraction) || len(whole) > 9 {
		return 0, fmt.Errorf("%q is not an amount in US dollars", s)
	}
	var m Micros
	for _, c := range whole {
		m = m*10 + Micros(c-'0')
	}
	for i := range 6 {
		m *= 10
		if i < len(fraction) {
			m += Micros(fraction[i] - '0')
		}
	}
	if len(fraction) > 6 && fraction[6] >= '5' {
		m++
	}
	return m, nil
}

// parsePerHour reads the price of an hour: an amount, above zero and plausible.
func parsePerHour(s string) (Micros, error) {
	m, err := ParseUSD(s)
	switch {
	case err != nil:
		return 0, err
	case m == 0 || m > maxPerHour:
		return 0, fmt.Errorf("%q is not a price of a machine-hour: want more than 0, at most %s", s, maxPerHour)
	}
	return m, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// USD returns the amount in dollars, for ratios and pictures.
func (m Micros) USD() float64 { return float64(m) / float64(Dollar) }

// String returns the amount in dollars with four to six decimals: prices of
// machines are published with four.
func (m Micros) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	fraction := fmt.Sprintf("%06d", m%Dollar)
	for len(fraction) > 4 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	return sign + strconv.FormatInt(int64(m/Dollar), 10) + "." + fraction
}

// Cents returns the amount in dollars with two decimals, rounded half away from
// zero: for bills.
func (m Micros) Cents() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	cents := (m + Dollar/200) / (Dollar / 100)
	return fmt.Sprintf("%s%d.%02d", sign, cents/100, cents%100)
}

// Less returns m reduced by a share in percent, rounded to the nearest.
func (m Micros) Less(percent int) Micros { return (m*Micros(100-percent) + 50) / 100 }

// MarshalJSON writes the amount as a number of dollars.
func (m Micros) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }
