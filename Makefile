# `make demo` and `make test` do all the set-up they need; Rust, by rustup, is all that has to be there.

export PINION_TOOLS ?= $(CURDIR)/.tools
# rustup's folder, for shells that were open before it was installed.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

CARGO ?= cargo
# Most tests wait for something more than they compute.
export RUST_TEST_THREADS ?= 12
# cargo-deny reads it, too, and needs the real one.
unexport CARGO
STAGE := tests/tools/stage

.PHONY: help
help:
	@echo 'make demo    the simulator, two accounts and the controller on this machine, live; ARGS=--script for no hands'
	@echo 'make test    everything that must hold: format, dependencies, clippy, production build, tests, fuzzers, image, docs'
	@echo 'make bench   what Pinion costs in worlds of 10, 100 and 1,000 targets, beside other tools; some 15 minutes'
	@echo 'make site    the documentation as a site, in target/site'
	@echo 'make fuzz    the fuzzers, ten seconds each; FUZZ and FUZZ_SECONDS choose'
	@echo 'make screenshots    the pictures of the status page in docs/images, from a controller on the simulator'
	@echo 'make release-check    the image as it is delivered: weight and reproducibility; commit what it writes down'
	@echo 'make setup   only the tools that `make test` needs, into $$PINION_TOOLS (.tools)'

.PHONY: demo
demo:
	@tests/tools/setup build
	@$(CARGO) build --locked
	@$(CARGO) run --quiet --locked -- demo $(ARGS)

.PHONY: setup
setup:
	@tests/tools/setup test

.PHONY: test
test:
	@times=$$(mktemp) && export PINION_TIMES=$$times && start=$$(date +%s) && code=0 && \
	{ $(MAKE) --no-print-directory --jobs stages || code=$$?; } && \
	printf '\n' && cat "$$times" && \
	printf '%-12s %4d s  %s\n' total $$(($$(date +%s) - start)) "$$(grep -o 'advisories NOT CHECKED.*' "$$times")" && \
	rm -f "$$times" && exit $$code

# What waits goes beside what computes, with low priority: see docs/development.md. `make` starts what has all that it needs; a
# failure lets the others end. `clippy-driver` is rustc with lints, so one compilation serves clippy, the build and the tests.
LINTED := env RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
IDLE := nice -n 19
.PHONY: stages format setup-test deny build tests fuzz-test image docs
stages: format deny build tests fuzz-test image docs
format:
	@tests/tools/setup build
	@$(STAGE) format $(CARGO) fmt --all --check
setup-test: format
	@$(STAGE) --beside setup tests/tools/setup test
deny: setup-test
	@$(STAGE) --beside deny tests/tools/deny
build: format
	@$(STAGE) build $(LINTED) $(CARGO) test --locked --workspace --all-targets --no-run
tests: build setup-test
	@$(STAGE) tests $(LINTED) $(CARGO) test --locked --workspace --all-targets --quiet --no-fail-fast
fuzz-test: build setup-test
	@$(STAGE) --beside fuzz $(IDLE) tests/tools/fuzz 5 $(FUZZ)
image: build setup-test
	@$(STAGE) --beside image $(IDLE) python3 tests/image/check.py
docs: tests
	@$(STAGE) docs $(LINTED) RUSTDOC=$(CURDIR)/tests/tools/rustdoc PINION_DOCS="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/doc" \
		$(CARGO) test --locked --workspace --doc --quiet

# The image as it is delivered: its weight, and whether it is the same when it is built again. Commit what it writes down; `make test`
# does the same by itself when Dockerfile, Cargo.lock or the release profile isn't what was written down.
.PHONY: release-check
release-check:
	@tests/tools/setup test
	@$(CARGO) build --locked
	@$(STAGE) release python3 tests/image/check.py release

# The controller as it is delivered, on the simulator of a development build. Not timed by any test: machines differ.
.PHONY: bench
bench:
	@tests/tools/setup bench
	@$(CARGO) build --locked
	@$(CARGO) build --locked --release --no-default-features --target-dir "$${CARGO_TARGET_DIR:-target}/production"
	@python3 tests/bench/bench.py --sim "$${CARGO_TARGET_DIR:-target}/debug/pinion" \
		--pinion "$${CARGO_TARGET_DIR:-target}/production/release/pinion" $(ARGS)

# The documentation as a site; the test `ops::pages` builds it, too.
.PHONY: site
site:
	@tests/tools/setup site
	@"$$PINION_TOOLS/site/bin/python" docs/site/build.py "$${CARGO_TARGET_DIR:-target}/site"

# The pictures that the documentation shows; the test that takes them holds what is to be seen on them.
.PHONY: screenshots
screenshots:
	@tests/tools/setup test
	@PINION_IMAGES=$(CURDIR)/docs/images $(CARGO) test --locked --quiet --test it page::gallery

# The fuzzers, each for so many seconds; `make fuzz FUZZ=signature FUZZ_SECONDS=600` for one.
FUZZ ?= manifest pins config policy commit signature keys names status push
FUZZ_SECONDS ?= 10
.PHONY: fuzz
fuzz:
	@tests/tools/setup fuzz
	@tests/tools/fuzz $(FUZZ_SECONDS) $(FUZZ)
