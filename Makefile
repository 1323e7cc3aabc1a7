# The commands of the project. Each does its own set-up; `make` alone lists them. What they do stands in tools/.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-long bench lint format clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## */\1\t/' \
	    | while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: ## install what is needed (Debian 12, as root; quick when all is there)
	@tools/setup.sh

build: setup ## build the release binary and print its path
	@tools/build.sh

demo: build ## see a Service answer on an address that no interface carries (root)
	@test/demo/demo.sh build/release/bin/ghostip

test: setup ## everything that must hold before a change goes in (root, for the kernel tests)
	@tools/test.sh

test-long: setup ## long fuzzing, the thread sanitizer, soaks; see tools/test-long.sh for its settings
	@tools/test-long.sh

bench: setup ## measure; docs/benchmarks.md explains the figures
	@tools/bench.sh

lint: setup ## include table, headers, formatting, clang-tidy
	@tools/lint.sh

format: ## rewrite the C++ files as clang-format wants them
	@tools/format.sh

clean: ## remove what was built (not the compiler's cache)
	@rm -rf build
