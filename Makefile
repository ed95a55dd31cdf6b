# Everything here is a shorthand; plain `go build .` and `go test ./...` work.
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS   = -s -w -X github.com/prometheus/common/version.Version=$(VERSION) -X github.com/prometheus/common/version.Revision=$(REVISION)
LINT      = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: build test race lint bench fuzz metrics image ci
build:
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o m365_defender_exporter .

test:
	go test ./...

race:
	go test -race ./...

lint:
	go vet ./...
	go run $(LINT) run

bench:
	go test -run '^$$' -bench . ./...

fuzz:
	go test -run '^$$' -fuzz FuzzDecodePage -fuzztime 30s ./client
	go test -run '^$$' -fuzz FuzzRetryAfter -fuzztime 30s ./client/quota
	go test -run '^$$' -fuzz FuzzLimit -fuzztime 30s ./client/quota

metrics: # METRICS.md and the expositions in testdata
	go test . -run TestMetricsReference -update
	go test ./collector -run TestExposition -update

image:
	docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t m365_defender_exporter:$(VERSION) .

ci:
	.ci/run
