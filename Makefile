# The tools are pinned here and run with `go run`: go.mod knows nothing of them.
LINT      := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.8.0
FUZZTIME  ?= 10s
NESTED    := $(patsubst %/go.mod,%,$(wildcard benchmarks/go.mod integration/go.mod))

.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run all tests
	go test ./...

race: ## run all tests with the race detector
	go test -race ./...

models: ## run the model tests in full: millions of operations
	UPRUNG_FULL_MODELS=1 go test ./...

fuzz: ## run each fuzz target for FUZZTIME (10s)
	@set -e; pkgs=$$(go list ./...); for pkg in $$pkgs; do \
		listed=$$(go test -list '^Fuzz' $$pkg); \
		for target in $$(echo "$$listed" | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

format: ## check gofmt, go vet and go fix
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt: $$unformatted"; exit 1; fi
	go vet ./...
	go fix -diff ./...

lint: ## run the linters of .golangci.yml
	go run $(LINT) run ./...

vulncheck: ## look for known vulnerabilities in what is called
	go run $(VULNCHECK) ./...

ladder: ## climb the ladder and check that every rung does what it claims
	go run ./examples/ladder -check

nested: ## build, vet and test the nested modules
	@set -e; for dir in $(NESTED); do \
		echo "module $$dir"; \
		(cd $$dir && go vet ./... && go test ./...); \
	done

check: format lint race fuzz ladder nested ## everything that a change must pass

.PHONY: help test race models fuzz format lint vulncheck ladder nested check
