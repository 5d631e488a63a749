# Everything starts from a machine with Python (3.10 to 3.13) and make.
#   make report   set up, measure the quick preset here, leave results/local/report.html
#   make test     set up, run the tests
# An active conda environment (conda env create -f environment.yml) is used as it is;
# otherwise .venv is made from requirements.lock. PYTHON names another interpreter to make it with.

PYTHON ?= python3
PRESET ?= quick
OUT ?= results/local

ifneq ($(and $(CONDA_PREFIX),$(filter-out base,$(CONDA_DEFAULT_ENV))),)
  ENV := $(CONDA_PREFIX)
  READY :=
else
  ENV := .venv
  READY := .venv/ready
endif
BIN := $(ENV)/bin
export PYTHONHASHSEED ?= 0
# Images of containers set it; every process would then compile this package's sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup report test lint format figures pdf generated lock clean

help:
	@sed -n 's/^#   //p' Makefile
	@echo "also: setup lint format figures pdf generated lock clean"

setup: $(READY)
	@echo "benchlib: ready in $(ENV)"

.venv/ready: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "benchlib: no $(PYTHON) here; install Python 3.10 to 3.13, or name one: make PYTHON=/usr/bin/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { echo "benchlib: $$($(PYTHON) --version) is not one of 3.10 to 3.13; name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "benchlib: making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "benchlib: installing the locked packages (PyTorch brings its CUDA libraries, some 5 GB; 2 to 10 minutes)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@echo "benchlib: installing this package"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

report: setup
	@echo "benchlib: measuring preset '$(PRESET)' into $(OUT)"
	$(BIN)/python -m benchlib run --preset "$(PRESET)" --out "$(OUT)"

# Up to four workers, one thread each: more threads than cores only make them wait on one another.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb

format: setup
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

# figures/, the pictures that README.md and docs/ show: drawn again from the committed sets, byte for byte.
figures: setup
	$(BIN)/python -m benchlib report $(addprefix results/,h100-tensorrt-8.6 h100-trtexec-8.6 h200-tensorrt-8.6 rtx3090-published) -o build/report --figures build/figures
	rm -f figures/*
	cp $$(grep -oh 'figures/[a-z0-9.-]*\.svg' README.md docs/*.md 2>/dev/null | sort -u | sed 's,^,build/,') figures/
	$(BIN)/python tools/readme_tables.py

generated: setup
	$(BIN)/python tools/write_generated.py

lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --no-header --no-annotate --extra dev --python-version 3.10 pyproject.toml -o requirements.lock

pdf: setup
	$(BIN)/python -m benchlib report "$(OUT)" --pdf

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
