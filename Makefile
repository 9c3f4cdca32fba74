PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tested version. It comes first because pip, asked for a range, would take the newest build with all of CUDA.
TORCH := torch==2.13.0

.PHONY: demo test check clean

demo: $(VENV)/.installed
	$(BIN)/tpt run examples/quickstart.toml

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
