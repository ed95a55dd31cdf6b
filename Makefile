# Everything here is a shorthand; plain `go build .` and `go test ./...` work.
#
#   build      the exporter for this machine, as it is released
#   test       the tests; race: with the race detector; bench, fuzz: what they say
#   lint       go vet and golangci-lint
#   metrics    METRICS.md and the expositions in testdata, written anew;
#              dashboards: the files in dashboards/; chart: what the chart copies
#              from there, its golden files and its table of values
#   cross      dist/: the exporter for every platform
#   image      dist/: what the Dockerfile describes, as an OCI archive for two
#              platforms, with Go alone; SOURCE=... to say where the source is
#   sbom       dist/: what every binary is made of (CycloneDX)
#   packages   dist/: a deb and an rpm for each Linux platform
#   release    dist/: all of it, with checksums
#   ci         everything that has to hold
#
# cross, image, sbom and packages are reproducible: one commit and one Go release give
# the same bytes. Without git pass VERSION, REVISION and SOURCE_DATE_EPOCH.
NAME      = m365_defender_exporter
VERSION  ?= $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null | sed 's/^v//' | grep . || echo dev)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null | grep . || echo 0)

PLATFORMS       = linux/amd64 linux/arm64 windows/amd64 windows/arm64 darwin/amd64 darwin/arm64
IMAGE_PLATFORMS = linux/amd64 linux/arm64
PACKAGE_PLATFORMS = linux/amd64 linux/arm64
LINT            = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# The last one that needs no module which the Go proxy does not deliver.
NFPM            = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONEDX       = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# The version control stamp would tell a checkout from an unpacked archive of
# the same commit; the revision is set instead.
COMMON  = github.com/prometheus/common/version
LDFLAGS = -s -w -X $(COMMON).Version=$(VERSION) -X $(COMMON).Revision=$(REVISION)
GOBUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)"

# binary PLATFORM is the file in dist/ that holds it.
binary   = dist/$(NAME)-$(subst /,-,$(1))$(if $(filter windows/%,$(1)),.exe)
binaries = $(foreach p,$(PLATFORMS),$(call binary,$(p)))

.PHONY: build test race lint bench fuzz metrics dashboards chart cross image sbom packages release ci $(binaries)
build:
	$(GOBUILD) -o $(NAME) .

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
	go test -run '^$$' -fuzz FuzzDecodePage -fuzztime 30s -fuzzminimizetime 10x ./client
	go test -run '^$$' -fuzz FuzzDecodeGraphPage -fuzztime 30s -fuzzminimizetime 10x ./client
	go test -run '^$$' -fuzz FuzzRetryAfter -fuzztime 30s -fuzzminimizetime 10x ./internal/retryafter
	go test -run '^$$' -fuzz FuzzUnpack -fuzztime 30s -fuzzminimizetime 10x ./client/quota
	go test -run '^$$' -fuzz FuzzText -fuzztime 30s -fuzzminimizetime 10x ./internal/scrub
	go test -run '^$$' -fuzz FuzzQuote -fuzztime 30s -fuzzminimizetime 10x ./internal/winservice
	go test -run '^$$' -fuzz FuzzLimit -fuzztime 30s -fuzzminimizetime 10x ./client/quota

metrics:
	go test . -run TestMetricsReference -update
	go test ./collector -run TestExposition -update

cross: $(binaries)

$(foreach p,$(PLATFORMS),$(eval $(call binary,$(p)): PLATFORM = $(p)))
$(binaries):
	GOOS=$(word 1,$(subst /, ,$(PLATFORM))) GOARCH=$(word 2,$(subst /, ,$(PLATFORM))) $(GOBUILD) -o $@ .

dashboards:
	go test ./dashboards -run TestFilesFresh -update

chart: dashboards
	.ci/chart -update

image: $(foreach p,$(IMAGE_PLATFORMS),$(call binary,$(p)))
	go run -C packaging/image . -o $(CURDIR)/dist/$(NAME)-image.tar -checkout $(CURDIR) \
		-version $(VERSION) -revision $(REVISION) -source "$(SOURCE)" -epoch $(SOURCE_DATE_EPOCH) \
		$(foreach p,$(IMAGE_PLATFORMS),$(p)=$(CURDIR)/$(call binary,$(p)))

# What the linker has put in, not what go.mod would allow.
sbom: cross
	for binary in $(binaries); do \
		go run $(CYCLONEDX) bin -json -std -noserial -notimestamp -version $(VERSION) -output $$binary.cdx.json $$binary || exit; \
	done

# A version of a package begins with a digit; a commit may not.
packages: PACKAGE_VERSION = $(if $(filter 0% 1% 2% 3% 4% 5% 6% 7% 8% 9%,$(firstword $(subst .,. ,$(VERSION)))),$(VERSION),0.0.0-$(VERSION))
packages: $(foreach p,$(PACKAGE_PLATFORMS),$(call binary,$(p)))
	for platform in $(PACKAGE_PLATFORMS); do for kind in deb rpm; do \
		VERSION=$(PACKAGE_VERSION) ARCH=$${platform#*/} BINARY=dist/$(NAME)-linux-$${platform#*/} SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
		go run $(NFPM) package -f packaging/linux/nfpm.yaml -p $$kind -t dist/$(NAME)-linux-$${platform#*/}.$$kind || exit; \
	done; done

release: cross image sbom packages
	cd dist && sha256sum $(notdir $(binaries)) *.cdx.json *.deb *.rpm $(NAME)-image.tar >SHA256SUMS

ci:
	.ci/run
