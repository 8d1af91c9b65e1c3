# Everything runs in .venv; each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPORT := build/llama.html
# Two workers: more would compete with torch's and MLX's own threads.
WORKERS ?= 2

.PHONY: demo test lint documents families check-documents bench conformance-nightly venv runtime clean

demo: runtime
	@mkdir -p $(dir $(REPORT))
	$(BIN)/mlx-coverage check examples/llama.py --html $(REPORT)
	@echo "report: $(abspath $(REPORT))"

test: runtime
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

documents: venv
	$(BIN)/python tools/write_documents.py

# Resumable; minutes. Lowers, runs and compares every preset of the zoo.
families: runtime
	$(BIN)/pip install -q -c constraints.txt -e '.[zoo]'
	$(BIN)/python tools/write_families.py

check-documents: venv
	$(BIN)/python tools/write_documents.py --check

conformance-nightly: runtime
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n $(WORKERS) tests/op_conformance

bench: runtime
	$(BIN)/python -m benchmarks

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[test,lint]'
	@touch $@

runtime: venv
	$(BIN)/mlx-coverage build-runtime

clean:
	rm -rf $(VENV) build
