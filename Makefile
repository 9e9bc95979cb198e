# The one entry for every command of the repository; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

##@ Settings (make NAME=value ...)
CONTEXT ?=          ## kube context of a cluster that exists: kind-*, k3d-*, minikube, ... (default: the test cluster)
NODES ?=            ## nodes of the test cluster (default 2)
NAMESPACE ?= default ## namespace of the demo
ARGS ?=             ## arguments for the program that is run (make run ARGS="--help") or for the tests (make test ARGS="kick")
FUZZ_SECONDS ?= 30  ## time for each fuzz target
THREADS ?= 2        ## cluster tests that run at the same time
API_THREADS ?= 4    ## API server tests that run at the same time; most of their time they wait
HUB_IMAGE ?= wsc-hub:dev           ## image of the hub, as the operator is told
OPERATOR_IMAGE ?= wsc-operator:dev ## image of the operator
REDIS_IMAGE ?= wsc-redis:dev       ## image of managed Redis
export CONTEXT NODES

# Make keeps the blanks before a comment.
override NAMESPACE := $(strip $(NAMESPACE))
override FUZZ_SECONDS := $(strip $(FUZZ_SECONDS))
override THREADS := $(strip $(THREADS))
override API_THREADS := $(strip $(API_THREADS))
override HUB_IMAGE := $(strip $(HUB_IMAGE))
override OPERATOR_IMAGE := $(strip $(OPERATOR_IMAGE))
override REDIS_IMAGE := $(strip $(REDIS_IMAGE))
override CONTEXT := $(strip $(CONTEXT))
override NODES := $(strip $(NODES))
ifeq ($(NODES),)
unexport NODES
endif

STEP := .ci/step
NEED := .ci/need
CLUSTER := tests/cluster
# One profile everywhere: what is tested is what is shipped. Always the whole workspace, because a build of
# one package takes fewer features of its dependencies and would compile many of them a second time; only
# `make run` does that, to be quick for a newcomer.
CARGO_BUILD := cargo build --release --locked
CARGO_TEST := cargo test --release --locked
# Programs are linked statically for a named target (.cargo/config.toml), so the target is part of the path.
BINARIES = $${CARGO_TARGET_DIR:-target}/$$(rustc --print host-tuple)/release
# kubectl, helm and KUBECONFIG of the test cluster; with CONTEXT, only the tools: the user's own KUBECONFIG holds.
CLUSTER_ENV = eval "$$($(CLUSTER)/cluster.sh env | $(if $(CONTEXT),grep -v KUBECONFIG,cat))"
KUBE_CONTEXT = $(if $(CONTEXT),--context $(CONTEXT))
HELM_CONTEXT = $(if $(CONTEXT),--kube-context $(CONTEXT))

##@ Start here
.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## |[?]= *|## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5); next } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2; next } \
	  /^[A-Z_]+ [?]=.*## / { printf "  %-21s %s\n", $$1, $$NF }' Makefile

.PHONY: run
run: ## A hub on this machine, nothing else needed: chat at http://127.0.0.1:8080/ (the first build takes some minutes)
	@$(NEED) rust
	@$(STEP) "build wsc-hub (about 4 min the first time, then seconds)" $(CARGO_BUILD) -p wsc-hub
	@exec $(BINARIES)/wsc-hub --dev $(ARGS)

.PHONY: demo
demo: ## On a real Kubernetes: cluster, images, operator, a WscCluster, and messages between two of its pods
	@$(MAKE) cluster images operator
	@$(STEP) "demo" bash -c '$(CLUSTER_ENV); exec $(BINARIES)/wsc-demo $(KUBE_CONTEXT) --namespace $(NAMESPACE) $(ARGS)'
	@$(if $(CONTEXT),,echo "kubectl for this cluster: eval \"\$$($(CLUSTER)/cluster.sh env)\"        remove it: make cluster-down" >&2)

##@ Measure (hub on core 0, load on core 1, what the machine can do at most in the same run)
.PHONY: bench-quick
bench-quick: bench-build ## Short rounds, under two minutes: to see that something became slower
	@$(BINARIES)/wsc-bench run --rounds 3 --seconds 0.5 $(ARGS)

.PHONY: bench
bench: bench-build ## Long rounds, about six minutes: figures that count
	@$(BINARIES)/wsc-bench run --rounds 7 --seconds 1.5 --idle 8000 $(ARGS)

.PHONY: bench-micro
bench-micro: ## What the library's calls and the envelopes between nodes cost, without sockets (criterion)
	@$(NEED) rust
	@$(STEP) "build the criterion benches" cargo bench --locked --workspace --bench envelope --bench sends --no-run
	@cargo bench --locked --workspace --bench envelope --bench sends -- $(ARGS) 2>/dev/null | .ci/bench-table

.PHONY: bench-operator
bench-operator: build ## One operator with a thousand resources: time to Ready, memory, writes at rest; about a quarter of an hour
	@$(NEED) go
	@$(STEP) "API server programs (about 9 min the first time)" $(CLUSTER)/build.sh --api
	@$(STEP) "a thousand resources" $(CARGO_TEST) --workspace --test e2e_api -- --ignored --nocapture many:: $(ARGS)

# The load generator shares a package with the test harness, which is not optimised.
.PHONY: bench-build
bench-build: build
	@$(NEED) redis
	@$(STEP) "build wsc-bench" $(CARGO_BUILD) --workspace --bin wsc-bench --config profile.release.package.wsc-tests.opt-level=3

##@ Build
.PHONY: build
build: ## Every program, statically linked, into target/<host tuple>/release
	@$(NEED) rust
	@$(STEP) "build all programs (about 6 min the first time)" $(CARGO_BUILD) --workspace --bins --examples

.PHONY: client
client: ## The JavaScript client library and the chat page's script, into hub/client-js/dist (committed)
	@$(NEED) node
	@$(STEP) "client library" .ci/client build

.PHONY: images
images: build ## Images wsc-hub, wsc-operator and wsc-redis as OCI tars, loaded into the cluster
	@$(NEED) redis
	@$(STEP) "images" $(CLUSTER)/images.sh

.PHONY: generate
generate: ## Write crds/, docs/reference/, the chart's copy of the CRD, manifests/operator.yaml
	@$(NEED) rust helm
	@$(STEP) "build what generates" $(CARGO_BUILD) --workspace --bin crdgen --example openapi --example reference --example operator_reference
	@.ci/generate

##@ Test
.PHONY: test
test: build ## Unit and behaviour tests with real sockets, a real redis-server and schemathesis; no root, no cluster
	@$(NEED) redis nginx schemathesis
	@$(STEP) "unit tests, source rules and behaviour tests (about 11 min the first time, then 8)" \
	  $(CARGO_TEST) --no-fail-fast --workspace --lib --bins --test source_rules --test hermetic -- $(ARGS)
	@$(STEP) "examples in the documentation" $(CARGO_TEST) --workspace --doc -- $(ARGS)

.PHONY: client-test
client-test: build ## The JavaScript client library: alone, against real hubs, and in headless Chromium; ARGS="unit" for a part
	@$(NEED) node redis chromium
	@$(STEP) "client library tests (about 2 min)" env WSC_HUB="$(BINARIES)/wsc-hub" .ci/client test $(ARGS)

.PHONY: client-check
client-check: ## Types of the client library, and whether its committed build is what its sources give
	@$(NEED) node
	@$(STEP) "client library" .ci/client check

.PHONY: fuzz
fuzz: ## Fuzz what comes from outside: client frames, bus batches, tokens, keys, API bodies, connect requests; FUZZ_SECONDS each
	@$(NEED) rust fuzz
	@$(STEP) "fuzz targets, $(FUZZ_SECONDS) s each (the first build takes about 4 min)" .ci/fuzz $(FUZZ_SECONDS) $(ARGS)

.PHONY: e2e
e2e: e2e-api e2e-cluster ## Everything on a real Kubernetes: e2e-api, then e2e-cluster

.PHONY: e2e-api
e2e-api: build ## The operator against a real API server (etcd, API server, controllers; no root, no kubelet)
	@$(NEED) go helm
	@$(STEP) "API server programs (about 9 min the first time)" $(CLUSTER)/build.sh --api
	@$(STEP) "API server tests" $(CARGO_TEST) --workspace --test e2e_api -- --test-threads=$(API_THREADS) $(ARGS)

.PHONY: e2e-cluster
e2e-cluster: cluster images operator ingress ## Hubs, operator, Redis and Traefik in pods of a two-node Kubernetes (root), or of CONTEXT
	@$(STEP) "cluster tests" bash -c '$(CLUSTER_ENV); exec $(CARGO_TEST) --workspace --test e2e -- --test-threads=$(THREADS) $(ARGS)'

.PHONY: check
check: fmt-check clippy deny shell generate-check client-check charts ## All that needs no running test: fmt, clippy, deny, shellcheck, generated files, client library, charts
	@echo "all checks passed" >&2

.PHONY: fmt
fmt: ## Format the sources
	@$(NEED) rust
	@cargo fmt --all

.PHONY: fmt-check
fmt-check: ## Sources are formatted
	@$(NEED) rust
	@$(STEP) "cargo fmt --check" cargo fmt --all --check

.PHONY: clippy
clippy: ## No warning in any target
	@$(NEED) rust
	@$(STEP) "clippy (about 3 min the first time)" cargo clippy --release --locked --workspace --all-targets --test e2e --test e2e_api -- -D warnings

.PHONY: deny
deny: ## Licences, bans and sources of all dependencies
	@$(NEED) deny
	@$(STEP) "cargo deny: bans, licenses, sources" "$${WSC_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/wsc}/cargo/bin/cargo-deny" --locked check bans licenses sources

.PHONY: advisories
advisories: ## Known vulnerabilities in dependencies; fetches the RustSec database from GitHub, so it is not in `check`
	@$(NEED) deny
	@"$${WSC_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/wsc}/cargo/bin/cargo-deny" --locked check advisories

.PHONY: shell
shell: ## shellcheck for every script
	@$(NEED) lint
	@# SC1091: sourced files are checked as files of their own.
	@$(STEP) "shellcheck" shellcheck --external-sources --exclude SC1091 $(wildcard .ci/* $(CLUSTER)/*.sh $(CLUSTER)/lib/*.sh)

.PHONY: generate-check
generate-check: ## Generated files are what their sources give
	@$(NEED) rust helm
	@$(STEP) "build what generates" $(CARGO_BUILD) --workspace --bins --examples
	@$(STEP) "generated files" .ci/generate --check

.PHONY: charts
charts: ## helm lint and helm template of both charts
	@$(NEED) helm
	@$(STEP) "charts" .ci/charts

.PHONY: dockerfile-check
dockerfile-check: build ## Build both images of the Dockerfile with buildah and look inside
	@$(NEED) buildah
	@$(STEP) "Dockerfile" $(CLUSTER)/dockerfile-check.sh

.PHONY: ci
ci: ## What the continuous integration runs, from nothing, in about an hour on two cores
	@.ci/run

##@ Test cluster (a two-node Kubernetes in network namespaces of this machine; needs root and Go)
.PHONY: cluster-up
cluster-up: ## Start it, or mend what died; the first time builds Kubernetes from source (about 15 min)
	@$(NEED) go
	@$(STEP) "test cluster" $(CLUSTER)/cluster.sh up

.PHONY: cluster-down
cluster-down: ## Stop it and remove every trace of it; built programs and images stay in the cache
	@$(STEP) "remove the test cluster" $(CLUSTER)/cluster.sh down

.PHONY: cluster-status
cluster-status: ## What runs
	@$(CLUSTER)/cluster.sh status

.PHONY: cluster-selftest
cluster-selftest: cluster-up ## Does the cluster itself work: DNS, Services, port-forward, eviction
	@$(NEED) redis
	@$(STEP) "test cluster: self-test" $(CLUSTER)/selftest.sh

# The test cluster, unless CONTEXT names another.
.PHONY: cluster
cluster:
ifeq ($(CONTEXT),)
	@$(MAKE) cluster-up
else
	@$(NEED) go helm
	@$(STEP) "kubectl (about 9 min the first time)" $(CLUSTER)/build.sh --api
	@bash -c '$(CLUSTER_ENV); kubectl $(KUBE_CONTEXT) version --request-timeout 10s >/dev/null' || { echo "error: context $(CONTEXT) does not answer; see: kubectl config get-contexts" >&2; exit 1; }
endif

.PHONY: ingress
ingress: ## Traefik as Ingress controller in the cluster, for tests of exposure; the first time builds it (about 5 min)
	@$(NEED) go
	@$(STEP) "Ingress controller" $(CLUSTER)/ingress.sh

##@ Operator
.PHONY: operator
operator: ## Install or upgrade the operator from charts/wsc-operator into namespace wsc-system
	@$(STEP) "operator $(OPERATOR_IMAGE)" bash -c '$(CLUSTER_ENV); exec .ci/operator $(KUBE_CONTEXT) $(OPERATOR_IMAGE) $(HUB_IMAGE) $(REDIS_IMAGE)'

.PHONY: operator-down
operator-down: ## Uninstall the operator; running hubs and the CRD stay
	@bash -c '$(CLUSTER_ENV); helm $(HELM_CONTEXT) uninstall wsc-operator --namespace wsc-system --wait'
