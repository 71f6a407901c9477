# mouse-facelift. `make` alone lists what can be made; everything runs inside .venv, which is made on first use.
# Another interpreter: make test PYTHON3=/path/to/python3.11

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
PYTHON3 ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo "$$python"; break; }; done)
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.installed ## everything once, on data that it makes itself: training, evaluation, pictures; no GPU needed
	$(PYTHON) scripts/demo.py

.PHONY: test
test: $(VENV)/.installed-dev ## style, types and tests; all three run even when one fails
	@status=0; \
	$(MAKE) --no-print-directory lint || { status=1; echo "error: style or types are wrong, see above" >&2; }; \
	$(PYTHON) -m pytest || status=$$?; \
	exit $$status

.PHONY: test-slow
test-slow: $(VENV)/.installed-dev ## the tests that take minutes: fifty kills of one training, full disks, every signal
	$(PYTHON) -m pytest -m 'slow and not gpu'

.PHONY: lint
lint: $(VENV)/.installed-dev ## style and types only
	@status=0; \
	for tool in "ruff check" "ruff format --check" "mypy"; do \
		$(PYTHON) -m $$tool || { status=1; echo "error: $$tool failed" >&2; }; \
	done; \
	exit $$status

.PHONY: format
format: $(VENV)/.installed-dev ## rewrite the code in the house style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

.PHONY: environment
environment: $(VENV)/.installed ## make .venv and install the package
	@echo "ready: source $(VENV)/bin/activate"

.PHONY: clean
clean: ## remove .venv, caches and what the demo made; runs and data stay
	rm -rf $(VENV) build demo_output *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PYTHON):
	@test -n "$(PYTHON3)" || { echo "error: Python 3.10 or newer is needed and none is on PATH;" \
		"install one, or name it: make PYTHON3=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON3)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: Python 3.10 or newer is" \
		"needed, $(PYTHON3) is $$("$(PYTHON3)" --version 2>&1)" >&2; exit 1; }
	@echo "making $(VENV) with $$("$(PYTHON3)" --version)"
	@"$(PYTHON3)" -m venv $(VENV) || { rm -rf $(VENV); echo "error: this Python cannot make environments; on Debian" \
		"and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(PYTHON)
	@echo "installing mouse-facelift (a few minutes the first time)"
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@
