module github.com/evenkeel-dev/evenkeel/lifecycle/grpc

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	github.com/evenkeel-dev/evenkeel/lifecycle v0.0.0
	google.golang.org/grpc v1.82.1
	google.golang.org/protobuf v1.36.12
)

require (
	go.opentelemetry.io/otel v1.44.0 // indirect
	go.opentelemetry.io/otel/sdk/metric v1.44.0 // indirect
	golang.org/x/net v0.59.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260526163538-3dc84a4a5aaa // indirect
)

replace github.com/evenkeel-dev/evenkeel/lifecycle => ../
