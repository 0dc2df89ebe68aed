# go.mod names all tools that the targets need; the Go toolchain builds them.

GO      ?= go
BIN     := build/leanspec-node

# Duration of each fuzz target.
FUZZTIME ?= 60s

export CGO_ENABLED = 0

# Leaves HTTP/2 out of net/http, which saves half a megabyte. The node serves plain HTTP, and checkpoint sync uses HTTP/1.1.
TAGS := nethttpomithttp2

# Leaves out debug information. On amd64, aligns functions to 8 bytes instead of 32, which saves 0.4 MB at no measurable cost.
LDFLAGS := -s -w $(if $(filter amd64,$(or $(GOARCH),$(shell $(GO) env GOARCH))),-funcalign=8)

# Version and commit in the image's binary. The version is the tag of the commit, or its date and hash.
VERSION  ?= $(shell git describe --tags --exact-match --dirty 2>/dev/null || git log -1 --date=format:%Y%m%d --format=v0.0.0-%cd-%h --abbrev=12 2>/dev/null || echo unknown)
REVISION ?= $(shell git describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null || echo unknown)
IMAGE    ?= leanspec-node

.PHONY: build devnet image images image-binary reproduce packages test crashtest recoverytest memtest race check bench docs fuzz clean

build:
	$(GO) build -tags $(TAGS) -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/leanspec-node

# Runs four nodes with eight validators on this machine until Ctrl-C.
devnet: build
	$(BIN) devnet --nodes 4 --validators 8

# Builds the container image as "docker build ." does, with version and commit. "images" also builds the images for tests and
# development.
docker-build = docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) $(DOCKER_BUILD_FLAGS)

image:
	$(docker-build) --target node -t $(IMAGE):latest -t $(IMAGE):$(VERSION) .

images: image
	$(docker-build) --target test -t $(IMAGE):test .
	$(docker-build) --target development -t $(IMAGE):dev .

# Builds the image's binary. The same source, VERSION, REVISION and Go give the same bytes on any machine, in any folder, at
# any time.
OUT ?= build/image/leanspec-node

image-binary:
	GOOS=$(GOOS) GOARCH=$(GOARCH) $(GO) build -tags $(TAGS) -trimpath -buildvcs=false \
	  -ldflags "$(LDFLAGS) -X main.version=$(VERSION) -X main.revision=$(REVISION)" -o $(OUT) ./cmd/leanspec-node

# Builds the image's binary twice, in two folders and without a common cache, and compares the bytes. Only committed changes
# count.
reproduce:
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	for folder in one another; do \
	  git clone -q . "$$tmp/$$folder/src"; \
	  GOCACHE="$$tmp/$$folder/cache" $(MAKE) -s -C "$$tmp/$$folder/src" image-binary OUT="$$tmp/$$folder/leanspec-node"; \
	done; \
	sha256sum "$$tmp"/*/leanspec-node; \
	cmp "$$tmp/one/leanspec-node" "$$tmp/another/leanspec-node"

# Builds a Debian package and an archive for each architecture into build/packages, with SBOMs and checksums. It needs GNU tar.
ARCHS ?= amd64 arm64

packages:
	GO="$(GO)" VERSION="$(VERSION)" REVISION="$(REVISION)" ARCHS="$(ARCHS)" deploy/packages/build.sh

# Runs all tests without cached results, because the cache does not notice changes of the program that e2e builds and runs.
test:
	$(GO) test -count=1 -timeout 30m $(TESTFLAGS) ./...
	@cd conformance && $(GO) test # again, for its table

# Kills a node of a network CRASHES times at random moments. "make test" does so 20 times.
CRASHES ?= 200

crashtest:
	LEANSPEC_CRASHES=$(CRASHES) $(GO) test -count=1 -timeout 60m -v -run '^TestCrash$$' ./e2e

# Pauses and kills nodes of two and three, each RECOVERIES times. "make test" does each once.
RECOVERIES ?= 10

recoverytest:
	LEANSPEC_RECOVERIES=$(RECOVERIES) $(GO) test -count=1 -timeout 60m -v -parallel 4 -run '^Test(PauseOfOneOfTwo|KillOfOneOfTwo|KillOfTwoOfThree)$$' ./e2e

# Measures the memory of a node over 20,000 slots without finality.
memtest:
	LEANSPEC_MEMORY_SLOTS=20000 $(GO) test -timeout 60m -v -run 'TestMemory' ./internal/node/syncer

# Runs the quick tests with the race detector, which needs cgo.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m ./...

check:
	@unformatted="$$(gofmt -l .)" || exit 1; if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/leanspec-node

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Generates docs/metrics.md from the definitions in the code, and the Kubernetes object of the alert rules.
docs:
	$(GO) test -count=1 -run '^TestMetricsDocument$$' ./internal/metrics -update
	$(GO) test -count=1 -run '^TestPrometheusRule$$' ./deploy -update

# Runs every fuzz target of every package in turn.
fuzz:
	@set -e; packages="$$($(GO) list ./...)"; for package in $$packages; do \
	  targets="$$($(GO) test -list '^Fuzz' $$package)" || { echo "$$targets"; exit 1; }; \
	  for target in $$(echo "$$targets" | grep '^Fuzz'); do \
	    echo "== $$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s $$package; \
	  done; \
	done

clean:
	rm -rf build
