package lifecyclekafka_test

import (
	"context"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecyclekafka "github.com/evenkeel-dev/evenkeel/lifecycle/kafka"
)

// The whole of main for a consumer. It cannot run here: it waits for SIGTERM.
func Example() {
	client, err := kgo.NewClient(append(lifecyclekafka.Options(),
		kgo.SeedBrokers("kafka:9092"), kgo.ConsumerGroup("analytics"), kgo.ConsumeTopics("trades"))...)
	if err != nil {
		log.Fatal(err)
	}
	l := lifecycle.New(lifecycle.Options{Addr: ":8081"})
	lifecyclekafka.Register(l, "trades", lifecyclekafka.Consumer{
		Client: client,
		Handle: func(ctx context.Context, records []*kgo.Record) error { return nil },
	})
	if err := l.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
