"""The reference says what the code says now."""

from __future__ import annotations

import ast

import pytest

from mainstay.cli.commands import COMMANDS
from mainstay.http.problems import TITLES
from tests.docs import reference, reference_code
from tests.laws.reading import Module

AGAIN = "run `python -m tests.docs.reference` and read what changed"


@pytest.mark.parametrize("page", reference.PAGES)
def test_the_page_is_made_of_the_code_as_it_is(page: str) -> None:
    assert (reference.FOLDER / page).read_text("utf-8") == reference.made(page), AGAIN


def test_no_page_is_left_of_what_is_no_longer_made() -> None:
    assert {path.name for path in reference.FOLDER.iterdir()} == set(reference.PAGES)


def test_the_pages_hold_what_they_are_about() -> None:
    commands, problems = reference.made("commands.md"), reference.made("problems.md")
    assert all(f"`mainstay {name}" in commands for name in COMMANDS)
    assert all(f"| `{code}` | " in problems for code in TITLES)
    assert "` |  | " not in problems, "a problem type without a status"
    assert "| `decision` |" in reference.made("events.md")
    assert "| `SourceAway` | `SourceError` | 1 | yes |" in reference.made("errors.md")
    assert "| `sources.NAME.guard.statement_timeout` | duration | `30s` |" in reference.made("settings.md")
    assert "`mainstay_dataset_age_seconds`" in reference.made("metrics.md")


def test_a_new_event_is_seen() -> None:
    module = Module("x.py", "def f(w):\n    w.audit('new', 'it', {'a': 1})\n    w.tell('process.new', {'b': 1, **c})\n")
    assert isinstance(module.tree, ast.Module)
    found = {one.kind: one.fields for one in reference_code._events(module)}
    assert found == {"audit.new": ("number", "object", "a"), "process.new": ("b", "counts")}
