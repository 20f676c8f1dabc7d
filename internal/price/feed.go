package price

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// ReadAdvisorFeed reads the feed behind AWS's Spot Instance Advisor and puts what
// it says of a region's Linux machines into a table: of these types, or of all if
// none are named.
func ReadAdvisorFeed(r io.Reader, region string, types []string, date time.Time, source string, t *Table) error {
	var feed struct {
		SpotAdvisor map[string]map[string]map[string]struct {
			Saving int `json:"s"`
			Band   int `json:"r"`
		} `json:"spot_advisor"`
	}
	if err := json.NewDecoder(r).Decode(&feed); err != nil {
		return fmt.Errorf("reading the spot advisor's feed: %w", err)
	}
	systems, ok := feed.SpotAdvisor[region]
	if !ok {
		return fmt.Errorf("reading the spot advisor's feed: it does not know region %q", region)
	}
	for instanceType, v := range systems["Linux"] {
		if len(types) > 0 && !slices.Contains(types, instanceType) {
			continue
		}
		if instanceType == "" || v.Saving > 99 || v.Saving < -1000 || !Band(v.Band).Valid() {
			return fmt.Errorf("reading the spot advisor's feed: %q in %s saves %d %%, band %d", instanceType, region, v.Saving, v.Band)
		}
		t.AddAdvice(instanceType, region, Advice{SavingPercent: v.Saving, Band: Band(v.Band), Date: date, Source: source})
	}
	return nil
}
