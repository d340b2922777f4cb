"""Where faults of the file are gathered, each turned into a located Problem."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from mainstay.core.errors import FileError, Problem

Path = tuple[str | int, ...]
"""Keys and list indexes from the root of the file: ("datasets", "customers", "checks", 0)."""

Place = tuple[int, int]
"""Line and column, from 1."""

_PASSWORD = re.compile(r"(://[^:\s]*:)\S*@")


class Faults:
    """Gathers the faults of one file. The first fault of a path stands; what follows from it is not repeated."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[Path, Place] = {}
        """Where each value begins."""
        self.keys: dict[Path, Place] = {}
        """Where each key of a mapping stands."""
        self._problems: dict[str, Problem] = {}

    def at(self, path: Path, wanted: str, came: str, mend: str = "", *, key: bool = False) -> None:
        """A fault of the value at `path`, or with `key` of its key. An absent path is placed at its nearest parent."""
        self.place(self._locate(path, key=key), dotted(path), wanted, came, mend)

    def place(self, place: Place, path: str, wanted: str, came: str, mend: str = "") -> None:
        """A fault whose place is known; for text that is no tree yet."""
        self._problems.setdefault(path, Problem(self.file, *place, path, wanted, came, mend))

    def known(self, path: Path) -> bool:
        """Whether `path` has a fault already."""
        return dotted(path) in self._problems

    def __bool__(self) -> bool:
        return bool(self._problems)

    def raise_any(self) -> None:
        """Raises FileError with every fault, in file order, when there is one."""
        if self._problems:
            raise FileError(
                tuple(sorted(self._problems.values(), key=lambda each: (each.line, each.column, each.path)))
            )

    def _locate(self, path: Path, *, key: bool) -> Place:
        if path in self.values:
            return self.keys.get(path, self.values[path]) if key else self.values[path]
        for length in range(len(path) - 1, 0, -1):
            parent = path[:length]
            if parent in self.values:
                return self.keys.get(parent, self.values[parent])
        return (1, 1)


def dotted(path: Path) -> str:
    """`datasets.customers.checks[0].min`; `the file` for its root."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def shown(value: object) -> str:
    """What came, in a few words. Only for values that may be shown: nothing resolved ever comes here."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        value = _PASSWORD.sub(r"\1***@", value)
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return str(value)


def close(word: str, words: Iterable[str], *, otherwise: str = "") -> str:
    """The mend for a word that is not one of `words`: the close match, else what there is."""
    known = sorted(set(words))
    by_folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    if found:
        return f"did you mean `{by_folded[found[0]]}`?"
    if otherwise:
        return otherwise
    if not known:
        return "there is none yet"
    return "there is: " + ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
