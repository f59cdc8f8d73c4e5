# `make check` is what a change must pass before it is pushed; pre-commit runs the linters of it.
.PHONY: check lint test

check: lint test

lint:
	ruff check .
	ruff format --check .
	mypy
	lint-imports

test:
	pytest -n 2 -m "not slow"
