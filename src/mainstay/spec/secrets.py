"""`${VAR}` and `${file:path}`: the only ways to give a secret, and only where a system is addressed.

That is under `sources:`, under `stores:`, and in the headers and the certificates of `model.http`.

A resolved value is never shown: faults tell the placeholder and where it was looked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from mainstay.core.errors import FileError
from mainstay.spec.faults import Faults, Path, close

_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INLINE_PASSWORD = re.compile(r"://[^/@\s:]*:(?!\$\{|\d+/)\S+@")
_PASSWORD_ARGUMENT = re.compile(r"(?i)(password|passwd|pwd)=(?!\$\{)[^\s&;]+")
_SECRET_KEY = re.compile(r"(?i)(^|_)(password|passwd|pwd|secret|token|api_?key|private_key)$")
MODEL = (("model", "http", "headers"), ("model", "http", "ca"))
_MAY_HOLD = {("sources",), ("stores",), *MODEL}
_MEANT_LITERALLY = {"sql", "pattern", "regex", "rule"}


class Secrets:
    """Resolves placeholders, and knows every value that must not be shown."""

    def __init__(self, folder: FilePath, env: Mapping[str, str], faults: Faults) -> None:
        self._folder = folder
        self._env = env
        self._faults = faults
        self.values: set[str] = set()

    def resolved(self, value: Any, path: Path) -> Any:
        """The value with every placeholder replaced; where one cannot be, a fault is told."""
        if isinstance(value, dict):
            return {name: self.resolved(each, (*path, name)) for name, each in value.items()}
        if isinstance(value, list):
            return [self.resolved(each, (*path, index)) for index, each in enumerate(value)]
        if not isinstance(value, str):
            return value
        self._refuse_literal(value, path)
        return _PLACEHOLDER.sub(lambda found: self._look_up(found[1], path), value)

    def shows(self, text: str) -> bool:
        """Whether a resolved value stands in `text`."""
        return any(value in text for value in self.values)

    def _refuse_literal(self, value: str, path: Path) -> None:
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        if _INLINE_PASSWORD.search(value) or _PASSWORD_ARGUMENT.search(value):
            mend = f"write `{key}: ${{{key.upper()}}}`, or only the password as ${{VAR}} or ${{file:path}}"
            self._faults.at(path, "an address without a password in it", "one with a password", mend)
        elif _SECRET_KEY.search(key) and "${" not in value:
            mend = f"write `{key}: ${{{key.upper()}}}` or `{key}: ${{file:path}}`"
            self._faults.at(path, "a placeholder for the secret", "the secret itself", mend)

    def _look_up(self, name: str, path: Path) -> str:
        if name.startswith("file:"):
            value = self._read(name.removeprefix("file:"), path)
        elif _VARIABLE.fullmatch(name):
            value = self._variable(name, path)
        else:
            self._faults.at(
                path, "${VAR} or ${file:path}", f"${{{name}}}", "write a variable's name, or file: and a path"
            )
            value = ""
        if value:
            self.values.add(value)
        return value

    def _variable(self, name: str, path: Path) -> str:
        value = self._env.get(name)
        if value:
            return value
        came = f"no variable {name} in the environment of this process" if value is None else f"{name} set, but empty"
        mend = f"type `export {name}=...` before starting, or write ${{file:path}}"
        if value is None:
            near = close(name, self._env, otherwise="none").replace("did you mean", "or did you mean")
            mend += "" if near == "none" else f"; {near}"
        self._faults.at(path, f"the value of ${{{name}}}", came, mend)
        return ""

    def _read(self, name: str, path: Path) -> str:
        file = self._folder / name
        try:
            value = file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a text in UTF-8"
            mend = "create it; a relative path starts at the folder of mainstay.yaml"
            self._faults.at(path, f"the content of ${{file:{name}}}", f"{reason}: {file.absolute()}", mend)
            return ""
        if not value:
            self._faults.at(path, f"the content of ${{file:{name}}}", f"an empty file: {file.absolute()}", "fill it")
        return value


def refuse_outside(value: Any, path: Path, faults: Faults) -> None:
    """Tells of each placeholder that stands where none is replaced."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in _MEANT_LITERALLY and (*path, name) not in _MAY_HOLD:
                refuse_outside(each, (*path, name), faults)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            refuse_outside(each, (*path, index), faults)
    elif isinstance(value, str) and _PLACEHOLDER.search(value):
        faults.at(
            path,
            "a plain value: placeholders stand only under `sources:` and `stores:`",
            f"{value[:60]!r}",
            "write the value itself",
        )


def plainly(text: str, folder: FilePath, env: Mapping[str, str]) -> str:
    """The text with every placeholder replaced. Raises LookupError, telling which one cannot be and why."""
    faults = Faults("stores")
    value: str = Secrets(folder, env, faults).resolved(text, ("url",))
    try:
        faults.raise_any()
    except FileError as error:
        told = error.problems[0]
        raise LookupError(f"{told.wanted} is wanted, {told.came} found") from None
    return value
