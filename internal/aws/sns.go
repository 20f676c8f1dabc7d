package aws

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// SNS publishes to one topic. Use NewSNS to make one.
type SNS struct {
	client *sns.Client
	topic  string
}

// NewSNS returns the SNS of a topic, given by its ARN. The ARN's region is where
// it is published.
func NewSNS(ctx context.Context, topic string) (*SNS, error) {
	a, err := ParseTopic(topic)
	if err != nil {
		return nil, err
	}
	c, err := load(ctx, a.Region)
	if err != nil {
		return nil, err
	}
	return &SNS{sns.NewFromConfig(c), topic}, nil
}

// ParseTopic reads a topic's ARN.
func ParseTopic(topic string) (arn.ARN, error) {
	a, err := arn.Parse(topic)
	if err != nil || a.Service != "sns" || a.Region == "" {
		return arn.ARN{}, fmt.Errorf("%q is not the ARN of an SNS topic, such as arn:aws:sns:eu-west-1:123456789012:platform", topic)
	}
	return a, nil
}

// Publish sends text to the subscribers who are people, by e-mail and text
// message, and data to the ones that are programs.
func (s *SNS) Publish(ctx context.Context, subject, text, data string) error {
	message, err := json.Marshal(map[string]string{"default": text, "sqs": data, "lambda": data, "http": data, "https": data, "firehose": data})
	if err != nil {
		return fmt.Errorf("publishing to SNS: %w", err)
	}
	if _, err := s.client.Publish(ctx, &sns.PublishInput{
		TopicArn: &s.topic, Subject: aws.String(plain(subject)), Message: aws.String(string(message)), MessageStructure: aws.String("json"),
	}); err != nil {
		return fmt.Errorf("publishing to SNS: %w", err)
	}
	return nil
}

// plain makes a subject that SNS takes: up to 100 printable ASCII characters.
func plain(s string) string {
	out := make([]byte, 0, 100)
	for _, r := range s {
		if len(out) == cap(out) {
			break
		}
		if r < ' ' || r > '~' {
			r = '?'
		}
		out = append(out, byte(r))
	}
	return string(out)
}
