# Everything that is built, checked and tested, from a fresh clone on. `make help` lists the targets.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-builtin-rules
.DEFAULT_GOAL := help

GO          ?= go
BENCH       ?= .
COUNT       ?= 1
FUZZTIME    ?= 20s
CONFORMANCE ?=
URL         ?=
VERIFYFLAGS ?=
KILLS       ?= 1000
BACKEND     ?= sqlite postgres
SEED        ?=
DURATION    ?= 0s
OUTAGE      ?=
TESTFLAGS   ?=
# The race detector does not look into SQLite, which is C made Go: it costs a third of the time there and finds nothing of ours.
RACE        ?= -race -gcflags='modernc.org/...=-race=false -d=checkptr=0'
TESTTIMEOUT ?= 20m
PACKAGES    ?= ./...

# The path of a pinned tool (tools.versions), which is built first where it is missing.
tool = $(GO) run ./internal/testenv/cmd/tool

# The date is that of the commit, so that the same sources give the same bytes.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse --verify -q HEAD 2>/dev/null || echo unknown)
DATE    := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

# Gin without MessagePack, which nobody speaks here: a tenth of the program.
TAGS         = nomsgpack

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

## Build and run

.PHONY: build
build: ## leave the program in bin/berth
	CGO_ENABLED=0 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o bin/berth ./cmd/api

.PHONY: run
run: build ## build and start it with its embedded database and a folder below data/
	exec bin/berth serve

.PHONY: clean
clean: ## remove what was built, except the tools (.tools) and the data (data)
	rm -rf bin conformance-results coverage.out

## Test

.PHONY: test
test: test-deps ## run every test with the race detector; PACKAGES= and TESTFLAGS= narrow it
	@gotestsum=$$($(tool) gotestsum)
	$(if $(filter ./...,$(PACKAGES)),(cd deploy/check && $(GO) test ./...))
	CGO_ENABLED=1 "$$gotestsum" --format pkgname --format-hide-empty-pkg -- \
		$(RACE) -shuffle=on -timeout $(TESTTIMEOUT) $(TESTFLAGS) $(PACKAGES)

# What the tests need and a machine may lack. The pinned tools are built here, one after the other, so that no test
# spends its time on that.
.PHONY: test-deps
test-deps:
	@missing=()
	if [[ -z "$${TEST_DATABASE_URL:-}" ]] && ! command -v initdb >/dev/null \
		&& ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
		missing+=(postgresql)
	fi
	command -v skopeo >/dev/null || missing+=(skopeo)
	command -v haproxy >/dev/null || [[ -x /usr/sbin/haproxy ]] || missing+=(haproxy)
	if [[ "$$(uname)" == Linux ]]; then # another proxy of the examples, and what judges the unit
		command -v nginx >/dev/null || [[ -x /usr/sbin/nginx ]] || missing+=(nginx)
		command -v systemd-analyze >/dev/null || missing+=(systemd)
	fi
	command -v gcc >/dev/null || command -v clang >/dev/null || missing+=(gcc libc6-dev)
	if (( $${#missing[@]} > 0 )); then
		if (( $$(id -u) != 0 )) || ! command -v apt-get >/dev/null; then
			echo "missing: $${missing[*]}. Install them first, on Debian by: sudo apt-get install -y $${missing[*]}" >&2
			exit 1
		fi
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "$${missing[@]}"
	fi
	$(tool) gotestsum versitygw crane regctl >/dev/null

## Check

.PHONY: check
check: check-format check-vet check-lint check-modules check-generated check-contract check-vulnerabilities ## the gate: everything but the tests

.PHONY: check-format
check-format:
	@echo '== format'
	lint=$$($(tool) golangci-lint)
	"$$lint" fmt --diff || { echo 'not formatted: run make format' >&2; exit 1; }

.PHONY: check-vet
check-vet:
	@echo '== vet'
	$(GO) vet ./...
	cd deploy/check && $(GO) vet ./...

.PHONY: check-lint
check-lint:
	@echo '== lint'
	lint=$$($(tool) golangci-lint)
	"$$lint" run ./...
	cd deploy/check && "$$lint" run ./...

.PHONY: check-modules
check-modules:
	@echo '== modules'
	$(GO) mod tidy -diff
	$(GO) mod verify
	cd deploy/check && $(GO) mod tidy -diff && $(GO) mod verify

# Generated files are compared with what the generators write now, whatever else is uncommitted.
.PHONY: check-generated
check-generated:
	@echo '== generated code'
	sums() { find . -path ./.tools -prune -o \( -name '*.gen.go' -o -path ./docs/rights.md -o -path ./docs/api-reference.md \) -print0 | sort -z | xargs -0 -r sha256sum; }
	before=$$(sums)
	$(GO) generate ./...
	after=$$(sums)
	if [[ "$$before" != "$$after" ]]; then
		diff <(echo "$$before") <(echo "$$after") || true
		echo 'generated code was out of date; it is up to date now: commit it' >&2
		exit 1
	fi

# Clients of the last release must go on working: released.yaml is the contract as it was then.
.PHONY: check-contract
check-contract:
	@echo '== contract'
	diff=$$($(tool) oasdiff)
	"$$diff" breaking --fail-on ERR web/openapi/released.yaml web/openapi/openapi.yaml

.PHONY: check-vulnerabilities
check-vulnerabilities:
	@echo '== vulnerabilities'
	scan=$$($(tool) govulncheck)
	if out=$$("$$scan" ./... 2>&1); then
		echo "$$out"
	elif [[ "$$out" == *'fetching vulnerabilities:'* ]]; then
		echo 'vulnerability scan not run: database unreachable'
	else
		echo "$$out" >&2
		exit 1
	fi

.PHONY: format
format: ## format the code and sort its imports
	@lint=$$($(tool) golangci-lint)
	"$$lint" fmt

.PHONY: generate
generate: ## write the generated code anew
	$(GO) generate ./...

# What the chart has copies of, and what Helm makes of its values: deploy/check compares both.
.PHONY: charts
charts: ## write the chart's copies anew, and render it by Helm for deploy/check
	@helm=$$($(tool) helm)
	cp deploy/prometheus/alerts.yaml deploy/grafana/berth.json deploy/helm/berth/files/
	for values in deploy/helm/berth/ci/*.yaml; do
		"$$helm" lint --strict --quiet --values "$$values" deploy/helm/berth
		"$$helm" template berth deploy/helm/berth --kube-version 1.30.0 --values "$$values" \
			--set metrics.dashboard.enabled=false > deploy/check/testdata/"$${values##*/}"
	done

## Measure and harden

.PHONY: bench
bench: ## run the benchmarks; BENCH= selects, COUNT= repeats
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 60m $(PACKAGES)
	echo '== promises'
	$(GO) run ./test/bench
	echo '== beside peers'
	$(GO) run ./test/bench compare -scale 0.1

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	@while IFS=: read -r file target; do
		echo "== $$target ($${file%/*})"
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$${file%/*}"
	done < <(find . -path ./.tools -prune -o -name '*_test.go' -print0 \
		| xargs -0 -r awk 'match($$0, /^func Fuzz[A-Za-z0-9_]*\(/) { print FILENAME ":" substr($$0, 6, RLENGTH - 6) }' | sort)

.PHONY: crash
crash: ## kill it KILLS times per backend while everything fails, and check that nothing is lost; SEED=, BACKEND=, DURATION=; OUTAGE=1m: only fail, for so long
	@for backend in $(BACKEND); do
		$(GO) run ./test/crash -backend "$$backend" -kills $(KILLS) -duration $(DURATION) $(if $(SEED),-seed $(SEED)) $(if $(OUTAGE),-outage $(OUTAGE))
	done

.PHONY: conformance
conformance: build ## run the OCI conformance program CONFORMANCE=<path> against a fresh server
	@[[ -n '$(CONFORMANCE)' ]] || { echo 'usage: make conformance CONFORMANCE=<path of the conformance program>' >&2; exit 2; }
	test/conformance/run.sh '$(CONFORMANCE)'

.PHONY: verify
verify: build ## push to and pull from the registry at URL=, as the holder of BERTH_TOKEN; VERIFYFLAGS= adds flags
	@[[ -n '$(URL)' ]] || { echo 'usage: BERTH_TOKEN=<token> make verify URL=https://registry.example.dev' >&2; exit 2; }
	bin/berth verify '$(URL)' $(VERIFYFLAGS)

.PHONY: tools
tools: ## build every pinned tool and print where it is
	@$(tool)

.ONESHELL:
