# The two commands of a newcomer are `make demo` and `make test`; both set up what they need.
# All of it goes to .venv, which `make clean` takes away again.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

# Without bytecode pytest takes three seconds more to begin, in each worker.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test engines list bench check docs pictures release-check clean

demo: .venv/ready  ## list the images of an embedded engine: no Docker needed
	@$(BIN)/docker-images --demo

test: .venv/ready  ## run the tests; those with real engines are skipped where there are none
	@$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow" $(ARGS)

engines:  ## unpack Docker and Podman of several generations, for the tests; Debian, as root
	@$(PYTHON) tests/suites.py

list: .venv/ready  ## list the images of the engine that the docker command would talk to
	@$(BIN)/docker-images

check: .venv/ready  ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PATH="$$PWD/$(BIN):$$PATH" $(BIN)/pyright --verifytypes docker_images --ignoreexternal

bench: .venv/ready  ## compare with other clients; takes about half an hour
	@$(BIN)/python -m pip install --quiet -r tests/benchmarks/requirements.txt
	@$(BIN)/python -m tests.benchmarks $(ARGS)

docs: .venv/ready  ## build the documentation; build/docs/index.html is its front page
	@$(BIN)/python -m pip install --quiet --group docs
	@$(BIN)/sphinx-build -E -W -n --keep-going -q -d build/doctrees docs build/docs

pictures: .venv/ready  ## draw the command anew, for README
	@$(BIN)/python .ci/pictures.py

release-check: .venv/ready  ## build a release twice, check it, and run the tests against its wheel
	@$(BIN)/python -m pip install --quiet --group release
	@$(BIN)/python .ci/release.py $(ARGS)

clean:
	rm -rf .venv

.venv/ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@had=$$(ls -d .venv 2>/dev/null); $(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make virtual environments: install the package python3-venv (Debian, Ubuntu: apt-get install python3-venv)" >&2; [ -n "$$had" ] || rm -rf .venv; exit 1; }
	@echo "Setting up .venv …"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[cli,metrics,testing]' --group dev
	@touch $@
