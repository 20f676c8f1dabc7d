package snapshot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/evenkeel-dev/evenkeel/lifecycle/snapshot"
)

// The replacement begins where the process before it ended. In a service the
// first half is in OnStart, and the second in OnSave.
func ExampleStore() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store := snapshot.Store{Dir: dir, Name: "prices"}

	for range 2 {
		prices := map[string]float64{}
		info, err := store.Load(func(info snapshot.Info, r io.Reader) error {
			if info.Version != 1 {
				return fmt.Errorf("version %d is unknown", info.Version)
			}
			clear(prices)
			return json.NewDecoder(r).Decode(&prices)
		})
		if err != nil && !errors.Is(err, snapshot.ErrNone) {
			log.Fatal(err)
		}
		next := info.Offsets["trades/0"]
		fmt.Println("going on from", next, "with", prices)

		prices["WTI"] = 71.5
		if err := store.Save(context.Background(), snapshot.Info{Version: 1, Offsets: map[string]int64{"trades/0": next + 42}},
			func(w io.Writer) error { return json.NewEncoder(w).Encode(prices) }); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// going on from 0 with map[]
	// going on from 42 with map[WTI:71.5]
}
