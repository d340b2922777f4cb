"""What a dataset promises, and what a change of it means for its readers. Pure.

The rule: who relied on the version before must not be let down. A promise that is gone, asks less of the data, or
cannot be compared is a break; more promises, or stricter ones, are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from mainstay.core.clock import span
from mainstay.core.ids import digest_text
from mainstay.core.nouns import Check, Dataset
from mainstay.core.promises import Change, Promise, PromisedColumn


def promise_of(dataset: Dataset) -> Promise:
    """What the file promises about a dataset."""
    return Promise(
        key=dataset.key if len(dataset.key_names) == 1 else list(dataset.key_names),
        columns=tuple(
            PromisedColumn(
                name=one.name, type=one.type, required=one.required, pii=one.pii, unit=one.unit,
                description=one.description,
            )
            for one in dataset.columns
        ),
        checks=dataset.checks,
        freshness=dataset.freshness,
        owner=dataset.owner,
    )  # fmt: skip


def digest_of(promise: Promise) -> str:
    """Over all of it, whatever the order of its columns and checks."""
    plain = msgspec.to_builtins(promise)
    for part in ("columns", "checks"):
        plain[part] = sorted(plain[part], key=lambda one: str(one["name"]))
    return digest_text(msgspec.json.encode(plain, order="deterministic").decode())


def compare(before: Promise, after: Promise) -> tuple[Change, ...]:
    """What changed, breaks first."""
    changes = [
        *_keys(before, after),
        *_columns(before, after),
        *_checks(before, after),
        *_freshness(before, after),
        *_owner(before, after),
    ]
    return tuple(sorted(changes, key=lambda one: not one.breaking))


def said(changes: tuple[Change, ...]) -> str:
    """The changes for a person: `breaking: column city is gone; also column town is new`."""
    breaks = [one.sentence for one in changes if one.breaking]
    others = [one.sentence for one in changes if not one.breaking]
    if not breaks:
        return "compatible: " + "; ".join(others)
    return "breaking: " + "; ".join(breaks) + (f"; also {'; '.join(others)}" if others else "")


def _change(sentence: str, *, breaking: bool) -> Change:
    return Change(sentence=sentence, breaking=breaking)


def _keys(before: Promise, after: Promise) -> Iterator[Change]:
    if before.key != after.key:
        yield _change(f"the key was {before.key} and is {after.key}", breaking=True)


def _columns(before: Promise, after: Promise) -> Iterator[Change]:
    old, new = ({one.name: one for one in promise.columns} for promise in (before, after))
    for name, column in old.items():
        if name not in new:
            yield _change(f"column {name} is gone", breaking=True)
            continue
        now = new[name]
        if column.type != now.type:
            yield _change(f"column {name} was {column.type} and is {now.type}", breaking=True)
        if column.unit != now.unit:
            was = f"{column.unit} and is " if column.unit else "not said and is "
            yield _change(f"the unit of {name} was {was}{now.unit or 'not said'}", breaking=bool(column.unit))
        if column.pii != now.pii:
            yield _change(f"column {name} {'tells' if now.pii else 'no longer tells'} who a person is", breaking=False)
        if column.description != now.description:
            yield _change(f"column {name} is described otherwise", breaking=False)
    for name in new:
        if name not in old:
            yield _change(f"column {name} is new", breaking=False)


def _checks(before: Promise, after: Promise) -> Iterator[Change]:
    """Checks are known by name. Those of a column that came or went are told with the column."""
    names = [{one.name for one in promise.columns} for promise in (before, after)]
    both = names[0] & names[1]
    old, new = (
        {one.name: one for one in promise.checks if one.column is None or one.column in both}
        for promise in (before, after)
    )
    for name, check in old.items():
        if name not in new:
            again = next((one.name for one in new.values() if one.name not in old and _alike(check, one)), None)
            if again is None:
                yield _change(f"check {name} is gone", breaking=True)
            else:
                yield _change(f"check {name} is called {again}", breaking=False)
            continue
        yield from _check(check, new[name])
    for name, check in new.items():
        if name not in old and not any(_alike(check, one) for one in old.values() if one.name not in new):
            yield _change(f"check {name} is new", breaking=False)


def _alike(one: Check, other: Check) -> bool:
    return msgspec.structs.replace(one, name="") == msgspec.structs.replace(other, name="")


def _check(old: Check, new: Check) -> Iterator[Change]:
    name = new.name
    if (old.kind, old.column) != (new.kind, new.column):
        yield _change(f"check {name} asks something else", breaking=True)
    elif old.args != new.args:
        looser = loosened(old, new)
        words = {True: "asks less", False: "asks more", None: "asks otherwise, which may be less"}[looser]
        yield _change(f"check {name} {words}: {_args(old)} became {_args(new)}", breaking=looser is not False)
    if old.on_fail != new.on_fail:
        yield _change(f"on_fail of check {name} was {old.on_fail} and is {new.on_fail}", breaking=new.on_fail == "warn")
    if old.max_share != new.max_share:
        looser = old.max_share is not None and (new.max_share is None or new.max_share > old.max_share)
        yield _change(f"max_share of check {name} was {old.max_share} and is {new.max_share}", breaking=looser)


def _args(check: Check) -> str:
    """The arguments as the file has them; long ones cut."""
    text = ", ".join(f"{name} {value}" for name, value in check.args.items()) or "nothing"
    return text if len(text) <= 80 else text[:79] + "…"


def loosened(old: Check, new: Check) -> bool | None:
    """Whether rows that failed may pass now. None: the two cannot be compared."""
    if old.kind == "values":
        return not set(map(repr, new.args["values"])) <= set(map(repr, old.args["values"]))
    if old.kind in ("min", "max"):
        return _beyond(old.args["value"], new.args["value"], low=old.kind == "min")
    if old.kind in ("length", "row_count"):
        sides = [
            _beyond(old.args.get("min"), new.args.get("min"), low=True),
            _beyond(old.args.get("max"), new.args.get("max"), low=False),
        ]
        return None if None in sides else any(sides)
    return None


def _beyond(old: Any, new: Any, *, low: bool) -> bool | None:
    """Whether a limit lies further out than before. No limit is the furthest."""
    if old is None or new is None:
        return old is not None and new is None
    try:
        return bool(new < old if low else new > old)
    except TypeError:
        return None


def _freshness(before: Promise, after: Promise) -> Iterator[Change]:
    for name, old, new in (
        ("warn", before.freshness.warn_us, after.freshness.warn_us),
        ("fail", before.freshness.fail_us, after.freshness.fail_us),
        ("newest", before.freshness.newest_us, after.freshness.newest_us),
    ):
        if old != new:
            was, now = ("not promised" if one is None else span(one) for one in (old, new))
            yield _change(
                f"freshness.{name} was {was} and is {now}", breaking=old is not None and (new is None or new > old)
            )


def _owner(before: Promise, after: Promise) -> Iterator[Change]:
    if before.owner != after.owner:
        yield _change(f"the owner was {before.owner or 'not said'} and is {after.owner or 'not said'}", breaking=False)
