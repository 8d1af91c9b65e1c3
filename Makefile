# Everything runs in .venv; each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPORT := build/llama.html
# Two workers: more would compete with torch's and MLX's own threads.
WORKERS ?= 2
CPP := $(wildcard $(foreach place,mlx_coverage/runtime/src examples/native_host,$(place)/*.cpp $(place)/*.h))
# Where `make conformance` merges its results.
RECORD ?= reports/conformance.json

.PHONY: demo compatibility test lint format documents families generation check-documents bench conformance conformance-samples conformance-nightly backend-suite cross-macos venv runtime clean

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
	$(BIN)/codespell
	$(BIN)/clang-format --dry-run -Werror $(CPP)

# clang-format with .clang-format, and ruff.
format: venv
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

documents: venv
	$(BIN)/python tools/write_documents.py

# Resumable; minutes. Lowers, runs and compares every preset of the zoo.
families: runtime
	$(BIN)/pip install -q -c constraints.txt -e '.[zoo]'
	$(BIN)/python tools/write_families.py

# Minutes. Plans, lowers, runs and compares the language models of the zoo that generate.
generation: runtime
	$(BIN)/python -m tools.write_generation

check-documents: venv
	$(BIN)/python tools/write_documents.py --check

# What the op page says was measured; then `make documents`.
conformance: runtime
	HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -n $(WORKERS) -p tests.op_conformance.recording \
		tests/op_conformance/test_inside.py tests/op_conformance/test_lowered.py \
		--record $(RECORD)

# Torch's own operator samples; resumable: make conformance-samples ARGUMENTS='--cap 2 --resume'
conformance-samples: runtime
	$(BIN)/python -m tests.op_conformance.nightly $(ARGUMENTS)

conformance-nightly: runtime
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n $(WORKERS) tests/op_conformance
	$(MAKE) conformance-samples

# ExecuTorch's own tests of backends, from its wheel; ARGUMENTS=--suite-continue goes on.
backend-suite: runtime
	$(BIN)/python -m pytest -q -n $(WORKERS) -W ignore --noconftest -p tests.backend_suite.plugin \
		--pyargs executorch.backends.test.suite.operators $(ARGUMENTS) \
		--suite-results build/backend_suite.json --suite-report reports/backend_suite.md

# Environments of the supported torch releases; gigabytes, and an hour on two cores.
compatibility: venv
	$(BIN)/python tools/compatibility.py $(ARGUMENTS)

# The runtime for macOS on arm64, compiled and linked here.
cross-macos: venv
	$(BIN)/python tools/cross_macos.py

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
