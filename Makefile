# Everything goes into this folder: .venv (vidctl), .cache (workers' environments, weights), .vidctl (the demo's state).
PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= 3
UNIT_PROCESSES ?= 4
# Each is a root of its own for mypy: a name that two of them have is two modules.
WORKER_FOLDERS := workers/yolo workers/whisper workers/qwen-vl workers/qwen-vl/engine workers/qwen-vl/engine/startup
export VIDCTL_CACHE_DIR ?= $(CURDIR)/.cache

.PHONY: demo test unit coverage wording check dist docs reference soak bench lock sync-workers clean

# Deploy the YOLO worker to the local runtime, detect in a photograph, leave an annotated image.
demo: .venv/core
	@$(BIN)/python tools/demo.py

# All tests, on real things: RunPod's SDK, real worker environments, real models.  Most of them wait for other processes,
# so several files run at once; those of one file share what they set up.  tests/conftest.py says which begins when.
test: .venv/dev
	@$(BIN)/python -m pytest --numprocesses=$(TEST_PROCESSES) --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# The tests that need no engine, no runtime, no worker's environment and no model.
unit: .venv/dev
	@$(BIN)/python -m pytest -m unit --numprocesses=$(UNIT_PROCESSES) --dist=worksteal $(PYTEST_ARGS)

# How much of the package the tests of the lanes `unit` and `runtime` run through, which need no engine and no model.
coverage: .venv/dev
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -m "not docker and not media and not model" --numprocesses=$(TEST_PROCESSES) \
	  --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

# Write down anew how messages are worded (tests/wording.ambr), of the tests in PYTEST_ARGS or of all: read the diff.
wording: .venv/dev
	@$(BIN)/python -m pytest --snapshot-update $(PYTEST_ARGS)

# Style, types, layers, dependencies, the files that GitHub reads, schemas, the pages of docs/.
check: .venv/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file tests/mypy.ini
	@for folder in $(WORKER_FOLDERS); do \
		(cd $$folder && $(CURDIR)/$(BIN)/mypy --config-file=$(CURDIR)/pyproject.toml --cache-dir=$(CURDIR)/.mypy_cache/$$folder \
			--ignore-missing-imports --show-absolute-path *.py) || exit 1; \
	done
	@$(BIN)/lint-imports
	@$(BIN)/deptry .
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-actions .github/actions/*/action.yml
	@$(BIN)/check-jsonschema --quiet --check-metaschema vidctl/data/schemas/*.json
	@$(BIN)/python tools/reference.py --check
	@$(BIN)/zensical build --strict >/dev/null
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml

# Build the wheel and the sdist into dist/; tests/test_package.py installs and runs both.
dist: .venv/dev
	@rm -rf dist
	@$(BIN)/hatchling build -t wheel -t sdist -d dist

# The site of docs/, into site/: a link that leads nowhere is an error.
docs: .venv/dev
	@$(BIN)/zensical build --strict

# Write what is made from code: docs/reference/, and the man page.
reference: .venv/dev
	@$(BIN)/python tools/reference.py

# Many jobs through `vidctl run --jsonl` on a bad network, with kills: more of both than `make test` has time for.
soak: .venv/dev
	@SOAK_JOBS=$${SOAK_JOBS:-20000} SOAK_KILLS=$${SOAK_KILLS:-50} $(BIN)/python -m pytest tests/test_soak.py $(PYTEST_ARGS)

# The promises of benchmarks/README.md, measured here.
bench: .venv/dev
	@$(BIN)/python benchmarks/run.py

# Pin each worker's requirements from the extras in pyproject.toml.
lock: .venv/dev
	@$(BIN)/python tools/lock.py

# Copy workers/_shared into the folders that use it.
sync-workers:
	@$(PYTHON) tools/sync_workers.py

clean:
	rm -rf .venv .cache .vidctl demo-output dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*

.venv/core: pyproject.toml
	@echo "making .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[local]'
	@touch $@

.venv/dev: .venv/core
	@$(BIN)/python -m pip install --quiet --group dev
	@touch $@
