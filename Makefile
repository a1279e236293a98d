# make run: the service and its page on http://127.0.0.1:8000    make test: the gate
# make run ARGS="--port 8011": any options of nbest serve    make test ARGS="tests/service": of pytest
# make fuzz: the fuzz tests a hundred times as long, with other examples (FUZZ_TIMES=10: ten times)
# make audit: known faults of the pinned libraries, and unsafe habits of our own code
# make native: builds the compiled kernels into an environment that is there already
export VENV ?= .venv
run:
	scripts/setup run
	$(VENV)/bin/nbest serve $(ARGS)
test:
	scripts/setup dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy benchmarks/*.py
	$(VENV)/bin/pytest $(ARGS)
fuzz:
	scripts/setup dev
	HYPOTHESIS_PROFILE=long $(VENV)/bin/pytest tests/service/test_fuzz_*.py tests/models/test_checkpoint_fuzz.py $(ARGS)
audit:
	scripts/setup dev
	scripts/audit
native:
	scripts/setup run
	$(VENV)/bin/python -m pip install --quiet ./native
image:
	scripts/setup run
	scripts/wheels
	docker compose build
.PHONY: run test fuzz audit native image
