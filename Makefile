# `make demo` and `make test` do all the set-up themselves. STACK=addons|current chooses the packages (see README).
PYTHON ?= python3
STACK ?= $(shell $(PYTHON) -c 'import sys; print("addons" if sys.version_info < (3, 12) else "current")' 2>/dev/null)
# The default stack lives in .venv, the other one beside it.
DEFAULT := $(shell $(PYTHON) -c 'import sys; print("addons" if sys.version_info < (3, 12) else "current")' 2>/dev/null)
VENV := $(if $(filter $(STACK),$(DEFAULT)),.venv,.venv-$(STACK))
BIN := $(VENV)/bin
comma := ,
EXTRAS := onnx$(comma)test$(comma)view$(comma)$(if $(filter addons,$(STACK)),addons,notebooks$(comma)mlflow$(comma)wandb)
MARKS ?= not long
# Tests trace graphs for most of their time, on one core each; a worker comes to hold up to 4 GiB.
WORKERS ?= $(shell $(PYTHON) -c 'import os; gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30; \
	print(max(1, min(os.cpu_count() or 1, gib // 4)))' 2>/dev/null)
STAMP := $(VENV)/.installed-$(STACK)
define COMPILE
import compileall, pathlib, sysconfig
root = pathlib.Path(sysconfig.get_path("purelib"))
for name in "tensorflow keras numpy scipy pandas matplotlib nibabel pydantic pydicom h5py google imgaug".split():
    compileall.compile_dir(root / name, quiet=2, workers=0)
endef
export COMPILE

.PHONY: demo test test-current test-all lint docs site gallery notebooks release-check setup check-python

# Its own time-stamped run directory, so that it can be repeated.
demo: RUN := runs/demo-$(shell date +%Y%m%d-%H%M%S)
demo: setup
	$(BIN)/python -m tfmed.fit configs/ctsgan.yaml --profile demo --run-dir $(RUN)
	$(BIN)/python -m tfmed.sample $(RUN) -n 4 --out $(RUN)/volumes
	$(BIN)/python -m tfmed.evaluate $(RUN) -n 8
	$(BIN)/python -m tfmed.export $(RUN)
	@printf 'volumes:    %s\npictures:   %s\nreport:     %s\nSavedModel: %s\n' $(RUN)/volumes $(RUN)/previews $(RUN)/report.html $(RUN)/export

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder -m "$(MARKS)" $(TESTS)

# What must hold on the newer stack as well: every method's harness, the engine, io, data.
test-current:
	$(MAKE) test STACK=current MARKS="current and not one_stack and not long"

test-all: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

# What README, the pages of methods and the glossary take from the source; then the site, from site/index.html on.
docs: setup
	$(BIN)/python docs/generate.py
	$(MAKE) site

# The site alone, in an environment of its own.
site: export NO_MKDOCS_2_WARNING := 1
site: .venv-docs/.installed
	.venv-docs/bin/python -m mkdocs build --strict --quiet
	@.venv-docs/bin/python docs/offline.py site

.venv-docs/.installed: constraints/docs.txt
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r constraints/docs.txt
	@touch $@

# A picture of each method for its page, by its demo run: minutes each, hours in all; goes on where it was stopped.
gallery: setup
	$(BIN)/python docs/gallery.py $(METHODS)

# What the notebooks show: runs them in their demo settings, minutes each. NAMES="quickstart choices" chooses.
notebooks:
	$(MAKE) setup STACK=current
	$(if $(filter current,$(DEFAULT)),.venv,.venv-current)/bin/python docs/notebooks.py $(NAMES)

setup: check-python $(STAMP)

check-python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; low, high = ((3, 10), (3, 11)) if "$(STACK)" == "addons" else ((3, 11), (3, 13)); \
	sys.exit(0 if "$(STACK)" in ("addons", "current") and low <= v <= high else \
	"tfmed: stack \"$(STACK)\" needs Python %d.%d to %d.%d (this is %d.%d); choose one with PYTHON=python3.11" % (*low, *high, *v))'

$(STAMP): setup.cfg pyproject.toml constraints/$(STACK).txt
	@echo "Setting up $(VENV) (stack $(STACK)); this takes some minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@# most modules are never imported: compiling all of them took half of the time; those that every process imports
	@# are compiled below, 20 s, because a process that may not write them compiles them for itself, 5 s each time
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints/$(STACK).txt -e '.[$(EXTRAS)]'
	@$(BIN)/python -c "$$COMPILE"
	@touch $@

# Wheel and sdist, installed and tried in fresh environments: PYTHONS="3.11 3.13" KINDS=wheel TAG=v0.2.0 choose.
release-check: .venv-release/.installed
	.venv-release/bin/python .ci/release_check.py $(if $(PYTHONS),--pythons $(PYTHONS)) $(if $(KINDS),--kinds $(KINDS)) $(if $(TAG),--tag $(TAG))

.venv-release/.installed:
	@$(PYTHON) -m venv .venv-release
	@.venv-release/bin/python -m pip install --quiet --disable-pip-version-check build
	@touch $@
