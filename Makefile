# `make demo` and `make test` do all the set-up they need; Rust, by rustup, is all that has to be there.

export PINION_TOOLS ?= $(CURDIR)/.tools
# rustup's folder, for shells that were open before it was installed.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

CARGO ?= cargo
# Most tests wait for something more than they compute.
export RUST_TEST_THREADS ?= 6
# cargo-deny reads it, too, and needs the real one.
unexport CARGO
STAGE := tests/tools/stage

.PHONY: help
help:
	@echo 'make demo    the simulator, two accounts and the controller on this machine, live; ARGS=--script for no hands'
	@echo 'make test    everything that must hold: format, dependencies, clippy, production build, tests, fuzzers, image, docs'
	@echo 'make bench   what Pinion costs in worlds of 10, 100 and 1,000 targets, beside other tools; some 15 minutes'
	@echo 'make fuzz    the fuzzers, ten seconds each; needs a nightly toolchain; FUZZ and FUZZ_SECONDS choose'
	@echo 'make screenshots    the pictures of the status page in docs/images, from a controller on the simulator'
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
	{ $(MAKE) --no-print-directory stages || code=$$?; } && \
	printf '\n' && cat "$$times" && rm -f "$$times" && \
	printf '%-12s %4d s\n' total $$(($$(date +%s) - start)) && exit $$code

# Cheap ones first. The production build is without the simulator; `--test edges` only keeps the dependencies' features,
# and so their builds, the same as in the other stages.
.PHONY: stages
stages:
	@$(STAGE) setup tests/tools/setup test
	@$(STAGE) format $(CARGO) fmt --all --check
	@$(STAGE) deny tests/tools/deny
	@$(STAGE) clippy $(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@$(STAGE) production $(CARGO) clippy --locked --no-default-features --lib --bins --test edges -- -D warnings
	@$(STAGE) build $(CARGO) test --locked --workspace --no-run
	@$(STAGE) tests $(CARGO) test --locked --workspace --quiet --no-fail-fast
	@$(STAGE) fuzz tests/tools/fuzz 5 $(FUZZ)
	@$(STAGE) image python3 tests/image/check.py
	@$(STAGE) docs env RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --quiet

# The controller as it is delivered, on the simulator of a development build. Not timed by any test: machines differ.
.PHONY: bench
bench:
	@tests/tools/setup bench
	@$(CARGO) build --locked
	@$(CARGO) build --locked --release --no-default-features --target-dir "$${CARGO_TARGET_DIR:-target}/production"
	@python3 tests/bench/bench.py --sim "$${CARGO_TARGET_DIR:-target}/debug/pinion" \
		--pinion "$${CARGO_TARGET_DIR:-target}/production/release/pinion" $(ARGS)

# The pictures that the documentation shows; the test that takes them holds what is to be seen on them.
.PHONY: screenshots
screenshots:
	@tests/tools/setup test
	@PINION_IMAGES=$(CURDIR)/docs/images $(CARGO) test --locked --quiet --test it page::gallery

# The fuzzers, each for so many seconds, where a nightly toolchain is; `make fuzz FUZZ=signature FUZZ_SECONDS=600` for one.
FUZZ ?= manifest pins config policy commit signature keys names status push
FUZZ_SECONDS ?= 10
.PHONY: fuzz
fuzz:
	@tests/tools/setup fuzz
	@tests/tools/fuzz $(FUZZ_SECONDS) $(FUZZ)
