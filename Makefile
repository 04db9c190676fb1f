# make demo: set everything up and run the main job.   make test: set up and pass the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DISPLAYLESS := xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" env QT_QPA_PLATFORM=xcb

.PHONY: demo test lint pictures wheel clean

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
	$(BIN)/npe2 validate napari_ldseg/napari.yaml
	@if [ "$$(uname)" = Linux ]; then \
	    $(DISPLAYLESS) $(BIN)/python -m pytest $(PYTEST_ARGS); \
	else \
	    $(BIN)/python -m pytest $(PYTEST_ARGS); \
	fi

.PHONY: screenshots
screenshots: $(VENV)/.test
	@scripts/system-libraries
	$(DISPLAYLESS) $(BIN)/python scripts/make_screenshots.py

.PHONY: docs
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(VENV)/.test
	$(BIN)/pip wheel -q --no-deps --no-build-isolation -w dist .

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
	rm -rf $(VENV) build dist demo-output site
