# What the targets need is installed by the Go toolchain from go.mod.

GO      ?= go
BIN     := build/leanspec-node

# How long each fuzz target runs.
FUZZTIME ?= 60s

export CGO_ENABLED = 0

.PHONY: build devnet test crashtest memtest race check bench docs fuzz clean

build:
	$(GO) build -trimpath -buildvcs=auto -o $(BIN) ./cmd/leanspec-node

# Four nodes and eight validators on this machine, until Ctrl-C.
devnet: build
	$(BIN) devnet --nodes 4 --validators 8

# Never from the cache, which does not know of what e2e builds and runs.
test:
	$(GO) test -count=1 -timeout 30m ./...
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
