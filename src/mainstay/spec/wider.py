"""Checks that look beyond a batch: what must fit together in them, and the arguments that they come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainstay.spec import map_files, profile_files
from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import text, type_of
from mainstay.spec.shape import CheckPart, VolumePart

_LEAST: Mapping[str, int] = {"hour": 504, "day": 21, "week": 3}
"""Windows among which three are like the last one: the least that a median is taken of."""
_MOST: Mapping[str, int] = {"hour": 2016, "day": 364, "week": 52}
_PAST: Mapping[str, int] = {"hour": 672, "day": 28, "week": 8}


def kind(entry: CheckPart, dataset: str, files: Mapping[str, str]) -> tuple[str, str | None, dict[str, Any]] | None:
    """(kind, column, arguments) of such a check; None where the entry is another."""
    if entry.volume is not None:
        return "volume", None, _volume(entry.volume)
    asked = entry.distribution
    if asked is None:
        return None
    pinned = profile_files.pinned(files[map_files.path(asked.profile)], asked.column)
    args = {"dataset": dataset, "profile": asked.profile, "psi": asked.psi, "pinned": pinned}
    return "distribution", asked.column, args


def _volume(part: VolumePart) -> dict[str, Any]:
    return {
        "per": part.per, "of": part.of, "within": part.within, "past": part.past or _PAST[part.per],
        "late_us": part.late or 0,
    }  # fmt: skip


def cross_check_volume(where: Path, said: dict[str, Any], columns: dict[str, Any], faults: Faults) -> None:
    """`of` is a time that tells such windows, `past` is enough and not endless, `late` has something to wait for."""
    of, per, past = text(said.get("of")), text(said.get("per")), said.get("past")
    if of and columns and of not in columns:
        faults.at((*where, "of"), "a column of this dataset", shown(of), close(of, columns))
    kind = type_of(columns, of)
    if kind and kind not in {"date", "timestamp"}:
        faults.at(
            (*where, "of"), "a column of type timestamp or date", f"one of type {kind}", "name another, or delete it"
        )
    elif kind == "date" and per == "hour":
        faults.at((*where, "per"), "day or week", "'hour', and a date has none", "write day")
    if isinstance(past, int) and not isinstance(past, bool) and per in _LEAST:
        if past < _LEAST[per]:
            mend = f"write {_LEAST[per]} or more: it takes three windows of the same name to compare with"
            faults.at((*where, "past"), f"at least {_LEAST[per]} of the windows called {per}", shown(past), mend)
        elif past > _MOST[per]:
            wanted = f"at most {_MOST[per]} of the windows called {per}"
            faults.at((*where, "past"), wanted, shown(past), f"write {_PAST[per]}, or leave it out")
    if "late" in said and "of" not in said:
        mend = "delete it, or name a column: versions count when they land, so none is late"
        faults.at((*where, "late"), "`of` beside `late`", "none", mend, key=True)
