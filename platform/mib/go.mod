module github.com/evenkeel-dev/evenkeel/platform/mib

go 1.26.0

require (
	github.com/kljensen/snowball v0.10.0
	github.com/markcheno/go-talib v0.0.0-20250114000313-ec55a20c902f
	github.com/viterin/vek v0.4.3
)

require (
	github.com/chewxy/math32 v1.10.1 // indirect
	github.com/evenkeel-dev/evenkeel/lifecycle v0.0.0
	github.com/viterin/partial v1.1.0 // indirect
	golang.org/x/exp v0.0.0-20230817173708-d852ddb80c63 // indirect
	golang.org/x/sys v0.11.0 // indirect
)

replace (
	github.com/evenkeel-dev/evenkeel/lifecycle => ../../lifecycle
	github.com/evenkeel-dev/evenkeel/lifecycle/kafka => ../../lifecycle/kafka
)
