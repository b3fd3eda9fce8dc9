# crosskeys. `make help` lists what there is; `make test` is what has to pass.
#
# Nothing but Go, git, make and bash is needed to begin with: Go modules come from the module proxy, the checkers
# are built from tools/go.mod, and `make e2e` installs the Azure CLI where it can.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

GO        ?= go
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME  ?= 5s
BENCH     ?= .
BENCHTIME ?= 1s
COUNT     ?= 1
SOAK      ?= 1m
SOAKLIMIT ?= 40m
SIMLIMIT  ?= 3h

BIN := bin/crosskeys

# The checkers are built once for each set of their versions and each Go; a linter has to be built by a Go that is at
# least as new as the one whose code it reads.
TOOLKEY = $(shell cat tools/go.mod tools/go.sum | cksum | cut -d' ' -f1)-$(shell $(GO) env GOVERSION)
TOOLS   = .tools/$(TOOLKEY)

##@ To use it
.PHONY: help build demo
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## bin/crosskeys, one static binary
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/crosskeys

demo: build ## the main job on a local Azure, from nothing to the report; leaves nothing running
	$(BIN) demo

##@ To check a change
.PHONY: check test e2e fuzz bench soak
check: ## the fast ones: gofmt, vet, build, short tests
	@scripts/stages.sh fmt vet build short

test: ## everything; has to pass before a change is taken
	@scripts/stages.sh download fmt vet build tools staticcheck lint tidy vuln oracle unit e2e+matrices

e2e: build ## the unmodified Azure CLI and SQL clients against the lab
	@scripts/e2e.sh $(BIN)

fuzz: ## every fuzz target for FUZZTIME (5s)
	@GO="$(GO)" FUZZTIME="$(FUZZTIME)" scripts/fuzz.sh

bench: ## benchmarks: BENCH (a pattern), BENCHTIME (1s), COUNT (1; 10 for benchstat)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -count $(COUNT) ./...

soak: ## crash and soak tests for SOAK (1m) each, COUNT times (1), within SOAKLIMIT (40m) a package; the plans of all small components and the simulation within SIMLIMIT (3h) each
	CROSSKEYS_SOAK=$(SOAK) $(GO) test -run 'Crash|Soak' -skip SoakSimulation -count $(COUNT) -timeout $(SOAKLIMIT) ./...
	CROSSKEYS_SOAK=$(SOAK) $(GO) test -run EverySmallComponent -count 1 -timeout $(SIMLIMIT) ./plan
	CROSSKEYS_SOAK=$(SOAK) $(GO) test -run 'SoakSimulation|FailoverMatrix' -count 1 -timeout $(SIMLIMIT) -v ./sim | grep -E '^(NOTE|FAIL|ok|panic)| FAIL: |_test.go:'

##@ The single stages of make test
.PHONY: download fmt vet tools staticcheck lint tidy vuln oracle unit matrices short clean
download: ## modules of the product and of the checkers
	$(GO) mod download
	$(GO) -C tools mod download
	$(GO) -C lab/tsql/parse/oracle mod download

fmt: ## gofmt
	@out=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .); [ -z "$$out" ] || { echo "not gofmt'd (gofmt -w them):"; echo "$$out"; exit 1; }

vet: ## go vet
	$(GO) vet ./...

tools: ## the checkers, built into .tools
	@$(MAKE) $(TOOLS)/staticcheck

$(TOOLS)/staticcheck:
	@rm -rf .tools/*-go* && mkdir -p $(TOOLS).part
	$(GO) -C tools build -o ../$(TOOLS).part/ \
	  github.com/golangci/golangci-lint/v2/cmd/golangci-lint golang.org/x/vuln/cmd/govulncheck honnef.co/go/tools/cmd/staticcheck
	mv $(TOOLS).part $(TOOLS)

staticcheck: tools ## staticcheck
	$(TOOLS)/staticcheck ./...

lint: tools ## golangci-lint, by .golangci.yml
	$(TOOLS)/golangci-lint run ./...

tidy: ## go.mod and go.sum say what the code needs
	$(GO) mod tidy -diff
	$(GO) -C tools mod tidy -diff
	$(GO) -C lab/tsql/parse/oracle mod tidy -diff

oracle: ## the T-SQL parser against two others, in a module of their own
	$(GO) -C lab/tsql/parse/oracle test ./...

vuln: tools ## known vulnerabilities, where their database can be reached
	@GOVULNCHECK=$(TOOLS)/govulncheck scripts/vuln.sh

unit: ## every Go test, under the race detector where there is a C compiler
	@GO="$(GO)" scripts/unit.sh

matrices: ## crashes, failovers and troubles at every point, and the random scenarios, as a whole
	@GO="$(GO)" scripts/matrices.sh

short: ## the Go tests that take no time
	$(GO) test -short -timeout 5m ./...

clean: ## remove what was built
	rm -rf bin .tools .logs
