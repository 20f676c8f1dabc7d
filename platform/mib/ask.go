package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/api"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/client"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/history"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/quality"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/replay"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/texts"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/vectorstore"
)

func newAsk() *cobra.Command {
	var server string
	var k, days int
	c := &cobra.Command{
		Use:     "ask QUESTION",
		Short:   "Find passages and filings like a question, and what prices did after them",
		Example: `  mib ask "oil producers shutting in wells"`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{"q": {strings.Join(args, " ")}, "k": {strconv.Itoa(k)}, "days": {strconv.Itoa(days)}}
			var answer api.Answer
			if err := client.Get(c.Context(), server+"/v1/ask?"+q.Encode(), &answer); err != nil {
				return hint(err)
			}
			printAnswer(c.OutOrStdout(), answer)
			return nil
		},
	}
	serverFlag(c, &server)
	c.Flags().IntVar(&k, "k", 5, "how many passages and filings")
	c.Flags().IntVar(&days, "days", 60, "how long after them prices are looked at")
	return c
}

// hint says what to do about a server that is not there.
func hint(err error) error {
	if strings.Contains(err.Error(), "connection refused") {
		return fmt.Errorf("%w\nnothing answers there: start mib up, or name another place with a flag", err)
	}
	return err
}

func printAnswer(w io.Writer, a api.Answer) {
	if a.Synthetic {
		fmt.Fprintln(w, "All of this is generated; none of it was observed.")
	}
	if len(a.Passages) == 0 {
		fmt.Fprintln(w, "No passage is like it.")
	}
	for i, p := range a.Passages {
		fmt.Fprintf(w, "%d. %s  (%s)\n%s\n", i+1, p.Title, p.Source, wrap(p.Text, 88, "   "))
		for _, m := range p.Moves {
			fmt.Fprintf(w, "     %s\n", move(m))
		}
		fmt.Fprintln(w)
	}
	for _, sum := range a.Summary {
		fmt.Fprintf(w, "%-8s  in the %d days after: median %+.1f %%, from %+.1f to %+.1f %%, higher after %d of %d dates\n", sum.Symbol, a.Days, 100*sum.Median, 100*sum.Low, 100*sum.High, sum.Rose, sum.N)
	}
	if len(a.Summary) > 0 {
		fmt.Fprintln(w)
	}
	if len(a.Filings) > 0 {
		fmt.Fprintln(w, "Filings whose form or company has a word of the question (their texts are not in the sample):")
		for _, f := range a.Filings {
			fmt.Fprintf(w, "   %s  %s  (%s)\n", f.Date.Format(time.DateOnly), f.Title, f.Source)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, a.Note)
	if len(a.Passages) > 0 && len(a.Passages[0].Moves) > 0 {
		fmt.Fprintf(w, "Prices: %s. Of a passage only the month is known; days are counted from its end.\n", a.Passages[0].Moves[0].Source)
	}
}

func move(m history.Move) string {
	return fmt.Sprintf("%-8s  %8.2f on %s, %8.2f on %s: %+.1f %%  (%s)", m.Symbol, m.From.Close, m.From.Date.Format(time.DateOnly), m.To.Close, m.To.Date.Format(time.DateOnly), 100*m.Change, m.Unit)
}

// wrap breaks text into indented lines.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	b.WriteString(indent)
	n := 0
	for _, word := range strings.Fields(text) {
		if n > 0 && n+1+len(word) > width {
			b.WriteString("\n" + indent)
			n = 0
		}
		if n > 0 {
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}

func newSimilar() *cobra.Command {
	var server, at string
	c := &cobra.Command{
		Use:     "similar SYMBOL",
		Short:   "Find dates on which a price behaved like on a date, and what it did afterwards",
		Example: "  mib similar WTI --at 2020-03-09",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{"symbol": args, "at": {at}}
			var a api.Likeness
			if err := client.Get(c.Context(), server+"/v1/similar?"+q.Encode(), &a); err != nil {
				return hint(err)
			}
			w := c.OutOrStdout()
			fmt.Fprintf(w, "%s on %s was like:\n", a.Symbol, a.At.Format(time.DateOnly))
			for _, e := range a.Episodes {
				fmt.Fprintf(w, "   %s  distance %.2f", e.Date.Format(time.DateOnly), e.Distance)
				if e.After != nil {
					fmt.Fprintf(w, "   in the %d days after: %+.1f %%", a.Days, 100*e.After.Change)
				}
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "After %d of %d episodes the price was higher; the median is %+.1f %%, the range %+.1f to %+.1f %%.\n", a.Rose, a.Counted, 100*a.Median, 100*a.Low, 100*a.High)
			for _, symbol := range slices.Sorted(maps.Keys(a.Correlations)) {
				fmt.Fprintf(w, "Correlation with %s over the last 60 common days: %.2f\n", symbol, a.Correlations[symbol])
			}
			fmt.Fprintf(w, "%s\nPrices: %s. Nothing later than the date was used.\n", a.Note, a.Source)
			return nil
		},
	}
	serverFlag(c, &server)
	c.Flags().StringVar(&at, "at", "", "the `date`; the last one if empty")
	return c
}

func newWatch() *cobra.Command {
	var server string
	var all bool
	c := &cobra.Command{
		Use:   "watch",
		Short: "Show alerts as they come, and the prices behind them",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var live []api.Latest
			if err := client.Get(c.Context(), server+"/v1/live", &live); err != nil {
				return hint(err)
			}
			w := c.OutOrStdout()
			for _, l := range live {
				fmt.Fprintf(w, "%-10s %s %10.2f  RSI %3.0f  volatility %3.0f %%  %-8s  %s\n", l.Symbol, l.Time[:10], l.Price, l.RSI, 100*l.Volatility, l.Regime, l.Feed)
			}
			after := ""
			if all {
				after = client.All
			}
			return client.Alerts(c.Context(), server, after, func(a stream.Alert) {
				fmt.Fprintf(w, "%s  %-7s  %s  [%s; %s]\n", a.Time.Format(time.DateOnly), a.Kind, a.Message, a.Feed, a.Source)
			}, func(string) {
				fmt.Fprintln(w, "some older alerts are not kept any more")
			})
		},
	}
	serverFlag(c, &server)
	c.Flags().BoolVar(&all, "all", false, "begin with the oldest alert that is kept, not with the next")
	return c
}

func newReplay() *cobra.Command {
	var from, to, speed, broker, feed string
	var warm int
	var withTexts bool
	c := &cobra.Command{
		Use:     "replay",
		Short:   "Play the prices and texts of another time into the stream",
		Example: "  mib replay --from 2008-08 --to 2009-06 --speed 500000x",
		Long: `Play the prices of another time into the stream, as a feed of its own, and the texts
that came then. A text of which only the month is known comes when the month is over.

The year before --from is sent first, as fast as possible, so that it is known what
is usual. At 5000x a day takes 17 seconds; at 500000x a year takes a minute.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			begin, err := parseDate(from)
			if err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			end, err := parseDate(to)
			if err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			pace, err := replay.ParseSpeed(speed)
			if err != nil {
				return fmt.Errorf("--speed: %w", err)
			}
			sample, err := market.Load(os.Getenv("EVENKEEL_DATA"))
			if err != nil {
				return err
			}
			if feed == "" {
				feed = "replay-" + from + "-" + stream.NewID(time.Now())
			}
			before := replay.Ticks(sample, feed, begin.AddDate(0, 0, -warm), begin)
			ticks := replay.Ticks(sample, feed, begin, end)
			var documents []corpus.Document
			if withTexts {
				documents = replay.Between(corpus.Documents(sample), begin, end)
			}
			if len(ticks) == 0 {
				return fmt.Errorf("there are no prices from %s to %s", from, to)
			}
			brokers := strings.Split(broker, ",")
			producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordDeliveryTimeout(15*time.Second))
			if err != nil {
				return err
			}
			defer producer.Close()
			send := func(ctx context.Context, part []replay.Event) error {
				records := make([]*kgo.Record, len(part))
				for i, e := range part {
					var err error
					if e.Tick != nil {
						records[i], err = e.Tick.Record()
					} else {
						records[i], err = texts.Change{ID: e.Text.ID, Document: e.Text}.Record()
					}
					if err != nil {
						return err
					}
				}
				return producer.ProduceSync(ctx, records...).FirstErr()
			}
			reach, cancel := context.WithTimeout(c.Context(), 5*time.Second)
			defer cancel()
			if err := producer.Ping(reach); err != nil {
				return hint(fmt.Errorf("reaching a broker at %s: %w", broker, err))
			}
			begun := time.Now()
			if err := replay.Play(c.Context(), replay.Events(before, nil), 0, send); err != nil {
				return hint(err)
			}
			if err := replay.Play(c.Context(), replay.Events(ticks, documents), pace, send); err != nil {
				return hint(err)
			}
			fmt.Fprintf(c.OutOrStdout(), "played %d prices and %d texts from %s to %s in %.1f s, after %d prices of the year before, as feed %s\n", len(ticks), len(documents), from, to, time.Since(begun).Seconds(), len(before), feed)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&from, "from", "2008-08", "the first `month` or day")
	f.StringVar(&to, "to", "2009-06", "the `month` or day before which to stop")
	f.StringVar(&speed, "speed", "500000x", "how much `faster` than it happened; max for no pace at all")
	f.StringVar(&feed, "feed", "", "the `name` of the feed; a new one if empty. The same prices again in one feed are the same events")
	f.BoolVar(&withTexts, "texts", true, "send the texts, too; sent twice they are the same documents")
	f.IntVar(&warm, "warm-up", 365, "how many `days` before --from are sent first")
	brokers := os.Getenv("KAFKA_BROKERS")
	if brokers == "" {
		brokers = defaultBroker
	}
	f.StringVar(&broker, "brokers", brokers, "the `addresses` of brokers, with commas between; KAFKA_BROKERS if set")
	return c
}

func parseDate(s string) (time.Time, error) {
	if t, err := time.Parse("2006-01", s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a month like 2008-08 nor a day like 2008-08-15", s)
	}
	return t, nil
}

func newEval() *cobra.Command {
	return &cobra.Command{
		Use:   "eval",
		Short: "Measure the search on the queries of the sample",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			root := os.Getenv("EVENKEEL_DATA")
			if root == "" {
				return fmt.Errorf("there is nothing to measure: EVENKEEL_DATA does not name a folder with the market sample")
			}
			f, err := os.Open(filepath.Join(root, "market/text/eval-queries.tsv"))
			if err != nil {
				return err
			}
			defer f.Close()
			queries, err := quality.ReadQueries(f)
			if err != nil {
				return err
			}
			sample, err := market.Load(root)
			if err != nil {
				return err
			}
			docs := corpus.Documents(sample)
			var e embed.Embedder
			if e, err = newEmbedder(upOptions{}, os.Getenv, sample, docs); err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "mib-eval-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			s, err := store.Open(dir, e.Dim())
			if err != nil {
				return err
			}
			defer s.Close()
			if err := vectorstore.Fill(c.Context(), s, e, docs); err != nil {
				return err
			}
			scores, err := quality.Evaluate(c.Context(), s, e, queries)
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			fmt.Fprintf(w, "%d queries over %d documents\n%-18s %7s %7s %7s %10s\n", len(queries), s.Len(), "", "hit@1", "hit@10", "MRR@10", "a query")
			for _, x := range scores {
				fmt.Fprintf(w, "%-18s %7d %7d %7.3f %7.1f ms\n", x.Way, x.First, x.Ten, x.MRR, float64(x.PerQueryMean.Microseconds())/1000)
			}
			fmt.Fprintln(w, "Thirty queries are a smoke test, and how passages are cut was chosen by them.")
			return nil
		},
	}
}
