package cloud

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// queryOperation is one operation of the query protocol of EC2 and Auto Scaling:
// a form in, a value to be written as XML out.
type queryOperation struct {
	service string
	serve   func(form url.Values) (any, error)
}

const (
	serviceEC2         = "ec2"
	serviceAutoScaling = "autoscaling"

	// autoScalingVersion is how a request says which service it means: both are
	// at the same endpoint.
	autoScalingVersion = "2011-01-01"
)

// queryOperations is the table of what is served.
func (c *Cloud) queryOperations() map[string]queryOperation {
	return map[string]queryOperation{
		"DescribeInstances":              {serviceEC2, c.describeInstances},
		"TerminateInstances":             {serviceEC2, c.terminateInstances},
		"DescribeAutoScalingInstances":   {serviceAutoScaling, c.describeAutoScalingInstances},
		"DescribeAutoScalingGroups":      {serviceAutoScaling, c.describeAutoScalingGroups},
		"UpdateAutoScalingGroup":         {serviceAutoScaling, c.updateAutoScalingGroup},
		"CompleteLifecycleAction":        {serviceAutoScaling, c.completeLifecycleAction},
		"RecordLifecycleActionHeartbeat": {serviceAutoScaling, c.recordLifecycleActionHeartbeat},
	}
}

func (c *Cloud) serveQuery(w http.ResponseWriter, r *http.Request) {
	err := r.ParseForm()
	var out any
	action, service := r.PostForm.Get("Action"), serviceEC2
	if r.PostForm.Get("Version") == autoScalingVersion {
		service = serviceAutoScaling
	}
	if err != nil {
		err = refuse("MalformedQueryString", "%v", err)
	} else if op, ok := c.query[action]; ok && op.service == service {
		out, err = op.serve(r.PostForm)
	} else {
		err = refuse("InvalidAction", "The action %s is not valid for this web service.", action)
	}
	status := http.StatusOK
	if err != nil {
		refused := asAPIError(err)
		c.cfg.Log.Debug("request refused", "service", service, "operation", action, "err", refused)
		status = http.StatusBadRequest
		out = errorXML(service, refused, c.queues.newID())
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(xml.Header)) // the client is gone if this or the next fails
	_ = xml.NewEncoder(w).Encode(out)
}

// errorXML writes an error the way of the service: EC2 has a list of them in an
// element of its own.
func errorXML(service string, e *apiError, requestID string) any {
	type body struct {
		Type    string `xml:",omitempty"`
		Code    string
		Message string
	}
	if service == serviceAutoScaling {
		return struct {
			XMLName   xml.Name `xml:"ErrorResponse"`
			Error     body
			RequestID string `xml:"RequestId"`
		}{Error: body{"Sender", e.code, e.message}, RequestID: requestID}
	}
	return struct {
		XMLName   xml.Name `xml:"Response"`
		Errors    []body   `xml:"Errors>Error"`
		RequestID string
	}{Errors: []body{{"", e.code, e.message}}, RequestID: requestID}
}

// list reads the form's numbered values: prefix.1, prefix.2 and so on.
func list(form url.Values, prefix string) []string {
	var out []string
	for n := 1; ; n++ {
		key := prefix + "." + strconv.Itoa(n)
		if !form.Has(key) {
			return out
		}
		out = append(out, form.Get(key))
	}
}

// page cuts the part of items that a request with a limit and a token asks for.
// The token is the number of items that came before.
func page[T any](items []T, limit, token string) (part []T, next string, err error) {
	from := 0
	if token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 0 || from > len(items) {
			return nil, "", errors.New("the token is invalid")
		}
	}
	items = items[from:]
	if limit == "" {
		return items, "", nil
	}
	n, err := strconv.Atoi(limit)
	if err != nil || n < 1 {
		return nil, "", fmt.Errorf("%q is not a page size", limit)
	}
	if n >= len(items) {
		return items, "", nil
	}
	return items[:n], strconv.Itoa(from + n), nil
}
