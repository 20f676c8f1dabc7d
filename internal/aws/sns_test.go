package aws

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestSNS publishes to a stand-in for SNS, and reads what arrives.
func TestSNS(t *testing.T) {
	var got url.Values
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		got = r.PostForm
		w.Header().Set("Content-Type", "text/xml")
		_, _ = w.Write([]byte(`<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>`))
	}))
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	const topic = "arn:aws:sns:eu-west-1:123456789012:platform"
	s, err := NewSNS(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), "3 nodes\nnoticed "+strings.Repeat("é", 200), "text", `{"count":3}`); err != nil {
		t.Fatal(err)
	}
	var message map[string]string
	if err := json.Unmarshal([]byte(got.Get("Message")), &message); err != nil {
		t.Fatal(err)
	}
	if message["default"] != "text" || message["lambda"] != `{"count":3}` || got.Get("TopicArn") != topic || got.Get("MessageStructure") != "json" {
		t.Errorf("published %v", got)
	}
	if subject := got.Get("Subject"); len(subject) != 100 || !strings.HasPrefix(subject, "3 nodes?noticed ??") {
		t.Errorf("subject %q", subject)
	}
}

func TestParseTopic(t *testing.T) {
	for _, bad := range []string{"", "platform", "arn:aws:sqs:eu-west-1:123456789012:platform", "arn:aws:sns::123456789012:platform"} {
		if _, err := ParseTopic(bad); err == nil {
			t.Errorf("%q was taken for a topic", bad)
		}
	}
}
