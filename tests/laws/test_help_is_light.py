"""`mainstay --help` answers at once: it loads nothing heavy, and no command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "duckdb", "pyarrow", "numpy", "onnxruntime", "deltalake", "uvicorn", "starlette", "pydantic", "pydantic_core",
    "ruamel", "sqlglot", "psycopg", "sklearn", "pandas",
)  # fmt: skip

_PROGRAM = """
import io, json, sys
from mainstay.cli.main import main
told, sys.stdout = sys.stdout, io.StringIO()
try:
    main(json.loads(sys.argv[1]))
except SystemExit as stop:
    assert stop.code == 0, stop.code
assert sys.stdout.getvalue()
json.dump(sorted(sys.modules), told)
"""


def _loaded(*arguments: str) -> set[str]:
    command = [sys.executable, "-c", _PROGRAM, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("arguments", [["--help"], [], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert not {module.split(".")[0] for module in _loaded(*arguments)} & set(HEAVY)


def test_the_help_of_a_command_loads_nothing_heavy_but_what_typer_reads_arguments_with() -> None:
    loaded = {module.split(".")[0] for module in _loaded("schema", "--help")}
    assert not loaded & set(HEAVY) - {"pydantic", "pydantic_core"}


def test_help_lists_commands_without_importing_them() -> None:
    loaded = {module for module in _loaded("--help") if module.startswith("mainstay.cli.")}
    assert loaded == {f"mainstay.cli.{name}" for name in ("main", "commands", "session", "output")}


def test_the_law_sees_what_a_command_loads() -> None:
    assert "ruamel.yaml" in _loaded("schema")
