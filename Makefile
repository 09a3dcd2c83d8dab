# make train   pretrains a small biLM on the documentation of Python's standard library, or on your own text:
#              make train TRAIN=text.txt HELDOUT=other.txt OUT=runs/mine
#              The same command again resumes an interrupted run.
# make test    lint, format check, types, imports, and all tests but the slow ones, in less than five minutes
# make test-all
#              the same with the slow tests, about ten minutes; CI runs this
# make lint    lint, format check, types, imports
# make bench   measures this package and its alternatives, results in bench/, see benchmarks/README.md; one benchmark:
#              make bench BENCH='feeding --rounds 3'
# make fuzz    feeds damaged files to each parser for ten minutes, see fuzz/README.md; some parsers, for another time:
#              make fuzz FUZZ='options hdf5' FUZZ_SECONDS=60
# make results DATA=DIR
#              repeats all examples that have figures, one at a time, into runs/, and prints their tables. Its data are the folders
#              low_resource, english, minimal_pairs, lexical_substitution and ko_petitions of DIR. It needs more packages: see the README of
#              each example. The same command again resumes an interrupted run.
# make docs    builds the site of the documentation in site/; to read it: python -m http.server -d site
#              With Chromium, and after `make train`, it has pictures of the pages that `report` and `explore` show.
# make soak    the long form of the fault tests, a quarter of an hour or more: 50 kills at random moments, 20,000 steps of training,
#              see docs/reliability.md
# make clean   removes the environments, the site and the caches, not data/, runs/ and bench/

# The first of these that runs and is 3.10-3.13. Being on the PATH is not enough: pyenv has shims that only print an error.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
DOCS_VENV := .venv-docs
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

ifneq ($(if $(TRAIN),yes),$(if $(HELDOUT),yes))
$(error TRAIN and HELDOUT go together: make train TRAIN=text.txt HELDOUT=other.txt)
endif
ifndef TRAIN
TRAIN := data/train.txt
HELDOUT := data/heldout.txt
STDLIB_TEXT := $(TRAIN) $(HELDOUT)
endif
OUT ?= runs/bilm
CONFIG ?= training_config/bilm.jsonnet
FUZZ_SECONDS ?= 600

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# With this variable every start of AllenNLP compiles PyTorch's Python code again: minutes instead of seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train test test-all lint bench fuzz results docs soak clean
.DELETE_ON_ERROR:

train: $(STAMP) $(STDLIB_TEXT)
	$(BIN)/elmo-plus train $(CONFIG) -s $(OUT) $(if $(wildcard $(OUT)/config.json),--recover) \
		-o '{"train_data_path": "$(TRAIN)", "validation_data_path": "$(HELDOUT)"}'
	$(BIN)/elmo-plus evaluate $(OUT)/model.tar.gz '$(HELDOUT)' --output-file $(OUT)/heldout_metrics.json \
		--cuda-device $$($(BIN)/python -c 'import torch; print(torch.cuda.is_available() - 1)')
	$(BIN)/elmo-plus export $(OUT)/model.tar.gz $(OUT)/elmo
	@$(BIN)/python -m examples.training_summary $(OUT)

data/train.txt: | $(STAMP)
	$(BIN)/python -m examples.stdlib_corpus data

data/heldout.txt: data/train.txt

test: lint
	$(BIN)/python -m pytest -q -m 'not slow'

test-all: lint
	$(BIN)/python -m pytest -q

lint: $(STAMP)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(STAMP)
	$(BIN)/python -m benchmarks --output bench $(BENCH)

# Only this target needs atheris, which has no build for Python 3.10.
fuzz: $(STAMP)
	@$(BIN)/python -m pip install -q --no-deps atheris==3.0.0
	$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

results: $(STAMP)
	@test -n "$(DATA)" || { echo "DATA is missing: make results DATA=DIR" >&2; exit 1; }
	for folder in $(DATA)/low_resource/*/; do $(BIN)/python -m examples.low_resource --figures runs/low_resource/figures.jsonl $$folder || exit 1; done
	$(BIN)/python -m examples.english $(DATA)/english
	$(BIN)/python -m examples.chunking $(DATA)/english --models runs/english/seed*/model.tar.gz
	$(BIN)/python -m examples.grammar $(DATA)/minimal_pairs runs/english/seed*/model.tar.gz --text $(DATA)/english/train.txt.gz
	$(BIN)/python -m examples.word_choice $(DATA)/lexical_substitution runs/english/seed*/model.tar.gz --text $(DATA)/english/train.txt.gz
	$(BIN)/python -m examples.petitions $(DATA)/ko_petitions
	$(BIN)/python -m examples.petitions $(DATA)/ko_petitions --words morphemes
	$(BIN)/python -m examples.meaning_over_time $(DATA)/ko_petitions runs/petitions/spaces/bilm/model.tar.gz
	for name in low_resource english chunking grammar word_choice petitions meaning_over_time; do \
		$(BIN)/python -m examples.shared.tables $$name --figures runs/$$name/figures.jsonl || exit 1; done

# MkDocs reads the docstrings without importing the package, so its environment needs only the extra `docs` itself.
docs: $(DOCS_VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" docs/screenshots.sh runs/bilm data/heldout.txt docs/screenshots
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build

$(DOCS_VENV)/.installed: setup.py
	@$(PYTHON) -m venv --clear $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install -q $$(sed -n 's/^ *"docs": \[\(.*\)\],$$/\1/p' setup.py | tr -d '",')
	@touch $@

soak: $(STAMP)
	$(BIN)/python -m tests.faults.soak $(SOAK)

# uv installs several times as fast as pip. If uv is not available, or cannot reach the registry in pip's settings, pip installs.
$(STAMP): requirements.txt setup.py
	@test -n "$(PYTHON)" || { echo "No Python 3.10-3.13 found: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Installing the environment into $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@{ $(BIN)/python -m pip install -q --no-deps "$$(grep '^uv==' requirements.txt)" && \
		$(BIN)/uv pip install -q --compile-bytecode --no-deps -p $(BIN)/python -r requirements.txt; } 2>/dev/null || \
		$(BIN)/python -m pip install -q --no-deps -r requirements.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) $(DOCS_VENV) site .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
