package rehearse

import (
	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// sdkEnv is how the unchanged AWS SDK of another process finds the cloud's
// stand-in.
func (s *stage) sdkEnv() []envVar {
	return []envVar{
		{"AWS_ENDPOINT_URL", s.cloud.URL()}, {"AWS_REGION", s.Scenario.Region},
		{"AWS_ACCESS_KEY_ID", "rehearsal"}, {"AWS_SECRET_ACCESS_KEY", "rehearsal"}, {"AWS_EC2_METADATA_DISABLED", "true"},
	}
}

// sqsClient returns an unchanged SDK client that speaks to the cloud's stand-in.
func (s *stage) sqsClient() *sqs.Client {
	return sqs.NewFromConfig(sdk.Config{
		Region:       s.Scenario.Region,
		BaseEndpoint: sdk.String(s.cloud.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider("rehearsal", "rehearsal", ""),
	})
}
