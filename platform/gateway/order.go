package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// order is what the engine is asked to record. One that readOrder returned is
// valid.
type order struct {
	ID       string `json:"id"`
	Symbol   string `json:"symbol"`
	Quantity int64  `json:"quantity"`
}

// maxQuantity bounds an order; more is a slip of the finger.
const maxQuantity = 1_000_000

// problem is an answer that is an error.
type problem struct {
	status  int
	Code    string `json:"code"`            // for programs; does not change
	Field   string `json:"field,omitempty"` // what in the request is wrong
	Message string `json:"message"`         // for people
}

func (p *problem) write(w http.ResponseWriter, requestID string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	// An error means that the client has gone.
	_ = json.NewEncoder(w).Encode(struct {
		Error     *problem `json:"error"`
		RequestID string   `json:"request_id"`
	}{p, requestID})
}

func invalidField(field, message string) *problem {
	return &problem{status: http.StatusBadRequest, Code: "invalid_field", Field: field, Message: message}
}

func invalidBody(message string) *problem {
	return &problem{status: http.StatusBadRequest, Code: "invalid_body", Message: message}
}

// readOrder reads and checks the body of a request.
func readOrder(w http.ResponseWriter, r *http.Request) (order, *problem) {
	if ct := r.Header.Get("Content-Type"); ct != "" {
		if media, _, err := mime.ParseMediaType(ct); err != nil || media != "application/json" {
			return order{}, &problem{status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Message: "an order is application/json"}
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return order{}, &problem{status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Message: fmt.Sprintf("an order has at most %d bytes", maxBody)}
	}
	if err != nil {
		return order{}, invalidBody("the body broke off")
	}
	return parseOrder(body)
}

// parseOrder decodes an order and names the field that is wrong with it.
func parseOrder(body []byte) (order, *problem) {
	var raw struct { // pointers, to tell what is missing from what is zero
		ID       *string `json:"id"`
		Symbol   *string `json:"symbol"`
		Quantity *int64  `json:"quantity"`
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&raw); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && wrongType.Field != "" {
			return order{}, invalidField(wrongType.Field, fmt.Sprintf("must be %s, not %s", kindNames[wrongType.Field], wrongType.Value))
		}
		// encoding/json has no type for this error.
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return order{}, invalidField(strings.Trim(name, `"`), "is not a field of an order")
		}
		return order{}, invalidBody("the body is not a JSON object: " + err.Error())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return order{}, invalidBody("the body has more than one JSON value")
	}
	switch {
	case raw.ID == nil:
		return order{}, invalidField("id", "is required")
	case !printable(*raw.ID) || len(*raw.ID) < 1 || len(*raw.ID) > 128:
		return order{}, invalidField("id", "must be 1 to 128 printable ASCII characters without spaces")
	case raw.Symbol == nil:
		return order{}, invalidField("symbol", "is required")
	case raw.Quantity == nil:
		return order{}, invalidField("quantity", "is required")
	case *raw.Quantity < 1 || *raw.Quantity > maxQuantity:
		return order{}, invalidField("quantity", fmt.Sprintf("must be from 1 to %d", maxQuantity))
	}
	if p := checkSymbol(*raw.Symbol); p != nil {
		return order{}, p
	}
	return order{*raw.ID, *raw.Symbol, *raw.Quantity}, nil
}

// kindNames says what a field must be, in a user's words.
var kindNames = map[string]string{"id": "a string", "symbol": "a string", "quantity": "a whole number"}

func checkSymbol(s string) *problem {
	if s == "" {
		return invalidField("symbol", "is required")
	}
	ok := len(s) <= 16
	for _, c := range []byte(s) {
		ok = ok && ('A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '=')
	}
	if !ok {
		return invalidField("symbol", "must be 1 to 16 of A-Z, 0-9, '.', '-' and '='")
	}
	return nil
}
