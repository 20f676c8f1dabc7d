package aws

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// NewClient returns an SQS client made from the plain AWS environment: the
// variables, shared files, web identity or instance role that every SDK program
// uses, AWS_ENDPOINT_URL included. An empty region means the environment's.
func NewClient(ctx context.Context, region string) (*sqs.Client, error) {
	c, err := load(ctx, region)
	if err != nil {
		return nil, err
	}
	return sqs.NewFromConfig(c), nil
}

// load reads the environment.
func load(ctx context.Context, region string) (aws.Config, error) {
	var options []func(*config.LoadOptions) error
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if c.Region == "" {
		return aws.Config{}, fmt.Errorf("loading the AWS configuration: no region is set")
	}
	return c, nil
}

// QueueURL returns the URL of a queue given by name, asking SQS, or by URL, as
// it is.
func QueueURL(ctx context.Context, client *sqs.Client, nameOrURL string) (string, error) {
	if strings.HasPrefix(nameOrURL, "https://") || strings.HasPrefix(nameOrURL, "http://") {
		return nameOrURL, nil
	}
	out, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(nameOrURL)})
	if err != nil {
		return "", fmt.Errorf("looking up queue %q: %w", nameOrURL, err)
	}
	return aws.ToString(out.QueueUrl), nil
}
