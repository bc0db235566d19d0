# Every target sets itself up: a fresh machine needs python3 (3.11 to 3.13), make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PARTS := tests/channels tests/examples tests/keras3 tests/layers tests/pgp tests/tflite
PYTEST := -n 2 --dist worksteal --durations=20 --durations-min=5
EXTRAS := examples,research,export,micro,quantizer,vela,dev,docs,tensorboard

.PHONY: demo test docs lint browser clean

demo: $(INSTALLED)
	$(BIN)/python -m examples.classification --output_dir=demo_output

# In two parts, as TensorFlow keeps what it has compiled: one process with all of them would need 11 GB.
# Each process begins with one half of the files, in order, so that what several tests of a file share is made once.
test: lint browser
	$(BIN)/python -m pytest $(PYTEST) --doctest-modules tfmot_swd tfmot_swd_cli.py $(PARTS)
	$(BIN)/python -m pytest $(PYTEST) $(foreach part,$(PARTS),--ignore=$(part)) tests

# A test builds the site too, into a folder of its own. Open site/index.html; search needs a server, such as
# `python -m http.server --directory site`, and nothing needs a network.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# A test opens the device report in headless Chromium; where that is missing and cannot be installed, it is skipped.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing Chromium (once) ..."; \
		apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium > /dev/null || true; \
	fi

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Runs the notebooks in a kernel; copies with outputs, and the files that they write, go to $(NOTEBOOKS)/output.
.PHONY: notebooks
NOTEBOOKS := examples/notebooks
notebooks: $(VENV)/.notebooks
	rm -rf $(NOTEBOOKS)/output && mkdir $(NOTEBOOKS)/output
	$(BIN)/jupyter-execute --output='output/{notebook_name}' $(NOTEBOOKS)/*.ipynb

# A source distribution and a wheel built from it, both checked; nothing is uploaded.
.PHONY: dist
dist: $(VENV)/.dist
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*

# Tools that one target alone needs, by the extra of that name.
$(VENV)/.dist $(VENV)/.notebooks: $(VENV)/.%: $(INSTALLED)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

# The stamp is written last, so an interrupted set-up starts over.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (once, a few minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check \
		--constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info demo_output $(NOTEBOOKS)/output .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
