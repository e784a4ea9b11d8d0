# make demo   the whole line on the bundled game and model: record, label, train, play, compare, report
# make desktop-demo   the bundled game as a program on a screen: recorded from outside, played through an executor (Xvfb)
# make test   the tests          make check   formatting, lint, types, layers
# make bench  the benchmarks     All of them create .venv by themselves.

PYTHON ?= python3
VENV ?= .venv
LOCK ?= constraints.txt
BIN := $(VENV)/bin
BASE := $(VENV)/.base-installed
TEST := $(VENV)/.test-installed

.PHONY: demo desktop-demo test test-models check bench clean

demo: $(BASE)
	$(BIN)/vlm-agent demo --out demo

desktop-demo: $(BASE)
	$(BIN)/vlm-agent desktop-demo

test: $(TEST)
	@command -v Xvfb >/dev/null || echo "no Xvfb here (Debian: apt-get install xvfb): the tests on a real X server are skipped"
	$(BIN)/pytest

# The tests that touch models, training and decoding; run once more under the other lock:
#   make test-models VENV=.venv-gpu-lock LOCK=constraints-gpu.txt
# nano's own training and what reports compare don't hang on the libraries' versions: `make test` runs them, once.
test-models: $(TEST)
	$(BIN)/pytest -m 'model and not gpu' --ignore tests/training/nano --ignore tests/evaluation

check: $(TEST)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Those that need a CUDA card are called by name.
bench: $(BASE)
	@for script in $(filter-out %_gpu.py,$(wildcard bench/[a-z]*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .venv-gpu-lock demo desktop-demo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$@ -m pip install --quiet --upgrade pip

$(BASE): pyproject.toml $(LOCK) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet -c $(LOCK) -e .
	@touch $@

$(TEST): pyproject.toml $(LOCK) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet -c $(LOCK) -e '.[test]'
	@touch $@ $(BASE)
