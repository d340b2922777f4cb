"""One key of a request over several feature views: which row of each it names, and those rows as one.

A model over one view with a key of one column never comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.inputs import ModelInput, key_of
from mainstay.core.keys import joined_key
from mainstay.core.nouns import Field
from mainstay.core.ports import OnlineRow
from mainstay.core.receipt import UsedRow
from mainstay.core.records import FeatureSetState
from mainstay.core.verdicts import Verdict, worst
from mainstay.serving.inputs import WANTED, key_text
from mainstay.serving.judge import Terms, as_of
from mainstay.serving.judge_views import Seen, view_verdict
from mainstay.serving.request import BadRequest, Key, came, unknown_field, whole

_positions = msgspec.json.Decoder(dict[str, list[int]])
_filled = msgspec.json.Decoder(dict[str, list[str]])
_encode = msgspec.json.Encoder().encode


class ViewTerms(msgspec.Struct, frozen=True, kw_only=True):
    """One feature view of the model's input, and the terms of its rows."""

    feature_set: FeatureSetState
    asked: str
    """Its key columns, for sentences."""
    terms: Terms


class Keyed(msgspec.Struct, frozen=True, kw_only=True):
    """Several views: how a request's key names a row of each."""

    keys: tuple[Field, ...]
    views: tuple[ViewTerms, ...]


class Named(msgspec.Struct, frozen=True):
    """A request's key in the text that stores use."""

    whole: str
    """Of every column: what the receipt is about."""
    keys: tuple[str, ...]
    """Of each view."""


def keyed(sets: Sequence[FeatureSetState], terms: Sequence[Terms]) -> Keyed:
    """What a snapshot keeps of its views."""
    views = tuple(
        ViewTerms(feature_set=one, asked=", ".join(name for name, _ in one.key_columns), terms=its)
        for one, its in zip(sets, terms, strict=True)
    )
    return Keyed(keys=ModelInput(sets=tuple(sets)).keys, views=views)


def named(given: object, how: Keyed, where: str) -> Named:
    """The keys that `given` names.

    Raises BadRequest for a column that is missing, unknown or of another type.
    """
    texts = key_texts(given, how.keys, where)
    return Named(joined_key(texts), tuple(key_of(one.feature_set, how.keys, texts) for one in how.views))


def key_texts(given: Any, keys: Sequence[Field], where: str) -> list[str]:
    """The text of each key column of a request. A single one may stand without its name."""
    names = [field.name for field in keys]
    if not isinstance(given, Mapping):
        if len(keys) == 1:
            return [key_text(given, keys[0].type, where)]
        shown = ", ".join(f'"{name}": ...' for name in names)
        wanted = " and ".join(f"`{name}`" for name in names)
        raise BadRequest(
            f"`{where}`: wanted an object with {wanted}, found {came(given)}",
            mend=f'send {{"key": {{{shown}}}}}',
            where=where,
        )
    for name in given:
        if name not in names:
            raise unknown_field(name, names, f"{where}.")
    for field in keys:
        value = whole(given.get(field.name))
        if isinstance(value, float) or (isinstance(value, bool) and field.type != "boolean"):
            wanted, where = "a string or an integer", f"{where}.{field.name}"
            raise BadRequest(f"`{where}`: wanted {wanted}, found {came(value)}", where=where)
        if given.get(field.name) is None:
            found = "is missing" if field.name not in given else "is null"
            raise BadRequest(
                f"`{where}.{field.name}` {found}, wanted {WANTED[field.type]}",
                where=f"{where}.{field.name}",
            )
    return [key_text(whole(given[field.name]), field.type, f"{where}.{field.name}") for field in keys]


def shown_key(given: Key) -> str | int:
    """A request's key for people: `customer_id=C1,product_id=7` where it names several columns."""
    if not isinstance(given, dict):
        return given
    values = list(given.values())
    if len(given) == 1 and isinstance(values[0], str | int):
        return values[0]
    return ",".join(f"{name}={value}" for name, value in given.items())


def joined_values(parts: Sequence[bytes]) -> bytes:
    """JSON arrays as one array."""
    inner = (part.strip()[1:-1] for part in parts)
    return b"[" + b",".join(part for part in inner if part.strip()) + b"]"


def as_one(key: str, rows: Sequence[OnlineRow | None]) -> OnlineRow | None:
    """The rows of all views as the one that the model is given; None where a view has none.

    It has the newest times and positions. It is judged by its parts, never as a whole.
    """
    there = [row for row in rows if row is not None]
    values = [row.values for row in there if row.values is not None]
    if len(values) != len(rows):
        return None
    return OnlineRow(
        key=key,
        plan=max(row.plan for row in there),
        values=joined_values(values),
        event_us=max((row.event_us for row in there if row.event_us is not None), default=None),
        landed_us=max(row.landed_us for row in there),
        verdict=worst(row.verdict for row in there),
        sentence="",
        held=any(row.held for row in there),
        held_as_of_us=None,
        deleted=any(row.deleted for row in there),
        evaluated_us=None,
        positions=_encode(newest_positions(there)),
        filled=_joint_filled(there),
    )


def newest_positions(rows: Sequence[OnlineRow | None]) -> dict[str, list[int]]:
    """Dataset -> the newest position that any of the rows has of it."""
    found: dict[str, list[int]] = {}
    for row in rows:
        for name, at in ({} if row is None else positions_of(row)).items():
            found[name] = max(found.get(name, at), at)
    return found


def filled_of(row: OnlineRow | None) -> dict[str, list[str]]:
    """Dataset -> columns whose `fill` stands in for an absent value."""
    return _filled.decode(row.filled) if row is not None and row.filled else {}


def _joint_filled(rows: Sequence[OnlineRow]) -> bytes:
    found: dict[str, list[str]] = {}
    for row in rows:
        for name, columns in filled_of(row).items():
            found[name] = list(dict.fromkeys((*found.get(name, ()), *columns)))
    return _encode(found) if found else b""


def positions_of(row: OnlineRow) -> dict[str, list[int]]:
    """Dataset -> [batch, ordinal]."""
    return _positions.decode(row.positions)


def seen_of(how: Keyed, rows: Sequence[OnlineRow | None]) -> list[Seen]:
    """Each view's row beside what it is judged by."""
    return [
        Seen(view=view.feature_set.view, asked=view.asked, terms=view.terms, row=row)
        for view, row in zip(how.views, rows, strict=True)
    ]


def used_rows(
    how: Keyed,
    keys: Sequence[str],
    rows: Sequence[OnlineRow | None],
    now_us: int,
    erased: Callable[[str, FeatureSetState | None], bool],
) -> tuple[UsedRow, ...]:
    """What a receipt says of each view's row. `erased`: whether a key is that of an erased person."""
    found = []
    for view, key, one in zip(how.views, keys, seen_of(how, rows or (None,) * len(keys)), strict=True):
        verdict, sentence = view_verdict(one, now_us) if rows else (Verdict.ERROR, "not looked up")
        row = one.row
        found.append(
            UsedRow(
                view=one.view,
                feature_set=view.feature_set.digest,
                key=None if row is None and erased(key, view.feature_set) else key,
                columns=view.feature_set.key_names,
                found=row is not None and row.values is not None,
                verdict=verdict,
                sentence=sentence,
                plan=row.plan if row else 0,
                positions=positions_of(row) if row else {},
                as_of_us=as_of(row, view.terms),
                event_us=row.event_us if row else None,
                landed_us=row.landed_us if row else None,
            )
        )
    return tuple(found)
