# make reproduce   the study on the default profile: tables, figures, executed notebooks, a page to open
# make test        ruff, pytest, and every notebook through nbval
# make lab         JupyterLab on the notebooks
# make book        the site: README, notebooks as they are stored, choices, manifests, the API
# make bench       speed, each figure as a ratio to a plain reference of the same run
# make notebooks   execute the committed notebooks in place (their outputs are read on the web)
# make lock        resolve the pinned requirements anew

PYTHON ?= python3
PROFILE ?= quick
BIN := .venv/bin
ENV := .venv/installed

.PHONY: reproduce test lab book bench notebooks lock clean

reproduce: $(ENV)
	$(BIN)/python -m mint_utils.reproduce --profile $(PROFILE) $(ARGS)

test: $(ENV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=8 --dist=loadscope tests
	MINT_FIGURES=$$(mktemp -d) $(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=1800 notebooks

lab: $(ENV)
	$(BIN)/jupyter lab notebooks

book: $(ENV)
	PYTHONPATH=. $(BIN)/sphinx-build -q -W --keep-going -c book -d reports/book/.doctrees . reports/book
	@echo "page to open: reports/book/index.html"

bench: $(ENV)
	$(BIN)/python -m benchmarks

notebooks: $(ENV)
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.timeout=-1 notebooks/*.ipynb

# The stamp is written last, so that an interrupted install is begun again.
$(ENV): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lock:
	uv pip compile pyproject.toml --extra book --extra test --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --quiet --output-file requirements.lock

clean:
	rm -rf .venv artifacts reports
