# Every target is a plain Python command, so Windows needs no make: the README lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ifeq ($(OS),Windows_NT)
VENV := .venv/Scripts
COLAB := .venv-colab/Scripts
else
VENV := .venv/bin
COLAB := .venv-colab/bin
endif

CHAPTER ?= all
PROFILE ?= cpu
SOURCES := src tests tools studies book/_ext

.DEFAULT_GOAL := help
.PHONY: help env setup book test soak run study bench tables lab lint stale compare test-colab lock set-repo clean

help:  ## show this list
	@$(PYTHON) tools/help.py Makefile

env:  ## make .venv
	@$(PYTHON) tools/bootstrap.py --no-assets

setup:  ## make .venv and fetch the chapters' models and data (the other targets do it themselves)
	@$(PYTHON) tools/bootstrap.py

book: setup  ## render the book and print where it is
	@$(VENV)/python tools/build_book.py

test: setup  ## run every test
	@$(VENV)/python -m pytest tests -n 2 --durations=10

soak: setup  ## try to break it at random for 20 minutes: make soak MINUTES=…
	@$(VENV)/python tools/soak.py $(if $(MINUTES),--minutes $(MINUTES))

run: setup  ## execute a chapter in place and stamp it: make run CHAPTER=01 PROFILE=cpu
	@$(VENV)/python tools/chapters.py run --chapter $(CHAPTER) --profile $(PROFILE)

study: setup  ## run a long measurement: make study NAME=… (without NAME: which there are)
	@$(VENV)/python tools/study.py $(NAME)

bench: setup  ## plain Trainer and this package side by side, in turn, half an hour at most
	@$(VENV)/python tools/study.py ch01_speed --fresh _build/bench --rounds 2 --minutes 29 --without "one option after the other"

tables: env  ## write the tables on README and the book's pages, and the first picture, anew from results/
	@$(VENV)/python tools/tables.py
	@$(VENV)/python tools/front_picture.py

lab: setup  ## open JupyterLab on the chapters
	@$(VENV)/python -m jupyterlab notebooks

lint: env  ## check style and formatting
	@$(VENV)/python -m ruff check $(SOURCES)
	@$(VENV)/python -m ruff format --check $(SOURCES)

stale: env  ## list what changed since each chapter was run
	@$(VENV)/python tools/chapters.py stale

compare: env  ## compare two folders of executed chapters, apart from times: make compare OLD=… NEW=…
	@$(VENV)/python tools/compare_runs.py $(OLD) $(NEW)

test-colab:  ## run the chapters and the unit tests with the versions Colab has
	@$(PYTHON) tools/bootstrap.py --venv .venv-colab --constraints constraints/colab.txt
	@$(COLAB)/python -m pytest tests --ignore tests/book --ignore tests/tools

lock:  ## write requirements.lock anew from pyproject.toml's ranges
	@$(PYTHON) tools/lock.py

set-repo:  ## write the repository's public address everywhere: make set-repo URL=https://…
	@$(PYTHON) tools/set_repo.py $(if $(URL),"$(URL)")

clean:  ## remove what was built; the environments and the downloads stay
	@$(PYTHON) tools/clean.py
