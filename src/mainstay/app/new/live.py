"""From the written files to the first answer: the commands that a person would type, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mainstay.app import models
from mainstay.app.check import Report, check
from mainstay.app.commands import ask
from mainstay.app.new.make import Made
from mainstay.app.new.work import Wish
from mainstay.app.place import Place, read_file
from mainstay.app.stores import home_of, open_online, open_state
from mainstay.core.clock import MINUTE, Clock
from mainstay.core.counts import counted
from mainstay.core.errors import Refused
from mainstay.core.keys import parted_key
from mainstay.core.records import FeatureSetState
from mainstay.serving.keys import create_key
from mainstay.store.installation import installation_of
from mainstay.store.shelf import ShelfReader

Say = Callable[[str], None]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What can be asked now, and with which key."""

    key: str
    """The API key; shown once."""
    example: str | dict[str, str]
    """A business key that has a row; empty where there is none."""
    url: str
    """Where the API will answer."""


def place_of(folder: Path) -> Place:
    """The place of the installation in `folder`."""
    file = folder / "mainstay.yaml"
    root = (installation_of(file) or folder) / ".mainstay"
    return Place(home_of(file, root, read_file(file).name), file)


def judge(folder: Path, clock: Clock) -> Report:
    """What `mainstay check` says of the written file."""
    place = place_of(folder)
    assert place.file is not None
    return check(place, read_file(place.file), clock)


def prepare(made: Made, wish: Wish, clock: Clock, *, by: str, say: Say) -> Live:
    """`apply`, `run`, `model add`, `model use` and `key create`. Raises Refused where a first read was blocked."""
    place = place_of(made.folder)
    planned = ask(place, "plan", {})
    ask(place, "apply", {"digest": planned["digest"]}, timeout_us=10 * MINUTE)
    say("applied; reading the tables for the first time")
    for one in ask(place, "run", {"datasets": [], "dry_run": False}, timeout_us=60 * MINUTE)["results"]:
        counts = (
            f"{counted(one['read'], 'row')} read, {one['published']:,} published, {one['quarantined']:,} in quarantine"
        )
        say(f"{one['dataset']}: {counts}")
        if one["status"] in ("blocked", "error"):
            raise Refused(
                f"the first read of {one['dataset']} is {one['status']}", mend="cd there, then mainstay status"
            )
    if wish.model is not None:
        _answering(place, made, wish, by=by, say=say)
    state = open_state(place.home)
    try:
        token, _ = create_key(state, "first-key", "predict", clock=clock, expires_us=None, by=by)
        sets = ShelfReader(state, "feature_set", FeatureSetState)
        integration = read_file(made.folder / "mainstay.yaml")
        example = _example(place, tuple(sets.all().values()))
    finally:
        state.close()
    settings = integration.settings
    scheme = "http" if settings.tls is None else "https"
    return Live(
        key=token, example=example, url=f"{scheme}://{settings.host}:{settings.port}/v1/{integration.name}/predict"
    )  # fmt: skip


def _answering(place: Place, made: Made, wish: Wish, *, by: str, say: Say) -> None:
    assert wish.model is not None
    say(f"importing {wish.model.name}, and proving that it answers as in the lab")
    asked = models.Wish(
        file=wish.model.absolute(), python=wish.python, example=wish.example, outputs=made.outputs,
        trusted=wish.trusted, paths=wish.paths,
    )  # fmt: skip
    with models.shop(place) as at:
        version, told = models.add_model(at, asked, by=by)
        models.use_model(at, version.number, by=by)
    for line in told:
        say(f"  {line}")


def _example(place: Place, sets: Sequence[FeatureSetState]) -> str | dict[str, str]:
    """A key that is there, as a request has it."""
    online = open_online(place.home, writable=False)
    try:
        names, key = next(((one.key_names, key) for one in sets for key in online.keys(one.digest)), ((), ""))
    finally:
        online.close()
    return dict(zip(names, parted_key(key, len(names)), strict=True)) if len(names) > 1 else key
