"""Every path that a door's source names, so that a route that is added tomorrow is walked tomorrow."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

PATH = re.compile(r"/[A-Za-z0-9_{}./-]*")
NAMES = {"{integration}": "churn", "{id}": "r1", "{name}": "customers", "{x}": "churn"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


def paths_in(folder: Path) -> set[str]:
    """Every path in the modules of a folder: literals, f-strings, and each alternative of regular expressions."""
    found: set[str] = set()
    for file in folder.glob("*.py"):
        tree = ast.parse(file.read_text())
        patterns = {id(text) for text in _patterns(tree)}
        for text in _texts(tree):
            if id(text[0]) in patterns:
                found.update(each for each in expanded(text[1]) if each.startswith("/"))
            elif PATH.fullmatch(text[1]):
                found.add(filled(text[1]))
    return found


def filled(path: str) -> str:
    """The path with something in place of its parameters."""
    for name, value in NAMES.items():
        path = path.replace(name, value)
    return path


def expanded(pattern: str) -> list[str]:
    """One text for each way through a regular expression, with `x` for whatever may be anything."""
    parser: Any = import_module("re._parser")
    return ["".join(parts) for parts in _ways(parser.parse(pattern))]


def _ways(tree: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, ...]]:
    choices = [list(_way(str(kind), value)) for kind, value in tree]
    return itertools.product(*choices)


def _way(kind: str, value: Any) -> Iterator[str]:
    match kind:
        case "LITERAL":
            yield chr(value)
        case "BRANCH":
            for branch in value[1]:
                yield from ("".join(parts) for parts in _ways(branch))
        case "SUBPATTERN":
            yield from ("".join(parts) for parts in _ways(value[3]))
        case "MAX_REPEAT" | "MIN_REPEAT":
            least, _, inner = value
            if least == 0:
                yield ""
            yield from ("".join(parts) * max(1, least) for parts in _ways(inner))
        case "AT":
            yield ""
        case _:
            yield "x"


def _patterns(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile":
            yield node.args[0]


def _texts(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts.update(id(each) for each in node.values)
            texts = [str(each.value) if isinstance(each, ast.Constant) else "{x}" for each in node.values]
            yield node, "".join(texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node, node.value
