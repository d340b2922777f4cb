"""The JSON Schema of the file, for editors; and the look-ups by path that mends are made of."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from mainstay.spec.faults import Path
from mainstay.spec.shape import FilePart

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of mainstay.yaml. Unknown keys are refused, but in `sources`, whose kinds have options."""
    generated = _told_plainly(FilePart.model_json_schema(by_alias=True, mode="validation"))
    return {"$schema": DIALECT, **generated, "title": "mainstay.yaml"}


def keys_at(path: Path) -> tuple[str, ...]:
    """The keys that the mapping at `path` may have; empty where it names things freely."""
    found: dict[str, None] = {}
    for node in _nodes(path):
        found.update(dict.fromkeys(node.get("properties", {})))
    return tuple(found)


def example_at(path: Path) -> object:
    """An example of the value at `path`; None when there is none."""
    for node in _nodes(path):
        if node.get("examples"):
            return node["examples"][0]
    return None


@functools.cache
def _schema() -> dict[str, Any]:
    return schema()


def _nodes(path: Path) -> list[dict[str, Any]]:
    """Every branch of the schema that may describe the value at `path`."""
    nodes = list(_branches(_schema()))
    for part in path:
        following: list[dict[str, Any]] = []
        for node in nodes:
            child: Any
            if isinstance(part, int):
                child = node.get("items")
            else:
                child = node.get("properties", {}).get(part) or node.get("additionalProperties")
                if not isinstance(child, dict):
                    child = next(iter(node.get("patternProperties", {}).values()), None)
            if isinstance(child, dict):
                following.extend(_branches(child))
        nodes = following
    return nodes


def _branches(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    if "$ref" in node:
        yield from _branches(_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]])
    for name in ("anyOf", "oneOf", "allOf"):
        for branch in node.get(name, ()):
            yield from _branches(branch)


def _told_plainly(node: Any) -> Any:
    """Pydantic's `X | None` means "may be left out"; the file itself never says null there."""
    if isinstance(node, list):
        return [_told_plainly(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {name: _told_plainly(each) for name, each in node.items() if not (name == "default" and each is None)}
    if "patternProperties" in kept:
        kept.setdefault("additionalProperties", False)
    branches = kept.get("anyOf")
    if isinstance(branches, list) and {"type": "null"} in branches:
        rest = [each for each in branches if each != {"type": "null"}]
        del kept["anyOf"]
        kept = {**rest[0], **kept} if len(rest) == 1 else {**kept, "anyOf": rest}
    return kept
