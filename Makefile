# Everything goes through the virtual environment that `requirements.lock` describes; the first target that needs it makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTS ?=
# The tests that compare a page with what it is generated from; only these files are collected.
GENERATED = $(shell grep -rl 'mark[.]generated' tests --include=*.py)
# Tests wait for other processes half of their time: twice as many at once as there are cores.
WORKERS ?= $(shell echo $$((2 * $$(nproc))))

.PHONY: help demo wheel deb test test-slow faults soak boot-tests package-tests image image-tests fuzz check lint types layers current documents lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## migrate two simulated, writing machines and prove every byte
	$(BIN)/connector demo

wheel: $(READY) ## the wheel, into artifacts/; two builds of one commit are the same bytes
	$(BIN)/python -m deploy.wheel --to artifacts

deb: $(READY) ## the Debian package, into artifacts/; WHEELS= a directory that keeps what is downloaded
	$(BIN)/python -m deploy.deb --to artifacts $(if $(WHEELS),--wheels $(WHEELS))

test: $(READY) ## the test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(TESTS)

test-slow: $(READY) ## the variants that the default set leaves out
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m slow $(TESTS)

faults: $(READY) ## every cell of the fault matrix and of the restore matrix; TESTS= for one of them, FAULTS_SHARE=N for one cell in N, FAULTS_SEED=, FAULTS_READER=nfc or https
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m faults $(or $(TESTS),tests/faults)

soak: $(READY) ## deltas under random faults: SOAK_SEED=, SOAK_PASSES=, SOAK_SECONDS=, SOAK_SHARE= (of passes with a fault), FAULTS_READER=
	$(BIN)/python -m pytest tests/soak -m soak

boot-tests: $(READY) ## real guests, built from Debian's packages and started in QEMU; TESTS= for some of them, BOOT_CACHE=
	$(BIN)/python -m pytest -n 1 --dist loadgroup -m boot --timeout=3600 $(or $(TESTS),tests/boot tests/conversion) --durations=0

package-tests: $(READY) ## the Debian package, built twice and installed in a Debian of its own; WHEELS=, PACKAGE_CACHE= directories to keep
	WHEELS=$(WHEELS) PACKAGE_CACHE=$(PACKAGE_CACHE) $(BIN)/python -m pytest -n 0 -m package tests/deploy --durations=0

image: $(READY) ## the appliance's image, into artifacts/, as root: qcow2, OVA, checksums; WHEELS= as for deb, KEY= an RSA key that signs
	$(BIN)/python -m deploy.image --package "$$($(BIN)/python -m deploy.deb --to artifacts $(if $(WHEELS),--wheels $(WHEELS)))" --to artifacts \
	    $(if $(KEY),--key $(KEY))

image-tests: $(READY) ## the image, built, started in QEMU and used; PACKAGE= a package of make deb, IMAGE_CACHE= a directory to keep
	PACKAGE=$(PACKAGE) IMAGE_CACHE=$(IMAGE_CACHE) $(BIN)/python -m pytest -n 0 -m image tests/deploy --durations=0

fuzz: $(READY) ## hostile bytes for every reader: FUZZ_SECONDS= for each, FUZZ_SEED=
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement tests/fuzz/requirements.lock
	$(BIN)/python -m pytest -n 2 tests/fuzz -m fuzz

check: lint types layers current test ## what CI runs, what is quick first

lint: $(READY) ## ruff: rules and format; bandit: what is dangerous, without a written reason
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --recursive --severity-level medium connector vddk nfc simulator deploy tools

types: $(READY) ## mypy --strict
	$(BIN)/mypy

layers: $(READY) ## who may import whom
	$(BIN)/lint-imports

current: $(READY) ## are the generated pages current?
	$(BIN)/python -m pytest -q -m generated $(GENERATED)

documents: $(READY) ## write the generated pages anew
	UPDATE_DOCS=1 $(BIN)/python -m pytest -q -m generated $(GENERATED)

lock: ## renew requirements.lock from pyproject.toml
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --extra dev --extra alibaba --extra keyring --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --allow-unsafe --output-file requirements.lock pyproject.toml

clean: ## remove what the targets made
	rm -rf $(VENV) build artifacts *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
