# Every target is a script in dev/; this file only names them.
# PROFILE=dev makes `demo` and `smoke` use the dev profile (target/debug).
export PROFILE ?= release

.DEFAULT_GOAL := help
.PHONY: help demo smoke test bench bench-peers lint record-demo clean-services

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build, load the demo features, serve the demo models, print calls to try
	@dev/demo

smoke: ## The same without a terminal: make the calls, compare every number, stop
	@dev/demo --smoke

test: ## Run every suite, Rust and Python, with the servers they need
	@dev/test

bench: ## Measure against the floor server; QUICK=1 skips criterion, ROUNDS and ROUND_SECONDS size it
	@dev/bench

bench-peers: ## Measure beside the real Feast, MLflow, MLServer and arq; PEER=feast, mlflow, mlserver, arq, kafka or offline for one; QUICK=1, ROUNDS, ROUND_SECONDS, PARTS and more size it
	@dev/bench-peers

lint: ## Formatting, clippy, and cargo-deny where it is installed
	@dev/lint

record-demo: ## Make demo data, models and expected predictions again with the real Feast and MLflow
	@dev/record-demo

clean-services: ## Stop what dev/services started
	@dev/services down
