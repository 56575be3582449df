# One-word commands. Each makes the virtual environment it needs and installs what is missing.

PYTHON ?= python3.11
VENV := .venv
VLLM_VENV := .venv-vllm
SMOLLM2 := .models/smollm2-135m-instruct
JUDGES := .models/judges.yaml
LIBRARIES := $(notdir $(patsubst %/requirements.txt,%,$(wildcard tests/integrations/*/requirements.txt)))
# Integration tests that may share the machine, and those that measure time or take all its cores.
PARALLEL := install or fuzz or restart or demo or browser
ALONE := vllm or judge or benchmark or chaos
FAST := --ignore tests/integration -m "not ($(PARALLEL) or $(ALONE) or integrations)"
MODELS = PODIUM_VLLM_PYTHON=$(abspath $(VLLM_VENV))/bin/python PODIUM_SMOLLM2=$(abspath $(SMOLLM2)) \
	PODIUM_JUDGES=$(abspath .models)
# Modules are compiled when they are first imported, since few of them ever are. So Python must keep
# what it compiled, also where the environment forbids it, as images of containers do.
PIP := -m pip install --quiet --disable-pip-version-check --no-compile
export OMP_NUM_THREADS ?= 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: chromium demo demo-judge demo-rank judge test test-integration test-integrations docs openapi clean

demo: $(VENV)/train.ok  ## Fetch a small model, start the service, train on addition, show the curve.
	@$(VENV)/bin/python -P -m podium_trainer.run.demo

demo-judge: $(VENV)/train.ok $(VENV)/judge.ok  ## Fetch a judge and a smaller model; it learns to answer.
	@$(VENV)/bin/python -P -m podium_trainer.run.demo_judge

demo-rank: $(VENV)/service.ok  ## Start the service, rank a group that ships with it, stop.
	@$(VENV)/bin/python -P -m podium_service.cli.demo

judge: $(VENV)/judge.ok  ## Fetch a language model that runs on this machine's CPU, serve it as a judge.
	@$(VENV)/bin/podium judge fetch small --dir .models
	@$(VENV)/bin/podium judge serve small --dir .models --write $(JUDGES)

test: $(VENV)/dev.ok  ## ruff, mypy strict and the fast suite.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@# In a new clone the modules are compiled beside mypy, or each worker of pytest would do it.
	$(VENV)/bin/python -m pytest --collect-only -qq $(FAST) >/dev/null 2>&1 & $(VENV)/bin/mypy; \
		failed=$$?; wait; exit $$failed
	$(VENV)/bin/python -m pytest -n 3 $(FAST)

test-integration: $(VENV)/dev.ok $(VENV)/judge.ok $(VLLM_VENV)/vllm.ok $(SMOLLM2)/config.json chromium  ## vLLM and llama.cpp on the CPU, a fresh install, fuzzing, restarts, chaos, the pages in a browser.
	$(MODELS) $(VENV)/bin/python -m pytest --durations=10 -n 2 --dist worksteal -m "($(PARALLEL)) and not ($(ALONE))"
	$(MODELS) $(VENV)/bin/python -m pytest --durations=10 -m "$(ALONE)"

test-integrations: $(VENV)/service.ok  ## Each hook with the trainer it is for, in an environment of its own.
	@set -e; for library in $(LIBRARIES); do \
		if $(MAKE) --no-print-directory .venv-$$library/library.ok; then \
			PODIUM_PYTHON=$(abspath $(VENV))/bin/python .venv-$$library/bin/python -m pytest -W default tests/integrations/$$library; \
		elif [ -n "$$CI" ]; then exit 1; \
		else echo "skipped: the environment of $$library could not be made"; fi; done

docs: $(VENV)/dev.ok  ## Write the generated parts of docs/ anew, and build the site into site/.
	$(VENV)/bin/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

openapi: $(VENV)/dev.ok  ## Rewrite the published form of the wire.
	$(VENV)/bin/python -m tests.contract.openapi > tests/contract/openapi.json

clean:  ## Remove environments, models and caches.
	rm -rf $(VENV) .venv-* .models .mypy_cache .ruff_cache .pytest_cache .hypothesis site

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/service.ok: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -c constraints.txt -e '.[service]'
	@touch $@

$(VENV)/judge.ok: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -c constraints.txt -e '.[service,judge]'
	@touch $@ $(VENV)/service.ok

$(VENV)/train.ok: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -c constraints.txt -e '.[service,trainer]'
	@touch $@ $(VENV)/service.ok

$(VENV)/dev.ok: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -c constraints.txt -e '.[service,trainer,dev]'
	@touch $@ $(VENV)/service.ok $(VENV)/train.ok

chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null || [ -n "$(PODIUM_CHROMIUM)" ] || \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium fonts-liberation; \
		else echo "no Chromium: the tests of the pages are skipped, or fail in CI"; fi

# vLLM pins libraries of its own. Its CPU build does not match the torchvision, torchaudio and
# torchcodec that it pulls in, and they break the import of transformers.
$(VLLM_VENV)/vllm.ok: tests/integration/vllm-requirements.txt
	$(PYTHON) -m venv --clear $(VLLM_VENV)
	$(VLLM_VENV)/bin/python $(PIP) -r tests/integration/vllm-requirements.txt
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

# The trainers of others, which pin libraries of their own.
.venv-%/library.ok: tests/integrations/requirements.txt tests/integrations/%/requirements.txt
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python $(PIP) -e . $(foreach file,$^,-r $(file))
	if [ -e tests/integrations/$*/no-deps.txt ]; then \
		.venv-$*/bin/python $(PIP) --no-deps -r tests/integrations/$*/no-deps.txt; fi
	@touch $@

$(SMOLLM2)/config.json: trainer_client/podium_trainer/run/smollm2.py | $(VENV)/train.ok
	$(VENV)/bin/python -P -m podium_trainer.run.smollm2 $(SMOLLM2)
