"""The `sources:` of the file against each kind's own options record."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.secrets import Secrets

OURS = frozenset({"kind", "timezone", "guard"})
"""Keys of a source that mean the same for every kind."""

_EXPECTED = re.compile(r"Expected `([^`]+)`(.*)", re.DOTALL)
_AT = re.compile(r" - at `\$([^`]*)`$")
_IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def options(
    name: str,
    written: dict[str, Any],
    *,
    kinds: Mapping[str, type[msgspec.Struct]],
    secrets: Secrets,
    faults: Faults,
) -> dict[str, Any]:
    """The options of the source `name`, checked against its kind's record, placeholders replaced."""
    path: Path = ("sources", name)
    given = {key: value for key, value in written.items() if key not in OURS}
    resolved: dict[str, Any] = secrets.resolved(given, path)
    kind = written.get("kind")
    if not isinstance(kind, str):
        return resolved
    record = kinds.get(kind)
    if record is None:
        faults.at((*path, "kind"), "a kind of source", shown(kind), close(kind, kinds))
        return resolved
    checked = _Checked(path, kind, record, secrets, faults)
    return checked.options(given, resolved)


class _Checked:
    """One source's options against its record, field by field, so that every fault is told at once."""

    def __init__(self, path: Path, kind: str, record: type[msgspec.Struct], secrets: Secrets, faults: Faults) -> None:
        self.path, self.kind, self.record, self.secrets, self.faults = path, kind, record, secrets, faults
        self.fields = {field.encode_name: field for field in msgspec.structs.fields(record)}

    def options(self, given: dict[str, Any], resolved: dict[str, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        good = True
        for key, value in given.items():
            field = self.fields.get(key)
            if field is None:
                mend = close(key, {*self.fields, *OURS})
                self.faults.at((*self.path, key), f"an option of {self.kind}", f"`{key}`", mend, key=True)
                good = False
            elif self.faults.known((*self.path, key)):
                good = False
            else:
                converted[key] = self.option(field, value, resolved[key])
                good = good and not self.faults.known((*self.path, key))
        for key, field in self.fields.items():
            if field.required and key not in given:
                value = f"${{{key.upper()}}}" if field.type is str else "..."
                self.faults.at(
                    (*self.path, key), f"the option `{key}` of {self.kind}", "nothing", f"add `{key}: {value}`"
                )
                good = False
        if good:
            self.whole(converted)
        return converted

    def option(self, field: msgspec.structs.FieldInfo, written: Any, value: Any) -> Any:
        """One option's value. What is a placeholder from end to end may be a number or a switch in text."""
        try:
            msgspec.convert(value, field.type, strict=True)
        except msgspec.ValidationError as error:
            if isinstance(written, str) and re.fullmatch(r"\$\{[^{}]*\}", written):
                try:
                    return msgspec.to_builtins(msgspec.convert(value, field.type, strict=False))
                except msgspec.ValidationError:
                    pass
            self.tell((*self.path, field.encode_name), str(error), written, typing.get_args(field.type))
        return value

    def whole(self, converted: dict[str, Any]) -> None:
        """What only the record itself knows: conditions between options."""
        try:
            msgspec.convert(converted, self.record, strict=True)
        except msgspec.ValidationError as error:
            self.tell(self.path, str(error), {}, ())

    def tell(self, path: Path, message: str, written: Any, choices: tuple[Any, ...]) -> None:
        inside = _AT.search(message)
        message = _AT.sub("", message)
        where = path + _steps(inside[1] if inside else "")
        expected = _EXPECTED.match(message)
        words = [each for each in choices if isinstance(each, str)]
        mend = f"see the options of {self.kind}"
        if "Invalid enum value" in message and words:
            wanted = "one of " + ", ".join(words)
            mend = close(written, words) if isinstance(written, str) and "${" not in written else mend
        elif expected:
            kinds = [_IN_WORDS.get(each.strip(), each.strip()) for each in expected[1].split("|")]
            tail = expected[2].split(", got")[0]
            wanted = " or ".join(kinds) + tail.replace("`", "")
        elif self.secrets.shows(message):
            wanted = f"a value that {self.kind} accepts"
        else:
            wanted = f"options that {self.kind} accepts: {message}"
        # What was written is told, never what it was resolved to.
        self.faults.at(where, wanted, shown(written), mend)


def _steps(text: str) -> Path:
    """`.tables[0].name` -> ("tables", 0, "name"); `[...]` (any key) ends it."""
    steps: list[str | int] = []
    for name, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", text):
        if index == "...":
            break
        steps.append(int(index) if index else name)
    return tuple(steps)
