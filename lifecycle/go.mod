module github.com/evenkeel-dev/evenkeel/lifecycle

go 1.26.0
