"""YAML text -> plain values, with the place of every key and value.

Keys are always texts, exactly as written (`1:`, `true:` and `on:` too), dates stay texts, and everything that YAML
allows but a configuration should not say (duplicate keys, tags, endless nesting, empty values) is a fault.
"""

from __future__ import annotations

import math
import re
import warnings
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from mainstay.spec.faults import Faults, Path, Place, shown

DEEPEST = 40
MOST_VALUES = 100_000

_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = {"str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge", "value"}
_PLACEHOLDER_IN_BRACES = re.compile(r"[{,]\s*[\w-]+\s*:\s*[^\"'\s]*\$\{|[\[,]\s*\$\{")


class _Stop(Exception):
    """The tree is too deep or too large to go on."""


def read(text: str, faults: Faults) -> dict[str, Any] | None:
    """The file's root mapping; fills in the places of `faults`. None when there is no tree to look at."""
    root = _compose(text, faults)
    if root is None:
        if not faults:
            faults.place((1, 1), "the file", "an integration", "an empty file", "begin with `integration: name`")
        return None
    reader = _Reader(faults)
    try:
        value = reader.value(root, ())
    except _Stop as stop:
        faults.place((1, 1), "the file", str(stop), "more than that", "write it flatter, without anchors")
        return None
    if not isinstance(value, dict):
        faults.at((), "a mapping that begins with `integration: name`", shown(value), "see `mainstay schema`")
        return None
    return value


@lru_cache(maxsize=4)
def _composed(text: str) -> Any:
    """The nodes of a text, which nobody changes: the file that is applied is read again and again."""
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = DEEPEST
    with warnings.catch_warnings():
        # An anchor used twice is legal YAML; what matters is what the values say.
        warnings.simplefilter("ignore")
        return yaml.compose(text)


def _compose(text: str, faults: Faults) -> Any:
    try:
        return _composed(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        faults.place(place, "the file", "YAML", error.problem or error.context or "none", _syntax_mend(text, place))
    except YAMLError as error:
        faults.place(_reader_place(text, error), "the file", "YAML", "a character that YAML forbids", "delete it")
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError, NotImplementedError):
        # ruamel.yaml answers some malformed directives and tags with these instead of its own errors.
        faults.place((1, 1), "the file", "YAML", "a directive or tag that cannot be read", "write plain YAML 1.2")
    return None


def _reader_place(text: str, error: YAMLError) -> Place:
    position = getattr(error, "position", 0)
    before = text[: position if isinstance(position, int) else 0]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _syntax_mend(text: str, place: Place) -> str:
    lines = text.splitlines()
    near = lines[max(place[0] - 2, 0) : place[0]]
    if any("\t" in line[: len(line) - len(line.lstrip())] for line in near):
        return "indent with spaces: YAML forbids tabs"
    if any(_PLACEHOLDER_IN_BRACES.search(line) for line in near):
        return 'inside braces and brackets quote placeholders: {url: "${CRM_URL}"}'
    if any(re.search(r":\s+[^\"'\s#{\[][^\"'#]*:\s", line) for line in near):
        return "put a text that holds `: ` in quotes"
    return "look at the indentation, the colons and the quotes of this line and the one before"


class _Reader:
    """Walks the composed nodes once, noting places."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.count = 0

    def value(self, node: Any, path: Path) -> Any:
        self.count += 1
        if len(path) > DEEPEST:
            raise _Stop(f"at most {DEEPEST} levels")
        if self.count > MOST_VALUES:
            raise _Stop(f"at most {MOST_VALUES} values")
        self.faults.values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        kind = str(node.tag).removeprefix(_TAG)
        if kind not in _KNOWN_TAGS:
            self.faults.at(path, "a plain value", "a YAML tag", "delete the tag")
            return ""
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(each, (*path, index)) for index, each in enumerate(node.value)]
        return self.scalar(node, kind, path)

    def mapping(self, node: Any, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, ScalarNode):
                self.faults.values[(*path, "?")] = place
                self.faults.at((*path, "?"), "a key that is a text", "a list or a mapping", "write `key: value`")
                continue
            key = str(key_node.value)
            if key in values:
                first = self.faults.keys[(*path, key)]
                again = f"{'.'.join(map(str, (*path, key)))} (again)"
                came = f"`{key}` again, first in line {first[0]}"
                self.faults.place(place, again, "each key once", came, "delete one of the two")
                continue
            self.faults.keys[(*path, key)] = place
            values[key] = self.value(value_node, (*path, key))
        return values

    def scalar(self, node: Any, kind: str, path: Path) -> Any:
        text = str(node.value)
        try:
            value = _plain(text, kind)
        except ValueError:
            self.faults.at(path, f"a value that fits its YAML tag {kind}", shown(text), "put it in quotes")
            return ""
        if value is None and not _null_allowed(path):
            self.faults.at(path, "a value", "nothing", "write a value, or delete the key", key=True)
        if isinstance(value, float) and not math.isfinite(value):
            self.faults.at(path, "a finite number", shown(text), "write a number, or put a text in quotes")
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
            self.faults.at(path, "a whole number of at most 64 bits", "a greater one", "put a text in quotes")
            return 0
        return value


def _null_allowed(path: Path) -> bool:
    """`map: {unknown: null}` turns a value into null; nowhere else does an empty value say anything."""
    return len(path) > 3 and path[-2] == "map" and path[-4] == "clean"


def _plain(text: str, kind: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.casefold() in {"true", "yes", "on", "y"}
    if kind == "int":
        digits = text.replace("_", "")
        unsigned = digits.lstrip("+-").casefold()
        base = {"0x": 16, "0o": 8, "0b": 2}.get(unsigned[:2], 10)
        if len(unsigned) > 40:
            return 2**63
        return int(digits, base)
    if kind == "float":
        return float(text.replace("_", "").casefold().replace(".inf", "inf").replace(".nan", "nan"))
    return text
