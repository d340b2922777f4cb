"""Where an integration lives on this machine: its file, its home, its name."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mainstay import spec
from mainstay.app.landing_names import with_landing_names
from mainstay.app.stores import has_state, home_at, home_of, open_state
from mainstay.core.errors import NotFound
from mainstay.core.nouns import Integration
from mainstay.core.ports import State
from mainstay.core.records import Applied
from mainstay.sources import kinds as source_kinds
from mainstay.sources import options_of
from mainstay.store.home import STORES, Home
from mainstay.store.shelf import ShelfReader


@dataclass(frozen=True)
class Place:
    """An integration's file, if it is known, and the home of its state."""

    home: Home
    file: Path | None

    @property
    def folder(self) -> Path:
        """Where relative paths of the file start."""
        return self.file.parent if self.file is not None else self.home.root.parent


def locate(file: Path | None, root: Path) -> Place:
    """The place of the integration that `file` is about, or of the only one under `root`.

    Raises NotFound when there is none, or more than one and no file to choose by.
    """
    if file is not None:
        return Place(home_of(file, root, _name_in(file)), file.absolute())
    begun = (path for name in ("state.sqlite", STORES) for path in root.glob(f"*/{name}"))
    there = sorted({path.parent.name for path in begun}) if root.is_dir() else []
    if len(there) != 1:
        raise NotFound(
            f"{len(there)} integrations have state here" + (f": {', '.join(there)}" if there else ""),
            where=str(root),
            mend="name the file: --file PATH",
        )
    return Place(home_at(root, there[0]), None)


def _name_in(file: Path) -> str:
    """`integration:` of the file, read without judging the rest of it."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("integration:"):
            name = line.removeprefix("integration:").split("#")[0].strip().strip("'\"")
            if name:
                return name
    raise NotFound("the file does not say `integration: NAME`", where=str(file), mend="add it as the first line")


def option_records() -> dict[str, type[msgspec.Struct]]:
    """Kind of source -> its options record: what `spec` validates options with."""
    return {kind: options_of(kind) for kind in source_kinds()}


def read_file(file: Path) -> Integration:
    """The file as it lies on disk, secrets resolved from this process's environment. Raises FileError."""
    return spec.load(file, kinds=option_records(), env=os.environ)


def read_applied(applied: Applied, env: Mapping[str, str] | None = None) -> Integration:
    """The file as it was applied. Raises FileError, when a `${VAR}` is not set in this process (or in `env`)."""
    file = spec.load_files(
        applied.files,
        Path(applied.folder),
        kinds=option_records(),
        env=os.environ if env is None else env,
        shown="mainstay.yaml (applied)",
    )
    return with_landing_names(file, applied.landed_as)


def applied_record(state: State) -> Applied | None:
    """The applied file's record; None before the first `apply`."""
    return ShelfReader(state, "applied", Applied).get("file")


@contextmanager
def opened(place: Place) -> Iterator[State]:
    """State of a place where something was applied. Raises NotFound before the first `apply`."""
    if not has_state(place.home):
        raise NotFound("nothing has been applied here yet", where=str(place.home.folder), mend="mainstay apply")
    state = open_state(place.home)
    try:
        yield state
    finally:
        state.close()


def record_of(state: State) -> Applied:
    """The applied file's record. Raises NotFound before the first `apply`."""
    applied = applied_record(state)
    if applied is None:
        raise NotFound("no file has been applied yet", mend="mainstay apply")
    return applied


def need_applied(state: State) -> Integration:
    """The applied integration. Raises NotFound before the first `apply`."""
    return read_applied(record_of(state))


def whoami(command: str) -> str:
    """Who a process is, for the lease, for audits and for messages."""
    return f"pid {os.getpid()} of {user()} on {socket.gethostname()} ({command})"


def user() -> str:
    """The user of the operating system that runs this process; its number, where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"
