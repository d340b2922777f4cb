"""Pydantic's errors -> located faults in our words."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.schema import example_at, keys_at
from mainstay.spec.shape import MAPPING_TAG, TEXT_TAG

_WANTED = {
    "model_type": "a mapping (lines of `key: value`)",
    "dict_type": "a mapping (lines of `key: value`)",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "union_tag_not_found": "a word or a mapping",
}


Whole = TypeVar("Whole", bound=BaseModel)


def validated(tree: dict[str, Any], faults: Faults, whole: type[Whole]) -> Whole | None:
    """The tree in its shape; None and the faults when it has another."""
    try:
        return whole.model_validate(tree)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _tell(detail, tree, faults, whole)
        return None


def _tell(detail: ErrorDetails, tree: dict[str, Any], faults: Faults, whole: type[BaseModel]) -> None:
    kind, came = detail["type"], detail["input"]
    on_key = detail["loc"][-1:] == ("[key]",)
    path = _path(detail["loc"][:-1] if on_key else detail["loc"], tree)
    if kind == "extra_forbidden":
        key = str(path[-1])
        known = keys_at(path[:-1]) if len(path) > 1 else tuple(whole.model_fields)
        faults.at(path, "a key that is known here", f"`{key}`", close(key, known), key=True)
    elif kind == "missing":
        example = example_at(path)
        faults.at(path, f"the key `{path[-1]}`", "nothing", f"add `{path[-1]}: {_yaml(example)}`, say")
    else:
        context = detail.get("ctx", {})
        wanted, mend = context.get("wanted"), str(context.get("mend", ""))
        if not isinstance(wanted, str):
            wanted, mend = _wanted(kind, detail, came), _mend(kind, detail, came, path)
        faults.at(path, wanted, shown(came), mend, key=on_key)


def _path(loc: tuple[str | int, ...], tree: dict[str, Any]) -> Path:
    """The location without the names of union branches, which stand in no file."""
    path: list[str | int] = []
    value: Any = tree
    for part in loc:
        if part in (TEXT_TAG, MAPPING_TAG) and not (isinstance(value, dict) and part in value):
            continue
        path.append(part)
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        else:
            value = None
    return tuple(path)


def _wanted(kind: str, detail: ErrorDetails, came: object) -> str:
    if kind in _WANTED:
        return _WANTED[kind]
    if kind == "literal_error":
        return "one of " + ", ".join(_expected(detail))
    if kind == "too_short":
        return "at least one entry"
    if kind == "string_too_short":
        return "a text that is not empty"
    sentence = detail["msg"].removeprefix("Input should be ")
    return sentence[:1].lower() + sentence[1:] if sentence else f"another value than {shown(came)}"


def _mend(kind: str, detail: ErrorDetails, came: object, path: Path) -> str:
    if kind == "literal_error" and isinstance(came, str):
        return close(came, _expected(detail))
    if kind == "literal_error" and isinstance(came, bool):
        return "put it in quotes"
    if kind == "string_type" and isinstance(came, (bool, int, float)):
        return f'put it in quotes: "{shown(came)}"'
    if kind in {"model_type", "dict_type"} and isinstance(came, list):
        known = keys_at(path)
        return "delete the dashes" + (f"; the keys are {', '.join(known[:8])}" if known else "")
    if kind in {"int_type", "float_type"} and isinstance(came, str) and re.fullmatch(r"-?[0-9.]+", came):
        return f"write it without quotes: {came}"
    if kind == "list_type":
        return f"write [{came}]" if isinstance(came, (str, int)) else "begin each entry with a dash"
    example = example_at(path)
    return f"write {_yaml(example)}, say" if example is not None else ""


def _expected(detail: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))


def _yaml(example: object) -> str:
    if example is None:
        return "..."
    return "[" + ", ".join(map(str, example)) + "]" if isinstance(example, list) else str(example)
