# Everything here runs from a fresh clone; Go itself fetches what is pinned in the go.mod files.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL: # some tests measure

# A directory with a go.mod is a module; a new one is picked up here. The root comes first.
MODULES := . $(sort $(patsubst ./%/go.mod,%,$(shell find . -mindepth 2 -name go.mod -not -path '*/testdata/*' -not -path '*/.*/*')))
NESTED := $(filter-out .,$(MODULES))

EXAMPLES := $(sort $(patsubst %/main.go,%,$(wildcard examples/*/main.go)))

# The versions of the linters are pinned in a module of their own, so that the library's go.mod does not carry them.
STATICCHECK := tool -modfile=$(CURDIR)/tools/go.mod staticcheck
ACTIONLINT := tool -modfile=$(CURDIR)/tools/go.mod actionlint

# Systems for which the modules that programs import are checked without running anything.
OTHER_SYSTEMS := windows darwin
IMPORTED := . retrytest otelretryablehttp operations/boltstore compat/hashicorp

# What a reader may open. docs/compatibility.md names tests of other programs.
DOCS := $(wildcard *.md docs/*.md */README.md)

# Of the output of go test -v: the result of each package, and the skipped tests with what they say.
SKIPPED := /^=== / { test = $$3; next } \
	/^ *--- SKIP/ { printf "%s\n%s", $$0, said[$$3] } \
	/^ *--- / { next } \
	/^(ok|\?|FAIL)[ \t]/ { print; delete said; test = ""; next } \
	{ said[test] = said[test] $$0 "\n" }

# What makes a storm the same in every run with the same seed.
SEEDED := -tags seeded -ldflags=-checklinkname=0

FUZZTIME ?= 10s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# race is last because its output is what one wants to see last.
.PHONY: test
test: fmt tidy docs vet lint examples modules race ## everything that has to pass: all of the checks and tests below, but no fuzzing and no benchmarks

.PHONY: fmt
fmt: ## fail if a file is not as gofmt would write it
	@echo "== gofmt"
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "run gofmt -w on:"; echo "$$files"; exit 1; fi

.PHONY: tidy
tidy: ## fail if a go.mod or go.sum is not as go mod tidy would write it, in every module
	@for m in $(MODULES); do echo "== go mod tidy -diff ($$m)"; go -C "$$m" mod tidy -diff; done

.PHONY: docs
docs: ## fail if a document names a test that does not exist, or links to a file that does not exist
	@echo "== $(words $(DOCS)) documents"
	@for d in $(DOCS); do \
		[ "$$d" = docs/compatibility.md ] || for t in $$(grep -ohE '\b(Test|Fuzz|Example|Benchmark)[A-Z][A-Za-z0-9_]*' "$$d" | sort -u); do \
			grep -rqE "^func $$t\(" --include='*_test.go' . || { echo "$$d names $$t, which is in no test file"; exit 1; }; \
		done; \
		for l in $$(grep -oE '\]\([^)#:]+[)#]' "$$d" | tr -d '])(#' | sort -u); do \
			[ -e "$$(dirname "$$d")/$$l" ] || { echo "$$d links to $$l, which does not exist"; exit 1; }; \
		done; \
	done

.PHONY: vet
vet: ## go vet in the root module, and for other systems in the modules that programs import
	@echo "== go vet (.)"
	@go vet ./...
	@for os in $(OTHER_SYSTEMS); do for m in $(IMPORTED); do \
		echo "== go vet for $$os ($$m)"; GOOS=$$os go -C "$$m" vet ./...; \
	done; done

.PHONY: lint
lint: ## staticcheck in the root module, with every check on but those that staticcheck.conf explains; actionlint for the workflows
	@echo "== staticcheck (.)"
	@go $(STATICCHECK) ./...
	@echo "== actionlint"
	@go $(ACTIONLINT)

.PHONY: race
race: ## the tests of the root module with the race detector and the fuzz seeds; a skipped test is shown with its reason
	@echo "== go test -race (.)"
	@out=$$(mktemp); trap 'rm -f "$$out"' EXIT; \
	go test -race -v ./... >"$$out" 2>&1 || { cat "$$out"; exit 1; }; \
	awk '$(SKIPPED)' "$$out"

.PHONY: unit
unit: ## the tests of the root module without the race detector, for a quick answer
	@go test ./...

.PHONY: examples
examples: ## run every program in examples; its exit status is its verdict
	@echo "== examples"
	@out=$$(mktemp); trap 'rm -f "$$out"' EXIT; \
	for e in $(EXAMPLES); do \
		if go -C "$$e" run . >"$$out" 2>&1; then echo "ok  	./$$e"; \
		else cat "$$out"; echo "FAIL	./$$e"; exit 1; fi; \
	done

.PHONY: modules
modules: ## vet, staticcheck and tests with the race detector in every other module; a skipped test is shown with its reason
	@out=$$(mktemp); trap 'rm -f "$$out"' EXIT; \
	for m in $(NESTED); do \
		if [ -z "$$(find "$$m" -name '*.go' -print -quit)" ]; then echo "== no packages ($$m)"; continue; fi; \
		echo "== go vet ($$m)"; go -C "$$m" vet ./...; \
		echo "== staticcheck ($$m)"; go -C "$$m" $(STATICCHECK) ./...; \
		echo "== go test -race ($$m)"; \
		go -C "$$m" test -race -v ./... >"$$out" 2>&1 || { cat "$$out"; exit 1; }; \
		awk '$(SKIPPED)' "$$out"; \
	done
	@echo "== go vet and go test of the seeded storm"
	@go -C bench vet -tags seeded ./storm
	@go -C bench test $(SEEDED) -run 'TestTheSeedDecidesEverything|TestGoalsOfOutagesAreMet' ./storm

.PHONY: fuzz
fuzz: ## fuzz every fuzz target of every module for FUZZTIME (10s)
	@for m in $(MODULES); do for p in $$(go -C "$$m" list ./...); do \
		for f in $$(go -C "$$m" test -list '^Fuzz' "$$p" | grep '^Fuzz' || true); do \
			echo "== $$p $$f"; go -C "$$m" test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) "$$p"; \
		done; \
	done; done

.PHONY: storm
storm: ## what retries do to a server of limited capacity, in virtual time; writes docs/storm.md and its figures
	@go -C bench run $(SEEDED) ./storm

.PHONY: bench
bench: ## the comparison with other libraries, written into docs/benchmarks.md; about 10 minutes
	@go -C bench run .

.PHONY: compat
compat: ## the tests of published programs with both libraries; writes the table in docs/compatibility.md; about 15 minutes
	@go -C compat run ./programs
