package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// object is JSON that is changed without knowing all of it.
type object = map[string]any

// mergeOpenAPI makes one description of those of single files, and says in it what
// the rules of google.api.http cannot: how errors look, that streams are server-sent
// events, and that what was recorded is answered 201.
func mergeOpenAPI(parts, to string) error {
	names, err := filepath.Glob(filepath.Join(parts, "mib/v1/*.openapi.json"))
	if err != nil || len(names) == 0 {
		return fmt.Errorf("merging OpenAPI: %d parts in %s, %v", len(names), parts, err)
	}
	all := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Market Intel Brain", "version": "v1",
			"description": "The JSON routes of the gateway. Generated from proto/mib/v1. A similarity compares texts or dates within one answer: it is no prediction.",
		},
		"paths": object{}, "security": []any{object{}, object{"bearer": []any{}}, object{"header": []any{}}},
		"components": object{
			"securitySchemes": object{
				"bearer": object{"type": "http", "scheme": "bearer"},
				"header": object{"type": "apiKey", "in": "header", "name": "X-API-Key"},
			},
			"schemas": object{"Error": object{
				"type": "object", "required": []any{"error"},
				"properties": object{"error": object{"type": "object", "required": []any{"code", "message"}, "properties": object{
					"code":    object{"type": "string", "description": "For programs; does not change."},
					"field":   object{"type": "string", "description": "What in the request is wrong; absent if none is."},
					"message": object{"type": "string", "description": "For people."},
				}}},
			}},
		},
	}
	slices.Sort(names)
	schemas := all["components"].(object)["schemas"].(object)
	paths := all["paths"].(object)
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			return err
		}
		var part object
		if err := json.Unmarshal(b, &part); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		maps.Copy(paths, part["paths"].(object))
		maps.Copy(schemas, part["components"].(object)["schemas"].(object))
	}
	delete(schemas, "google.rpc.Status")
	delete(schemas, "google.protobuf.Any")
	problem := object{"description": "What is wrong.", "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}}
	for _, p := range paths {
		for _, o := range p.(object) {
			op := o.(object)
			answers := op["responses"].(object)
			answers["default"] = problem
			ok := answers["200"].(object)
			if content, _ := ok["content"].(object); streams(content) {
				answers["200"] = object{
					"description": "Server-sent events, until the replica ends or the client goes. Last-Event-ID resumes them at any replica.",
					"content":     object{"text/event-stream": object{"schema": object{"type": "string"}}},
				}
			}
			if op["requestBody"] != nil {
				answers["201"] = ok
				delete(answers, "200")
				parameters, _ := op["parameters"].([]any)
				op["parameters"] = append(parameters, object{
					"name": "Idempotency-Key", "in": "header", "schema": object{"type": "string"},
					"description": "Stands for the id, if that is empty.",
				})
			}
		}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(all); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}

// streams reports whether an answer is one of several, which the generator wraps in
// an object with result and error.
func streams(content object) bool {
	j, _ := content["application/json"].(object)
	schema, _ := j["schema"].(object)
	properties, _ := schema["properties"].(object)
	return properties["result"] != nil && properties["error"] != nil
}
