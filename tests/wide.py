"""A table of very many columns of every type, as an old system holds it, and the file that takes all of them in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

KINDS = ("integer", "number", "string", "boolean", "timestamp")
PLANS = ("basic", "plus", "gold")
BEGAN = 1_767_225_600


def names(columns: int) -> list[tuple[str, str]]:
    """(name, type) of each column but for the key `id` and the cursor `changed`."""
    return [(f"{KINDS[place % 5][0]}{place:03}", KINDS[place % 5]) for place in range(columns - 2)]


def create(columns: int) -> str:
    """CREATE TABLE in the words of SQLite and PostgreSQL. A yes is text; a time is text of SQLite's kind."""
    native = {
        "integer": "bigint", "number": "double precision", "string": "text", "boolean": "text", "timestamp": "text",
    }  # fmt: skip
    typed = ", ".join(f"{name} {native[kind]}" for name, kind in names(columns))
    return f"CREATE TABLE wide (id text PRIMARY KEY, changed bigint, {typed})"


def rows(columns: int, many: int) -> Iterator[tuple[Any, ...]]:
    """Every 100th row breaks a check."""
    dice = random.Random(7)
    kinds = [kind for _, kind in names(columns)]
    for row in range(many):
        values: list[Any] = []
        for place, kind in enumerate(kinds):
            if kind == "integer":
                values.append(900 if place == 0 and row % 100 == 7 else (row * 7 + place) % 100)
            elif kind == "number":
                values.append(round(dice.random() * 100, 2))
            elif kind == "string":
                values.append(PLANS[(row + place) % 3])
            elif kind == "boolean":
                values.append("yn"[(row + place) % 2])
            else:
                values.append(f"2026-{1 + place % 12:02}-{1 + row % 28:02} 10:00:00")
        yield (f"K{row:07}", row, *values)


def file(columns: int, source: str, *, checked: int = 100) -> str:
    """mainstay.yaml over the table: every column, `checked` checks, every column a feature, a rule over 50 of them."""
    lines = ["      id: {type: string, required: true}", "      changed: {type: integer}"]
    left = checked - 1
    for name, kind in names(columns):
        more = {
            "integer": "min: 0, max: 500", "number": "min: 0", "string": "values: [basic, plus, gold], on_fail: warn",
            "boolean": "", "timestamp": "",
        }[kind]  # fmt: skip
        if left <= 0:
            more = ""
        left -= more.count("min:") + more.count("max:") + more.count("values:")
        clean = ", clean: [{boolean: {true: [y], false: [n]}}]" if kind == "boolean" else ""
        lines.append(f"      {name}: {{type: {kind}{', ' if more else ''}{more}{clean}}}")
    features = ", ".join(f"w.{name}" for name, _ in names(columns))
    numbers = [name for name, kind in names(columns) if kind in ("integer", "number")][:50]
    score = " + ".join(f"coalesce({name}, 0)" for name in numbers)
    return f"""\
integration: wide
api: 1
sources:
  old: {source}
datasets:
  wide:
    source: old
    table: wide
    key: id
    cursor: {{column: changed, lag: 0}}
    every: 1h
    deletes: {{reconcile: 1d}}
    freshness: {{warn: 1d, fail: 2d}}
    columns:
{chr(10).join(lines)}
features:
  everything:
    key: id
    sql: SELECT w.id, {features} FROM wide w
model: {{name: scoring, input: everything, rule: {{score: "({score}) / {len(numbers)}.0"}}}}
"""
