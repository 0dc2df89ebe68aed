# What the targets need is installed by the Go toolchain from go.mod.

GO      ?= go
BIN     := build/leanspec-node

# How long each fuzz target runs.
FUZZTIME ?= 60s

export CGO_ENABLED = 0

# What the binary of the image is built from. The tag of this commit if it has one, or its date and hash.
VERSION  ?= $(shell git describe --tags --exact-match --dirty 2>/dev/null || git log -1 --date=format:%Y%m%d --format=v0.0.0-%cd-%h --abbrev=12 2>/dev/null || echo unknown)
REVISION ?= $(shell git describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null || echo unknown)
IMAGE    ?= leanspec-node

.PHONY: build devnet image images image-binary reproduce test crashtest memtest race check bench docs fuzz clean

build:
	$(GO) build -trimpath -buildvcs=auto -o $(BIN) ./cmd/leanspec-node

# Four nodes and eight validators on this machine, until Ctrl-C.
devnet: build
	$(BIN) devnet --nodes 4 --validators 8

# The container image, "docker build ." with the version and the commit in it, and the images for tests and development.
docker-build = docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) $(DOCKER_BUILD_FLAGS)

image:
	$(docker-build) --target node -t $(IMAGE):latest .

images: image
	$(docker-build) --target test -t $(IMAGE):test .
	$(docker-build) --target development -t $(IMAGE):dev .

# The binary of the image. Nothing of the machine, the folder or the time gets into it: the same source, VERSION,
# REVISION and Go give the same bytes.
OUT ?= build/image/leanspec-node

image-binary:
	GOOS=$(GOOS) GOARCH=$(GOARCH) $(GO) build -trimpath -buildvcs=false \
	  -ldflags "-s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)" -o $(OUT) ./cmd/leanspec-node

# Makes it twice, in two folders and without a common cache, and wants the same bytes. What is not committed is not in it.
reproduce:
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	for folder in one another; do \
	  git clone -q . "$$tmp/$$folder/src"; \
	  GOCACHE="$$tmp/$$folder/cache" $(MAKE) -s -C "$$tmp/$$folder/src" image-binary OUT="$$tmp/$$folder/leanspec-node"; \
	done; \
	sha256sum "$$tmp"/*/leanspec-node; \
	cmp "$$tmp/one/leanspec-node" "$$tmp/another/leanspec-node"

# All tests. -count=1: the cache of test results does not cover the program that e2e builds and runs.
test:
	$(GO) test -count=1 -timeout 30m $(TESTFLAGS) ./...
	@cd conformance && $(GO) test # again, for its table

# Kills a node of a network at random moments; go test does it 20 times.
CRASHES ?= 200

crashtest:
	LEANSPEC_CRASHES=$(CRASHES) $(GO) test -count=1 -timeout 60m -v -run '^TestCrash$$' ./e2e

# What a node takes in 20,000 slots without finality, with its curve.
memtest:
	LEANSPEC_MEMORY_SLOTS=20000 $(GO) test -timeout 60m -v -run 'TestMemory' ./internal/node/sync

# The race detector needs cgo; the program does not.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m ./...

check:
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/leanspec-node

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Writes docs/metrics.md, which is made of the definitions in the code.
docs:
	$(GO) test -count=1 -run '^TestMetricsDocument$$' ./internal/telemetry -update

# Runs every fuzz target of every package, one after the other.
fuzz:
	@set -e; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "== $$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s $$package; \
	  done; \
	done

clean:
	rm -rf build
