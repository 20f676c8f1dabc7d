package cloud

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

type createQueueInput struct {
	QueueName  string
	Attributes map[string]string
}

func (c *Cloud) createQueue(_ context.Context, in createQueueInput) (any, error) {
	if !validQueueName(in.QueueName) {
		return nil, invalid("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	s := defaultSettings
	if err := s.apply(in.Attributes); err != nil {
		return nil, err
	}
	if err := c.checkRedrive(in.QueueName, s, in.Attributes); err != nil {
		return nil, err
	}
	if err := c.queues.create(in.QueueName, s); err != nil {
		return nil, err
	}
	return map[string]string{"QueueUrl": c.queueURL(in.QueueName)}, nil
}

type queueNameInput struct{ QueueName string }

func (c *Cloud) getQueueURL(_ context.Context, in queueNameInput) (any, error) {
	err := c.queues.with(in.QueueName, func(*liveQueue) error { return nil })
	return map[string]string{"QueueUrl": c.queueURL(in.QueueName)}, err
}

type queueURLInput struct{ QueueUrl string }

func (c *Cloud) purgeQueue(_ context.Context, in queueURLInput) (any, error) {
	return nil, c.queues.with(queueName(in.QueueUrl), func(q *liveQueue) error {
		q.purge()
		return nil
	})
}

type setAttributesInput struct {
	QueueUrl   string
	Attributes map[string]string
}

func (c *Cloud) setQueueAttributes(_ context.Context, in setAttributesInput) (any, error) {
	name := queueName(in.QueueUrl)
	var s settings
	if err := s.apply(in.Attributes); err != nil {
		return nil, err
	}
	if err := c.checkRedrive(name, s, in.Attributes); err != nil {
		return nil, err
	}
	return nil, c.queues.with(name, func(q *liveQueue) error {
		q.modified = time.Now()
		defer q.wake()
		return q.settings.apply(in.Attributes)
	})
}

// checkRedrive refuses a dead-letter queue that is not there. Outside the lock:
// queues are never removed.
func (c *Cloud) checkRedrive(name string, s settings, attributes map[string]string) error {
	if attributes["RedrivePolicy"] == "" {
		return nil
	}
	if s.deadLetters == name {
		return invalid("Value %s for parameter RedrivePolicy is invalid. Reason: Dead letter target cannot be the queue itself.", attributes["RedrivePolicy"])
	}
	if c.queues.with(s.deadLetters, func(*liveQueue) error { return nil }) != nil {
		return invalid("Value %s for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.", attributes["RedrivePolicy"])
	}
	return nil
}

type getAttributesInput struct {
	QueueUrl       string
	AttributeNames []string
}

func (c *Cloud) getQueueAttributes(_ context.Context, in getAttributesInput) (any, error) {
	var all map[string]string
	err := c.queues.with(queueName(in.QueueUrl), func(q *liveQueue) error {
		all = c.attributesOf(q)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !slices.Contains(in.AttributeNames, "All") {
		for _, name := range in.AttributeNames {
			if _, ok := all[name]; !ok && name != "RedrivePolicy" {
				return nil, refuse("InvalidAttributeName", "Unknown Attribute %s.", name)
			}
		}
		maps.DeleteFunc(all, func(name, _ string) bool { return !slices.Contains(in.AttributeNames, name) })
	}
	return map[string]any{"Attributes": all}, nil
}

// attributesOf writes a queue's attributes. The lock is held.
func (c *Cloud) attributesOf(q *liveQueue) map[string]string {
	stats := q.stats(time.Now())
	count := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	all := map[string]string{
		"QueueArn":                              c.queueARN(q.name),
		"CreatedTimestamp":                      strconv.FormatInt(q.created.Unix(), 10),
		"LastModifiedTimestamp":                 strconv.FormatInt(q.modified.Unix(), 10),
		"VisibilityTimeout":                     count(q.settings.visibility),
		"MessageRetentionPeriod":                count(q.settings.retention),
		"DelaySeconds":                          count(q.settings.delay),
		"ReceiveMessageWaitTimeSeconds":         count(q.settings.wait),
		"MaximumMessageSize":                    strconv.Itoa(q.settings.maxBody),
		"ApproximateNumberOfMessages":           strconv.Itoa(stats.Visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(stats.InFlight),
		"ApproximateNumberOfMessagesDelayed":    strconv.Itoa(stats.Delayed),
	}
	if q.settings.deadLetters != "" {
		policy, _ := json.Marshal(redrivePolicy{c.queueARN(q.settings.deadLetters), json.Number(strconv.Itoa(q.settings.maxReceives))})
		all["RedrivePolicy"] = string(policy)
	}
	return all
}

func (c *Cloud) queueARN(name string) string {
	return strings.Join([]string{"arn:aws:sqs", c.cfg.Region, c.cfg.Account, name}, ":")
}

// redrivePolicy is the JSON inside the RedrivePolicy attribute. The count comes
// as a number from some clients and as a string from others.
type redrivePolicy struct {
	DeadLetterTargetARN string      `json:"deadLetterTargetArn"`
	MaxReceiveCount     json.Number `json:"maxReceiveCount"`
}

// apply changes the settings that attributes name, or refuses them all.
func (s *settings) apply(attributes map[string]string) error {
	next := *s
	for name, value := range attributes {
		var err error
		switch name {
		case "VisibilityTimeout":
			next.visibility, err = secondsIn(name, value, 0, maxVisibility)
		case "MessageRetentionPeriod":
			next.retention, err = secondsIn(name, value, 60, 14*24*60*60)
		case "DelaySeconds":
			next.delay, err = secondsIn(name, value, 0, maxDelay)
		case "ReceiveMessageWaitTimeSeconds":
			next.wait, err = secondsIn(name, value, 0, maxWait)
		case "MaximumMessageSize":
			next.maxBody, err = strconv.Atoi(value)
			if err != nil || next.maxBody < 1024 || next.maxBody > 1<<20 {
				err = badAttribute(name, value)
			}
		case "RedrivePolicy":
			next.deadLetters, next.maxReceives, err = parseRedrive(value)
		case "Policy", "SqsManagedSseEnabled", "KmsMasterKeyId":
			// Access and encryption: accepted, and without effect here.
		default:
			err = refuse("InvalidAttributeName", "Unknown Attribute %s.", name)
		}
		if err != nil {
			return err
		}
	}
	*s = next
	return nil
}

func secondsIn(name, value string, least, most int) (time.Duration, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, badAttribute(name, value)
	}
	return time.Duration(n) * time.Second, nil
}

func badAttribute(name, value string) error {
	return refuse("InvalidAttributeValue", "Invalid value %q for the parameter %s.", value, name)
}

func parseRedrive(value string) (queue string, maxReceives int, err error) {
	if value == "" {
		return "", 0, nil // takes the policy away
	}
	var p redrivePolicy
	if json.Unmarshal([]byte(value), &p) != nil {
		return "", 0, badAttribute("RedrivePolicy", value)
	}
	n, err := strconv.Atoi(p.MaxReceiveCount.String())
	if err != nil || n < 1 || n > 1000 || p.DeadLetterTargetARN == "" {
		return "", 0, badAttribute("RedrivePolicy", value)
	}
	return p.DeadLetterTargetARN[strings.LastIndexByte(p.DeadLetterTargetARN, ':')+1:], n, nil
}
