# make         bake: the environment, then the whole workflow
# make new     a config for your own character: NAME=suzu FROM=folder-or-address BASE=checkpoint
# make plan    what a bake would do, in seconds; CONFIG=config/suzu.yaml, as for make
#              EXPERIMENT=pruned lays config/experiments/pruned.yaml over it, to answer a question
# make test    all tests, on all cores
# make quick   the tests that take no time and no browser
# make lint    ruff, mypy, snakefmt, snakemake --lint
# make smoke   every stage once on a small set (.test/), with its report: two minutes
# make pictures the pictures of pages in README and docs/, from a finished bake
# make world   rebuild the embedded world (hours; its products are committed)

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
# A worker for each core, at most 8, as each imports torch; idle workers take tests from the others.
WORKERS := -n $(if $(filter all,$(CORES)),logical,$(CORES)) --maxprocesses 8 --dist worksteal

# With an NVIDIA driver, PyTorch's CUDA build and onnxruntime-gpu; else CPU builds, no CUDA gigabytes.
GPU ?= $(if $(shell command -v nvidia-smi 2>/dev/null),1,)

# CONFIG=config/suzu.yaml bakes (or plans) that one instead of config/config.yaml.
CONFIG ?=
QUOTED := $(if $(word 2,$(CONFIG)),"$(CONFIG)",$(CONFIG))
# EXPERIMENT=pruned lays config/experiments/pruned.yaml over it, or over the shipped config.
EXPERIMENT ?=
OVER := $(if $(EXPERIMENT),config/experiments/$(EXPERIMENT).yaml)
CONFIGFILE := $(if $(CONFIG)$(OVER),--configfile $(or $(QUOTED),config/config.yaml)$(if $(OVER), $(OVER)))

# What is misspelt would be ignored without a word, and the example baked in its place.
$(foreach word,name from base config experiment cores python gpu,$(if $(filter command,$(word 1,$(origin $(word)))),\
$(error make has no $(word)=: write it in capitals)))
ifneq ($(filter command,$(word 1,$(origin NAME)) $(word 1,$(origin FROM))),)
ifeq ($(filter new,$(MAKECMDGOALS)),)
$(error NAME= and FROM= are for `make new`, which writes a config; then bake it with CONFIG=config/<name>.yaml)
endif
endif

.PHONY: bake new plan test quick smoke lint format docs pictures same-results world clean

bake: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) $(CONFIGFILE)
	@echo
	@echo "Open the page named above in a browser: all epochs beside the base, and which one to take."
	@echo
	@$(if $(CONFIGFILE),echo 'LoRAs for your UI:    $(BIN)/snakemake --cores $(CORES) gather $(CONFIGFILE)',\
	echo "Your own character:   make new NAME=suzu FROM=folder-or-address BASE=checkpoint.safetensors")
	@echo "Other commands:       source $(BIN)/activate   (once in each terminal; then see README.md)"

new: $(VENV)/.installed
	@$(if $(and $(NAME),$(FROM)),,echo "say which: make new NAME=suzu FROM=folder-or-address BASE=checkpoint" >&2; exit 2)
	@$(BIN)/python scripts/new_config.py "$(NAME)" --from "$(FROM)" --base "$(BASE)" --make

plan: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) plan $(CONFIGFILE)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(WORKERS)

quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(WORKERS) -m "not slow and not browser"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

docs: $(VENV)/.installed
	PYTHONPATH=scripts $(BIN)/python scripts/upkeep/describe_config.py
	PYTHONPATH=scripts $(BIN)/python scripts/upkeep/house.py
	PYTHONPATH=scripts $(BIN)/python scripts/upkeep/licences.py

# of the pages of the bake in results/, with Chromium
pictures: $(VENV)/.installed-dev
	PYTHONPATH=scripts $(BIN)/python scripts/upkeep/screenshots.py

same-results: $(VENV)/.installed
	PYTHONPATH=scripts $(BIN)/python scripts/upkeep/code_versions.py

# as the workflow catalog runs it: with workflow/Snakefile, in a folder that has only a config
smoke: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) --snakefile workflow/Snakefile --directory .test
	$(BIN)/snakemake --snakefile workflow/Snakefile --directory .test --report results/report.zip

world: $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" snakemake --snakefile world/Snakefile --cores $(CORES)

# A CPU build that pip can find (a local wheel, a configured index) is taken first; uv knows where
# PyTorch keeps its builds and picks the one for this machine. Where that place is out of reach, the
# plain package does.
PLAIN_TORCH := { echo "PyTorch's own index is out of reach: installing the plain torch package instead" \
	"(on Linux with CUDA's libraries: some GB)"; $(BIN)/pip install --quiet $(TORCH); }

$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit("LoRA Bakery needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
ifeq ($(GPU),1)
	$(BIN)/pip install --quiet uv
	@echo "Installing $(TORCH) for the GPU"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=auto $(TORCH) || $(PLAIN_TORCH)
else
	@echo "Installing $(TORCH) for the CPU, or a Mac's GPU"
	@$(BIN)/pip install --quiet "$(TORCH)+cpu" 2>/dev/null || { \
		$(BIN)/pip install --quiet uv && \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=cpu $(TORCH); } || $(PLAIN_TORCH)
endif
	touch $@

$(VENV)/.installed: $(VENV)/.torch requirements.txt requirements-gpu.txt
ifeq ($(GPU),1)
	grep -v '^onnxruntime==' requirements.txt > $(VENV)/requirements.txt
	$(BIN)/pip install --quiet -r $(VENV)/requirements.txt -r requirements-gpu.txt
else
	$(BIN)/pip install --quiet -r requirements.txt
endif
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

# results, LoRAs above all, are no rubbish
clean:
	rm -rf logs .snakemake
	@echo "Results stay. What of them can be freed, by size: snakemake --cores 1 clean"
