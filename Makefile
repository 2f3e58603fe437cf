# Everything that is made goes to .venv and to WSGIAPP_HOME (var/ by default).

SHELL := /bin/bash
PYTHON ?= python3
export WSGIAPP_HOME ?= $(CURDIR)/var
# Libraries that keep files in the home folder keep them here.
export KERAS_HOME := $(WSGIAPP_HOME)/cache/keras
export MPLCONFIGDIR := $(WSGIAPP_HOME)/cache/matplotlib
export PIP_NO_CACHE_DIR := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
HOME_FOLDER = "$(WSGIAPP_HOME)"
MODELS = "$(WSGIAPP_HOME)/models"
MADE = $(PYTHON) scripts/made.py
# Much of what they do is waiting. The files' order stays: the long ones come early.
TWO_FILES_AT_A_TIME = --numprocesses=2 --dist=loadfile --no-loadscope-reorder
COVERAGE = COVERAGE_FILE="$(WSGIAPP_HOME)/tmp/coverage/data" $(BIN)/python -m coverage

.DEFAULT_GOAL := help
.PHONY: help setup models up down status restart upgrade logs supervisorctl install-service uninstall-service test \
	newest docs bench soak overload chaos fuzz attack lint audit sbom clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/installed ## make the virtual environment, install Nginx where it is missing

.venv/installed: setup.py constraints.txt scripts/setup.sh
	@PYTHON=$(PYTHON) scripts/setup.sh .
	@touch $@

.venv/installed-dev: .venv/installed
	@PYTHON=$(PYTHON) scripts/setup.sh '.[dev]'
	@touch $@

.venv/installed-bench: .venv/installed
	@PYTHON=$(PYTHON) scripts/setup.sh '.[bench]'
	@touch $@

.venv/installed-fuzz: .venv/installed
	@PYTHON=$(PYTHON) scripts/setup.sh '.[fuzz]'
	@touch $@

.venv/installed-audit: .venv/installed
	@PYTHON=$(PYTHON) scripts/setup.sh '.[audit]'
	@touch $@

models: .venv/installed ## train the demo models, where they are missing
	@$(MADE) home $(HOME_FOLDER)
	@test -e $(MODELS)/lstm/1/saved_model.pb || { $(BIN)/python scripts/models/lstm/train.py --out $(MODELS)/lstm/1 && \
		$(MADE) model $(HOME_FOLDER) $(MODELS)/lstm/1; }
	@test -e $(MODELS)/cv_sod/1/saved_model.pb || { $(BIN)/python scripts/models/cv_sod/build.py --out $(MODELS)/cv_sod/1 && \
		$(MADE) model $(HOME_FOLDER) $(MODELS)/cv_sod/1; }

up: models ## set up and start everything, show real predictions
	@$(BIN)/wsgiapp up
	@$(BIN)/python scripts/demo.py

down: .venv/installed ## stop everything, drained
	@$(BIN)/wsgiapp down

status: .venv/installed ## show each process
	@$(BIN)/wsgiapp status

restart: .venv/installed ## restart the workers one by one, without losing a request
	@$(BIN)/wsgiapp restart

upgrade: ## fetch new code where there is an upstream, set it up, replace all processes without losing a request
	@! git rev-parse --abbrev-ref '@{upstream}' >/dev/null 2>&1 || git pull --ff-only
	@$(MAKE) --no-print-directory models
	@$(BIN)/wsgiapp upgrade

logs: .venv/installed ## follow all logs
	@$(BIN)/wsgiapp logs

supervisorctl: .venv/installed ## supervisord's own client, for this stack: make supervisorctl ARGS="tail -f modelserver"
	@set -f; $(BIN)/supervisorctl -c "$(WSGIAPP_HOME)/run/supervisord.conf" $(ARGS)

install-service: .venv/installed ## start at boot: writes /etc/systemd/system/wsgiapp.service (SERVICE=name), with sudo
	@$(BIN)/python scripts/service.py install $(SERVICE)

uninstall-service: .venv/installed ## stop the service, and start it no more at boot
	@$(BIN)/python scripts/service.py uninstall $(SERVICE)

test: models .venv/installed-dev ## run all tests; coverage by package
	@mkdir -p "$(WSGIAPP_HOME)/tmp/coverage" && rm -f "$(WSGIAPP_HOME)/tmp/coverage/"*
	@$(COVERAGE) run -m pytest $(TWO_FILES_AT_A_TIME) --durations=15
	@$(COVERAGE) combine --quiet
	@$(COVERAGE) json --quiet -o "$(WSGIAPP_HOME)/tmp/coverage/report.json"
	@$(BIN)/python scripts/coverage_by_package.py "$(WSGIAPP_HOME)/tmp/coverage/report.json"

newest: models ## run the tests with the newest versions of all dependencies, in .venv-newest
	@PYTHON=$(PYTHON) ENVIRONMENT=.venv-newest CONSTRAINTS= scripts/setup.sh '.[dev]'
	@.venv-newest/bin/python -m pytest $(TWO_FILES_AT_A_TIME)

docs: models .venv/installed-dev ## run the commands of the documents, and write anew what they print
	@WSGIAPP_REFRESH_DOCS=1 $(BIN)/python -m pytest -q tests/docs

bench: models .venv/installed-bench ## measure this beside its alternatives, in 20 minutes (QUICK=1: in 3; PUBLISH=1: into docs/)
	@$(BIN)/python scripts/bench $(if $(QUICK),--quick) $(if $(PUBLISH),--publish)

soak: models .venv/installed ## 200,000 texts (REQUESTS=...) without an error, and without memory that grows; MINUTES=30: with faults
	@$(BIN)/python $(if $(MINUTES),scripts/chaos --soak $(MINUTES),scripts/bench --soak $(or $(REQUESTS),200000))

overload: models .venv/installed-bench ## measure goodput past saturation, and texts beside floods (PARTS=text,medium,pictures,slow,longtexts; PUBLISH=1: into docs/)
	@$(BIN)/python scripts/bench --overload $(or $(PARTS),text,medium,pictures,slow,longtexts) $(if $(PUBLISH),--publish)

chaos: models .venv/installed ## make each fault in turn under load, check every answer (FAULT="kill -9": those; PUBLISH=1: into docs/)
	@$(BIN)/python scripts/chaos $(if $(PUBLISH),--publish) $(if $(FAULT),"$(FAULT)")

fuzz: models .venv/installed-fuzz ## random input for every parser, random requests for the service, for MINUTES (10)
	@$(BIN)/python scripts/fuzz --minutes $(or $(MINUTES),10)

attack: models .venv/installed ## send requests made to hold a worker up; fails above 50 ms or 400 MB (ONLY=text: some)
	@$(BIN)/python scripts/attack $(if $(ONLY),--only "$(ONLY)")

lint: .venv/installed-dev ## check format, style, types, and what bandit finds
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive wsgiapp scripts

audit: .venv/installed-audit ## ask about known vulnerabilities of all dependencies; needs the network
	@$(BIN)/python scripts/audit.py $(AUDIT)

sbom: .venv/installed-audit ## list what the service is made of, as CycloneDX: var/sbom.cdx.json
	@$(BIN)/python scripts/sbom.py "$(WSGIAPP_HOME)/sbom.cdx.json"

clean: ## stop everything, remove what was made here and can be made again, say what is left
	@test ! -x $(BIN)/wsgiapp || $(BIN)/wsgiapp down
	@$(MADE) clean $(HOME_FOLDER)
