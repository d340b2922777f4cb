"""The file that the pages speak of: the one of docs/file.md, and what a page's YAML makes of it."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mainstay import spec
from mainstay.core.nouns import Integration
from mainstay.sources import BUILT_IN, options_of
from mainstay.spec import map_files
from mainstay.spec.shape import DatasetPart, FilePart
from tests.docs.blocks import DOCS, Block, blocks

Tree = dict[str, Any]
SECTIONS = {field.alias or name for name, field in FilePart.model_fields.items()}
DATASET = set(DatasetPart.model_fields) - {"source"}
"""Keys that stand in a dataset: a block of these alone is about the dataset of the page's file."""
BY_NAME = {"sources": 1, "datasets": 1, "features": 1, "settings": 0, "answer": 0, "retention": 0, "purpose": 0}
"""Sections of which a page shows a part, and how deep names go: other keys of the same name stay as they are."""

TICKETS = """
datasets:
  tickets:
    source: crm
    table: tickets
    key: ticket_id
    cursor: {column: updated_at, lag: 5m}
    deletes: {reconcile: 24h}
    columns:
      ticket_id:   {type: integer}
      customer_id: {type: string}
      opened:      {type: timestamp}
"""


def read(text: str) -> Tree:
    found = YAML(typ="safe").load(text)
    assert isinstance(found, dict), "not a mapping"
    return found


def written(tree: Tree) -> str:
    stream = io.StringIO()
    YAML(typ="safe").dump(tree, stream)
    return str(stream.getvalue())


def base() -> Tree:
    """The example of docs/file.md."""
    return read(next(block.text for block in blocks(DOCS / "file.md") if block.language == "yaml"))


def merged(before: Tree, part: Tree) -> Tree:
    """The file after a person has written `part` into it: what the part names is replaced, what it does not stays."""
    after = copy.deepcopy(before)
    for section, value in part.items():
        depth = BY_NAME.get(section)
        if depth is None or not isinstance(after.get(section), dict):
            after[section] = value
        else:
            _put(after[section], value, depth)
    return after


def _put(into: Tree, part: Tree, depth: int) -> None:
    for name, value in part.items():
        deeper = depth or name == "columns"
        if deeper and isinstance(into.get(name), dict) and isinstance(value, dict):
            _put(into[name], value, depth - 1 if depth else 0)
        else:
            into[name] = value


def with_block(tree: Tree, block: Block) -> Tree:
    """The file with a YAML block of a page in it: the block is a whole file, sections, or stands where it says."""
    part = read(block.text)
    if block.note("with tickets") is not None:
        tree = merged(tree, read(TICKETS))
    place = block.note("in:")
    if "integration" in part:
        return part
    if place is None and not set(part) - DATASET:
        place = "datasets.customers"
    for name in reversed(place.split(".") if place else []):
        part = {name: part}
    unknown = set(part) - SECTIONS
    assert not unknown, f"{block.where}: {sorted(unknown)} stand nowhere in the file; say where: <!-- in: PATH -->"
    return merged(tree, part)


def loaded(tree: Tree, sql: str = "") -> Integration:
    """The file as `spec` reads it. Raises FileError. `sql`: what a file of SQL that it names holds."""
    files = {"mainstay.yaml": written(tree)}
    for view in tree.get("features", {}).values():
        if str(view.get("sql", "")).endswith(".sql"):
            files[view["sql"]] = sql or "SELECT customer_id FROM customers"
    for _, file in map_files.named(tree):
        files[map_files.path(file)] = "old,new\na,b\n"
    for name, dataset in tree.get("datasets", {}).items():
        for check in dataset.get("checks", []):
            if "distribution" in check:
                asked = check["distribution"]
                files[asked["profile"]] = _pinned(name, asked["column"])
    kinds = {kind: options_of(kind) for kind in BUILT_IN}
    return spec.load_files(files, Path(), kinds=kinds, env=_Anything())


def _pinned(dataset: str, column: str) -> str:
    """A profile as `mainstay profile --pin` writes it, of one column."""
    columns = {column: {"contract": "", "empty": 0.0, "left_out": "pii"}}
    return json.dumps({"mainstay_profile": 1, "dataset": dataset, "pinned_at": "", "rows": 100, "columns": columns})


class _Anything(dict[str, str]):
    """Every variable of the environment is set."""

    def __missing__(self, name: str) -> str:
        return "postgresql://reader@db.example.com/crm"

    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]
