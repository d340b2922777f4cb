"""`mainstay restore`: a backup becomes a home, whole or not at all.

Everything is unpacked and compared beside its place first. Then what stood there is moved aside, and the secret,
without which nothing of ours opens a home, is moved in last: until then a kill leaves a home that refuses, and
`restore` can be run again.

What is not as it was in the backup: journal segments are numbered on from far above, because ids of receipts that were
given after the backup must not come to name others; and people who were erased since stay erased.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mainstay.app import erasures
from mainstay.app.alone import alone, integrations_of
from mainstay.core.audit import Change, Detail
from mainstay.core.clock import Clock, iso
from mainstay.core.errors import Corrupt, MainstayError, Refused
from mainstay.core.ports import Write
from mainstay.core.records import Suppressed, encode
from mainstay.store import audit, backup_file, snapshot, upgrades
from mainstay.store.backup_file import Contents, Progress
from mainstay.store.durable import sync_folder, translated, write_whole
from mainstay.store.home import Home
from mainstay.store.schema_number import compare
from mainstay.store.shelf import ShelfReader
from mainstay.store.state_sqlite import SqliteState

SKIPPED_SEGMENTS = 1_000_000
"""By how much journal segments are numbered on: more than anybody wrote between a backup and its restoring."""
_ASIDE = ".before-"
_LAYOUT = "installation.json"
_LATER = "erase_again.json"
"""In an integration's folder whose state is of an earlier schema: who is to be marked when it is upgraded."""

Marks = Mapping[str, Mapping[str, Suppressed]]
"""Integration -> keyed hash -> mark: people known to be erased."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What `restore` did."""

    contents: Contents
    aside: str = ""
    """Where what stood there before is now; empty when nothing did."""
    erased_since: dict[str, int] = {}
    """Integration -> people who were erased after the backup was made and are to be erased again."""


def restore(
    file: Path,
    root: Path,
    *,
    clock: Clock,
    force: bool = False,
    ledger: tuple[erasures.Line, ...] = (),
    by: str = "",
    progress: Progress = lambda _name, _done: None,
) -> Restored:
    """Puts the home of a backup into `root`.

    Args:
        file: The backup.
        root: The home; made when it is not there.
        clock: Names what is moved aside.
        force: Move what stands there aside instead of refusing.
        ledger: Who was erased, as far as is known outside the home.
        by: Who restores, for the audit.
        progress: Called with each file and the bytes of it that were done.

    Raises Refused when the home has state or is in use, Corrupt for a damaged backup, StoreTooNew for a later one.
    """
    _check_free(root, force=force)
    with translated(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(root, "mainstay restore"):
        snapshot.clear_unpacked(root)
        made = root / f"{snapshot.UNPACKED}{secrets.token_hex(8)}"
        try:
            with translated(root):
                made.mkdir(mode=0o700)
            contents = backup_file.unpack(file, made, progress)
            _judge(contents, made, file)
            since = _prepare(made, contents, _known(root, made, erasures.by_integration(ledger)))
            _record(made, contents, since, by=by, clock=clock)
            aside = _switch(root, made, clock)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return Restored(contents=contents, aside=aside, erased_since={name: n for name, n in since.items() if n})


def look(file: Path, progress: Progress = lambda _name, _done: None) -> Contents:
    """Reads and compares all of a backup and changes nothing. Raises as `restore` does for a damaged one."""
    return backup_file.unpack(file, None, progress)


def _standing(root: Path) -> list[Path]:
    """What of a home stands in `root`; what we hide there ourselves does not count."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if not path.name.startswith("."))


def _check_free(root: Path, *, force: bool) -> None:
    found = _standing(root)
    if found and not force:
        names = ", ".join(path.name for path in found[:5])
        raise Refused(
            f"something stands there already: {names}; nothing was changed",
            where=str(root),
            mend="restore elsewhere (--home DIR), or --force moves it aside",
        )


def _judge(contents: Contents, made: Path, file: Path) -> None:
    """Raises Corrupt for a backup that is no home, StoreTooNew for one with a store that we do not know yet."""
    lost = [name for name in snapshot.OF_ROOT if not (made / name).is_file()]
    lost += [f"{name}/state.sqlite" for name in contents.integrations if not Home(made, name).state.is_file()]
    if lost or not contents.integrations:
        raise Corrupt(f"the backup is no home: {', '.join(lost) or 'no integration'} is not in it", where=str(file))
    for name in contents.integrations:
        for store, number in upgrades.numbers(Home(made, name)).items():
            known = upgrades.STORES[store].known
            if number > known:  # an older one is what `mainstay upgrade` is for
                compare(number, known, store=f"{store} of {name} in the backup", where=str(file))


def _known(root: Path, made: Path, ledger: Marks) -> dict[str, dict[str, Suppressed]]:
    """Everybody who is known to be erased: by the ledger, and by the homes that stand or stood here.

    A killed restore may have moved half of a home aside, its secret first: so one equal secret speaks for all of them.
    """
    found = {name: dict(marks) for name, marks in ledger.items()}
    stood = [root, *sorted(root.glob(f"{_ASIDE}*"))]
    wanted = (made / "secret").read_bytes()
    if not any((one / "secret").is_file() and (one / "secret").read_bytes() == wanted for one in stood):
        return found
    for one in stood:
        for name in integrations_of(one):
            with contextlib.suppress(MainstayError):  # a home that is restored over may be damaged
                found.setdefault(name, {}).update(_suppressed(Home(one, name)))
    return found


def _suppressed(home: Home) -> dict[str, Suppressed]:
    state = SqliteState(home.state)
    try:
        return ShelfReader(state, "suppressed", Suppressed).all()
    finally:
        state.close()


def _prepare(made: Path, contents: Contents, known: Marks) -> dict[str, int]:
    """Makes the unpacked home one that can go on from here. Returns how many people are to be erased again."""
    since = {}
    for name in contents.integrations:
        home = Home(made, name)
        _number_on(home.journal)
        since[name] = _mark(home, known.get(name, {}))
        with translated(home.folder):
            for folder in (path for path in home.folder.rglob("*") if path.is_dir()):
                sync_folder(folder)
            sync_folder(home.folder)
    return since


def _record(made: Path, contents: Contents, since: Mapping[str, int], *, by: str, clock: Clock) -> None:
    """The audit of each integration goes on from the backup's, with this. A state to be upgraded first is left."""
    for name in contents.integrations:
        home = Home(made, name)
        if upgrades.read_number(home.state) != upgrades.STORES["state"].known:
            continue
        told: dict[str, Detail] = {"backup_made_us": contents.made_us, "erased_since": since.get(name, 0)}
        change = Change(what="restore", object=name, details=told, by=by, at_us=clock.now_us())
        with contextlib.closing(SqliteState(home.state)) as state:
            audit.commit(state, [], change)


def _number_on(journal: Path) -> None:
    told = journal / "numbers"
    if not told.is_file():
        return
    numbers = [int(path.stem.partition("-")[2]) for path in journal.glob("*-*.seg")]
    text = told.read_text("ascii", "replace").strip()
    last = max([int(text) if text.isdecimal() else 0, *numbers])
    with translated(told):
        write_whole(told, f"{last + SKIPPED_SEGMENTS:<20}\n".encode())


def mark_later(home: Home) -> int:
    """Marks who could not be marked before the state was upgraded. Returns how many people that were."""
    file = home.folder / _LATER
    if not file.is_file():
        return 0
    with translated(file):
        since = _mark(home, msgspec.json.decode(file.read_bytes(), type=dict[str, Suppressed]))
        file.unlink()
        sync_folder(home.folder)
    return since


def _mark(home: Home, known: Mapping[str, Suppressed]) -> int:
    """Puts people who were erased since onto the suppression list, and on the list of those to be erased again."""
    if not known:
        return 0
    if upgrades.read_number(home.state) != upgrades.STORES["state"].known:
        with translated(home.folder):
            write_whole(home.folder / _LATER, msgspec.json.encode(known))
        return len(known)
    before = _suppressed(home)
    since = {person: mark for person, mark in known.items() if person not in before}
    state = SqliteState(home.state)
    try:
        for person, mark in since.items():
            bare = msgspec.structs.replace(mark, seen={})  # what was counted then is not counted here
            body = encode(bare)
            state.commit([Write(space=space, name=person, body=body) for space in ("suppressed", "erase_again")])
    finally:
        state.close()
    return len(since)


def _switch(root: Path, made: Path, clock: Clock) -> str:
    """Moves what stands aside and the new home in. The old secret goes first, the new one comes last.

    From the first move to the last there is `installation.json` without a secret, which every process refuses.
    """
    with translated(root):
        aside = ""
        standing = _standing(root)
        if standing:
            stamp = iso(clock.now_us()).replace(":", "").replace("-", "").split(".")[0].rstrip("Z")
            folder = root / f"{_ASIDE}{stamp}-{secrets.token_hex(2)}"
            folder.mkdir(mode=0o700)
            for path in sorted(standing, key=lambda one: one.name != "secret"):
                if path.name != _LAYOUT:
                    path.rename(folder / path.name)
                else:  # it stays until the new one replaces it: without it this would be a folder for a new home
                    shutil.copy2(path, folder / path.name)
            sync_folder(root)
            aside = str(folder)
        for path in sorted(made.iterdir(), key=lambda one: (one.name == "secret", one.name != _LAYOUT)):
            if path.name == "secret":
                sync_folder(root)
            path.rename(root / path.name)
        sync_folder(root)
    return aside
