# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
#
# The front door: 'make demo' and 'make test' install what they need, then do it.

export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | \
		while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

.PHONY: demo
demo: ## the main job on real Debian packages, from pack to product
	@scripts/setup build demo
	@scripts/build
	@scripts/as-root demo/run

define packages-for-tests
scripts/package deb && \
	{ scripts/package static || echo "make: no file without libraries can be made here: its tests are skipped"; }
endef

.PHONY: test
test: ## all tests; those with Isar are skipped, loudly, where there is no Isar
	@scripts/setup build test
	@scripts/build
	@$(packages-for-tests)
	@scripts/run-tests

.PHONY: test-cargo
test-cargo: ## the tests of the crates
	@scripts/setup build test
	@scripts/run-tests cargo

.PHONY: test-cli
test-cli: ## the tests of the command line on real Debian trees
	@scripts/setup build test
	@scripts/build
	@$(packages-for-tests)
	@scripts/run-tests cli

.PHONY: test-attacks
test-attacks: ## hostile bundles and packages, which must not get anywhere
	@scripts/setup build test
	@scripts/build
	@scripts/run-tests attacks

.PHONY: kills
kills: ## all verbs killed at 500 and more moments, disks that fail, the power cut, many at once: an hour
	@scripts/setup build test
	@scripts/build
	@scripts/as-root env ISAR_TEMPLATE_TEST_STEPS=100 ISAR_TEMPLATE_TEST_SECONDS=300 \
		/usr/bin/python3 -B -m pytest -p no:cacheprovider -v -rsP --durations=10 \
		tests/attacks/test_crashes.py tests/attacks/test_killed_verbs.py tests/attacks/test_killed_transfers.py tests/attacks/test_power_cut.py tests/attacks/test_many_at_once.py

.PHONY: fuzz
fuzz: ## rubbish for everything that reads bundles, tars, signatures and lists: 10 minutes each
	@scripts/setup build test
	@scripts/fuzz

.PHONY: test-layer
test-layer: ## the tests of the layer that need no bitbake
	@scripts/setup test
	@scripts/run-tests layer

.PHONY: test-isar
test-isar: ## the tests with the real Isar; they fail where there is no Isar
	@scripts/setup build isar test
	@scripts/build
	@ISAR_TESTS_REQUIRED=1 scripts/run-tests isar

.PHONY: test-arm64
test-arm64: ## Isar builds for arm64, on a machine that is none; they fail where that cannot be
	@scripts/setup build isar test
	@scripts/build
	@ISAR_TESTS_REQUIRED=1 scripts/run-tests arm64

.PHONY: bench-isar
bench-isar: ## a product on a template and by Isar alone, compared task by task
	@scripts/setup build isar test
	@scripts/build
	@scripts/as-root benches/isar/run

.PHONY: bench-stages
bench-stages: ## packing, importing, updating and using a template beside tar, ostree, podman and others
	@scripts/setup build test bench
	@scripts/build
	@scripts/as-root benches/stages/run

.PHONY: bench-qa
bench-qa: ## packages checked by qa and by Debian's piuparts, times and findings compared
	@scripts/setup build bench
	@scripts/build
	@scripts/as-root benches/qa/run

.PHONY: bench-attacks
bench-attacks: ## what chroot, mmdebstrap, systemd-nspawn and bubblewrap let a hostile package do
	@scripts/setup build bench
	@scripts/build
	@scripts/as-root benches/attacks/run

.PHONY: build
build: ## the helper, target/release/isar-template
	@scripts/setup build
	@scripts/build

.PHONY: install
install: ## the helper with man pages and completions below $$PREFIX [default: /usr/local], as root or with sudo
	@scripts/setup build
	@scripts/build
	@scripts/as-root env DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" scripts/install

.PHONY: uninstall
uninstall: ## remove what 'make install' has put there
	@scripts/as-root env DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" scripts/install --remove

.PHONY: packages
packages: ## a Debian package of the helper, and a file that needs no libraries, in build/packages
	@scripts/setup build package
	@scripts/package deb static

.PHONY: lint
lint: ## formatting, clippy, licences and sources, shell, recipes, python
	@scripts/setup build lint
	@scripts/lint

.PHONY: docs
docs: ## write the generated pages of docs/ anew
	@scripts/setup build
	@scripts/build
	@scripts/generate-docs

# kas builds in build/ as well, so only what is ours goes
.PHONY: clean
clean: ## remove what was built here
	rm -rf target
	scripts/as-root rm -rf --one-file-system $(addprefix build/,package packages bench-cache fuzz test-cache test-results test-tmp)
