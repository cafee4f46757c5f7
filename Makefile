# `make demo` and `make test` set everything up themselves; Python 3.11, make and git are all they need.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test lint format bench tables clean

setup: $(READY)

# made again only when what is to be installed changes
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[data,dev]"
	touch $@

demo: setup
	$(BIN)/auglean compare --data digits --budgets 0.1,0.3 --steps 400

test: setup
	$(BIN)/python -m pytest -n auto

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python benchmarks/collect.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/policies.py

tables: setup
	$(BIN)/python benchmarks/tables.py

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
