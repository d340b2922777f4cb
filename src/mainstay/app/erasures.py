"""The ledger of erasures: who was erased, by keyed hash, in a file that a lost home does not take with it.

`erasures.jsonl` beside mainstay.yaml, one line per person. It names nobody to whoever lacks the installation's secret,
and lets `restore` see who was erased after the backup was made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mainstay.app.wiring import Works
from mainstay.core.errors import Corrupt, NotFound
from mainstay.core.records import Suppressed
from mainstay.store.durable import translated

FILE = "erasures.jsonl"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One erasure."""

    v: int = 1
    integration: str
    person: str
    """Keyed hash of the key, as on the suppression list."""
    at_us: int


def note(works: Works, person: str) -> str:
    """Adds the person to the ledger, once. Returns why that could not be done; empty when it stands there.

    An erasure is no less done without: a folder that only others may write must not stop it.
    """
    integration = works.desk.integration
    file = Path(integration.folder) / FILE
    try:
        if any(one.person == person and one.integration == integration.name for one in read(file)):
            return ""
        line = Line(integration=integration.name, person=person, at_us=works.clock.now_us())
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, msgspec.json.encode(line) + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
    except (OSError, Corrupt) as error:
        return f"{file} could not be written ({type(error).__name__}): a restored backup may bring the person back"
    return ""


def read(file: Path) -> tuple[Line, ...]:
    """The ledger's lines; none when there is no such file. Raises Corrupt naming a line that cannot be read."""
    if not file.is_file():
        return ()
    with translated(file):
        lines = file.read_bytes().splitlines()
    found = []
    for number, text in enumerate(lines, 1):
        if text.strip():
            try:
                found.append(msgspec.json.decode(text, type=Line))
            except msgspec.DecodeError as error:
                raise Corrupt(f"line {number} of the ledger of erasures cannot be read", where=str(file)) from error
    return tuple(found)


def named(file: Path) -> tuple[Line, ...]:
    """The same for a ledger that a person named. Raises NotFound when it is not there."""
    if not file.is_file():
        raise NotFound("there is no such ledger of erasures", where=str(file))
    return read(file)


def by_integration(lines: Iterable[Line]) -> dict[str, dict[str, Suppressed]]:
    """Integration -> keyed hash -> the mark that the suppression list gets."""
    found: dict[str, dict[str, Suppressed]] = {}
    for one in lines:
        mark = Suppressed(at_us=one.at_us, reason="in the ledger of erasures")
        found.setdefault(one.integration, {})[one.person] = mark
    return found
