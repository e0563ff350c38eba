# Palimpsest: every command starts here. Plain `make` lists them.

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
MINUTES ?= 120
DEVICE ?= cpu
LISTEN ?= 127.0.0.1
PORT ?= 8000
CASES ?= 44
# How many tests run at once: one for each processor, but see MOST_TESTERS, as each has a database and models of its own.
TESTERS ?= logical
MOST_TESTERS := 4
STAGES := tokenizer clip vae unet encoder
# The methods that `make benchmark` repeats, in both orders; set it to the four best of the table.
REPEATED ?= cns-local,cns-no-general,mix-of-show,orthogonal-adaptation

# One thread pool of the machine's size; the tokenizers' own threads only warn when a test forks.
export TOKENIZERS_PARALLELISM := false
# Threads that wait soon sleep: programs at work beside each other, as in the tests, would spin in each other's way.
export GOMP_SPINCOUNT := 2000

.DEFAULT_GOAL := help
.PHONY: help up demo demo-library test lint format migrate collect openapi configuration storybook evaluate diagnosis unlearning benchmark benchmark-quick experiments performance clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# An environment that was begun with an older Python, or that was left without pip, is made anew.
define environment
@$(1)/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")' \
	&& $(PYTHON) -m venv --clear $(1); }
endef

# torch goes first and by itself: where a CPU build is offered beside the CUDA one, this line alone decides which is taken.
$(VENV)/installed: pyproject.toml constraints.txt
	$(call environment,$(VENV))
	@echo "Installing the pinned dependencies into $(VENV) (torch is a large download; a few minutes)."
	$(BIN)/python -m pip install --quiet 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet -e '.[method,service,private,test,dev]' -c constraints.txt
	touch $@

up: $(VENV)/installed ## Start everything here: database, broker, web, worker (PORT=8000, LISTEN=127.0.0.1); Ctrl-C stops it
	@$(BIN)/python -m app.up --host $(LISTEN) --port $(PORT)

demo: $(VENV)/installed ## Three concepts one after another over REST, pictures, and back; writes demo-out/
	$(BIN)/python -m demo --out demo-out

demo-library: $(VENV)/installed ## The same straight on the library, without the service; writes demo-out/
	$(BIN)/python -m storybook.demo --out demo-out

# Beside each other they take turns better with one thread each; many only wait for a process.
test: $(VENV)/installed ## Run every test, as many at once as there are processors (TESTERS=1: one after another)
	@$(BIN)/python -m tests.bring_chromium
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTERS) --maxprocesses $(MOST_TESTERS) --dist worksteal

lint: $(VENV)/installed ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

migrate: $(VENV)/installed ## Bring the database to the newest shape: the one of DATABASE_URL, else the one under var/
	$(BIN)/python -m app.migrate

collect: $(VENV)/installed ## Remove stored files that nothing refers to any more, and what has expired
	$(BIN)/python -m app.collect

openapi: $(VENV)/installed ## Write docs/openapi.json
	$(BIN)/python -m app.openapi

configuration: $(VENV)/installed ## Write docs/configuration.md, the table of all settings
	$(BIN)/python -m app.describe_settings

storybook: $(VENV)/installed ## Train the embedded base, every stage (MINUTES each, DEVICE=cpu|cuda), and measure it
	for stage in $(STAGES); do $(BIN)/python -m storybook.train --stage $$stage --minutes $(MINUTES) --device $(DEVICE) || exit 1; done
	$(BIN)/python -m storybook.evaluate

diagnosis: $(VENV)/installed ## Learnings made to fail in each way (CASES, as far as MINUTES reach; call it again to go on); writes docs/diagnosis.md
	$(BIN)/python -m benchmarks.diagnosis run --cases $(CASES) --minutes $(MINUTES)
	$(BIN)/python -m benchmarks.diagnosis page

unlearning: $(VENV)/installed ## Measure what forgetting a concept costs the others (25 minutes on 2 cores); writes docs/unlearning.md
	$(BIN)/python -m benchmarks.unlearning

benchmark: $(VENV)/installed ## Every method, concept after concept, for hours; stopped, it goes on. Writes docs/benchmark.md
	$(BIN)/python -m benchmarks.continual run --stream one --methods all --at-once 2
	$(BIN)/python -m benchmarks.continual run --stream one,two --methods $(REPEATED) --repetitions 3 --at-once 2
	$(BIN)/python -m benchmarks.continual page

benchmark-quick: $(VENV)/installed ## Three concepts by five methods; writes docs/benchmark-quick.md
	$(BIN)/python -m benchmarks.continual run --stream quick --methods quick --name continual-quick --at-once 2
	$(BIN)/python -m benchmarks.continual page --name continual-quick

experiments: $(VENV)/installed ## The experiments that belong to the method; some thirty learnings; writes docs/experiments/
	$(BIN)/python -m benchmarks.experiments all

# Beside the project's environment, and seeing all of it: diffusers loads models in another way once accelerate is there.
$(PEERS)/installed: $(VENV)/installed
	$(call environment,$(PEERS))
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$($(PEERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth
	$(PEERS)/bin/python -m pip install --quiet --no-deps peft accelerate -c constraints.txt
	touch $@

# What peers do is first held to be what we say it is: these tests are skipped where there is no peft.
performance: $(PEERS)/installed ## Speed, memory and size beside diffusers and peft (DEVICE=cpu|cuda); stopped, it goes on. Writes docs/performance.md
	$(PEERS)/bin/python -m pytest -q tests/benchmarks/test_serving.py tests/benchmarks/test_low_rank.py tests/benchmarks/test_learning_step.py
	$(PEERS)/bin/python -m benchmarks.performance all --device $(DEVICE)
	$(PEERS)/bin/python -m benchmarks.performance page

clean: ## Remove what the commands made, the environment too
	rm -rf $(VENV) $(PEERS) demo-out build *.egg-info .pytest_cache .mypy_cache .ruff_cache
