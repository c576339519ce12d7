# `make` or `make help` says what there is. Nothing here is needed to run the chat: `python chat_server.py` is all of it.

PYTHON ?= $(shell command -v python3 || command -v python)

.DEFAULT_GOAL := help
.PHONY: help run pyz demo test quick test-all test-windows smoke-windows coverage check figures bench clean kit grade

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start the server, with its data in chat-data
	$(PYTHON) chat_server.py

pyz: ## build chat.pyz: client and server in one file
	@$(PYTHON) tools/make_pyz.py

demo: ## record the session that README shows, and take the pictures of the relay's page and the board
	@$(PYTHON) docs/demo/record.py
	@$(PYTHON) docs/demo/relay_page.py
	@$(PYTHON) docs/demo/board_page.py

test: ## run every quick test, and hold the floor of branch coverage
	@$(PYTHON) tests/run.py

quick: ## run the tests of what has changed, or of one layer (LAYER=storage)
	@$(PYTHON) tests/run.py --quick $(LAYER)

test-all: ## the same and the long tests, on every Python from 3.10 that is found
	@$(PYTHON) tests/run_all.py

test-windows: ## run the quick tests on Windows' CPython under Wine (smoke-windows: a few, in a minute)
	@$(PYTHON) tools/windows_python.py

smoke-windows:
	@$(PYTHON) tools/windows_python.py --smoke

coverage: ## run the quick tests and show which lines no test reaches
	@$(PYTHON) tests/run.py --report

check: ## ruff and mypy (for Linux, Windows and macOS), in an environment of their own
	@$(PYTHON) tools/check.py

figures: ## print how large functions, files and classes are
	@$(PYTHON) tools/figures.py

kit: ## pack the conformance kit into build/conformance.pyz
	rm -rf build/kit && mkdir -p build/kit && cp -R conformance webpage build/kit
	mkdir -p build/kit/examples build/kit/docs && cp -R examples/starter build/kit/examples && cp docs/PROTOCOL.md build/kit/docs
	find build/kit \( -name __pycache__ -o -name '.*_cache' \) -type d -prune -exec rm -rf {} +
	printf 'import sys\n\nfrom conformance import foreground\n\nforeground.end_quietly()\n\nfrom conformance.__main__ import program\n\nsys.exit(program())\n' > build/kit/__main__.py
	$(PYTHON) -m zipapp -p '/usr/bin/env python3' -c -o build/conformance.pyz build/kit

grade: ## grade our server and client, or TARGET=host:port
	$(PYTHON) -m conformance.grade $(TARGET)

bench: ## measure this machine: a table, and build/benchmarks.html with plots (BENCH=--full: a quarter of an hour)
	@mkdir -p build
	$(PYTHON) -m benchmarks --json build/benchmarks.json --html build/benchmarks.html $(BENCH)

clean: ## remove what tests and tools have made; chat-data stays
	rm -rf .venv .venv-* .coverage .coverage.* htmlcov build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
