# Two commands do all the set-up: `make demo` and `make test`. Needs Python 3.11+, make, and a C++ compiler for the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test lint clean

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[openvino,onnx,int8,examples]"
	@touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@echo "== retrain #1 of digits: the first engine is the baseline"
	$(BIN)/plaster-ops retrain digits
	@echo
	@echo "== two more writers hand in their digits"
	$(BIN)/python -m pipelines.digits arrive
	@echo
	@echo "== retrain #2, compared with the last one: both engines are measured again, side by side"
	$(BIN)/plaster-ops retrain digits --compare last
	@echo
	@echo "next: $(BIN)/plaster-ops history        what became of each retrain"
	@echo "      $(BIN)/plaster-ops ui             the same in MLflow, at http://127.0.0.1:5000"
	@echo "      $(BIN)/python -m pipelines.digits arrive && $(BIN)/plaster-ops retrain --compare champion"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
