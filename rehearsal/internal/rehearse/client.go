package rehearse

import (
	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// sqsClient returns an unchanged SDK client that speaks to the cloud's stand-in.
func (s *stage) sqsClient() *sqs.Client {
	return sqs.NewFromConfig(sdk.Config{
		Region:       s.Scenario.Region,
		BaseEndpoint: sdk.String(s.cloud.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider("rehearsal", "rehearsal", ""),
	})
}
