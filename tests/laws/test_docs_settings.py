"""docs/file.md names every setting of the file and no other, and its example works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mainstay import spec
from tests.laws.reading import ROOT

PAGE = ROOT / "docs" / "file.md"


class Postgres(msgspec.Struct):
    url: str


def _settings(node: dict[str, Any], definitions: dict[str, Any], path: str) -> Iterator[str]:
    """Dotted paths of every property below `node`: names that the user chooses are NAME, entries of lists []."""
    if "$ref" in node:
        yield from _settings(definitions[node["$ref"].rsplit("/", 1)[1]], definitions, path)
    for branch in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _settings(branch, definitions, path)
    for key, child in node.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        yield here
        yield from _settings(child, definitions, here)
    if isinstance(node.get("items"), dict):
        yield from _settings(node["items"], definitions, f"{path}[]")
    for child in (node.get("additionalProperties"), *node.get("patternProperties", {}).values()):
        if isinstance(child, dict):
            yield from _settings(child, definitions, f"{path}.NAME")


def _documented(text: str) -> Iterator[str]:
    """The first cell of every row of a table, below the path in its heading."""
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            found = re.fullmatch(r"## `(.+)`", line)
            heading = f"{found[1]}." if found else ""
        row = re.match(r"\| `([^`]+)` \|", line)
        if row:
            yield heading + row[1]


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    schema = spec.schema()
    settings = set(_settings(schema, schema["$defs"], ""))
    documented = list(_documented(PAGE.read_text("utf-8")))
    assert len(settings) > 100
    assert not settings - set(documented), f"docs/file.md does not name {sorted(settings - set(documented))}"
    assert not set(documented) - settings, f"docs/file.md names {sorted(set(documented) - settings)}"
    assert len(documented) == len(set(documented))


def test_the_example_of_the_page_is_a_file_without_faults() -> None:
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    churn = spec.load_files({"mainstay.yaml": found[1]}, Path(), kinds={"postgres": Postgres}, env={"CRM_URL": "x"})
    assert spec.purpose_findings(churn.purpose) == ()
