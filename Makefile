# Every command of the project. CI runs `make check` and `make test`.
.DEFAULT_GOAL := help
export OMP_NUM_THREADS ?= 1
PY := .venv/bin/python
TASK ?= shirt_folding

.PHONY: help setup run smoke micro check test test-all gpu bench env-pusht env-metaworld env-aloha env-openpi accept-golden lock clean

help:  ## List the commands
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## Build .venv from requirements.lock (nothing to do: no work)
	@sh scripts/setup.sh

run: setup  ## Set up, then run the whole loop on TASK (default shirt_folding) to its report
	.venv/bin/recap run --task $(TASK)

smoke: setup  ## The same code on Ray at a size of a minute or two
	.venv/bin/recap run --task $(TASK) --preset smoke

micro: setup  ## The same code in one process, in seconds
	.venv/bin/recap run --task $(TASK) --preset micro

check: setup  ## ruff, mypy --strict, import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: setup  ## The quick test suite (about a quarter of an hour on 2 cores)
	$(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not slow"

test-all: setup  ## Everything, slow tests included
	$(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

gpu: setup  ## The tests that need a GPU (all are skipped where torch.cuda sees none)
	$(PY) -m pytest -m gpu -rs tests/gpu

bench: setup  ## Every benchmark but the study of experts and the loop on a robot (an hour); each ends in one line of JSON
	@for b in $(filter-out benchmarks/checkout.py benchmarks/experts.py benchmarks/robot_loop.py,$(wildcard benchmarks/*.py)); do echo "== $$b"; $(PY) $$b || exit 1; done

env-pusht: setup  ## Build .envs/pusht for the task gym_pusht: .envs/pusht/bin/recap run --task gym_pusht
	@sh scripts/env.sh pusht

env-metaworld: setup  ## The same in .envs/metaworld for gym_metaworld
	@sh scripts/env.sh metaworld

env-aloha: setup  ## The same in .envs/aloha for gym_aloha
	@sh scripts/env.sh aloha

env-openpi: setup  ## The stock client of `recap serve` in .envs/openpi, for its slow contract test
	@sh scripts/env.sh openpi

accept-golden: setup  ## Accept changed step code as output-neutral (or after a version bump)
	$(PY) -m recap.code

lock: setup  ## Re-solve requirements.lock from pyproject.toml
	.uv/bin/uv pip compile pyproject.toml --extra dev --python-version 3.12 --python-platform x86_64-manylinux_2_28 \
	  --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

clean:  ## Remove build output and caches (never runs/ or .venv/)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './.uv/*' -prune -exec rm -rf {} +
