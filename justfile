# What we type every day; `just --list` shows all. Each is one line so that it can be read instead of run.

default: check test

# what CI holds: style, types, layers
check:
    .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

test *words:
    python3 run.py test {{words}}

# pin what pyproject asks for, for every Python and platform we support
lock:
    uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --extra build pyproject.toml -o requirements.lock
    uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --extra build --extra traces pyproject.toml -o requirements-image.lock
    uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --extra build --extra test --extra deploy --extra traces pyproject.toml -o requirements-test.lock
