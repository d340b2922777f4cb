"""What must fit together inside `columns:` and `checks:`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainstay.core.units import UNITS
from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import fits, mapping, sequence, text, type_of
from mainstay.spec.wider import cross_check_volume

CHECK_KINDS = (
    "row_count", "unique", "required", "min", "max", "length", "pattern", "values", "references", "monotone", "volume",
    "distribution", "sql",
)  # fmt: skip
_STEPS = {"null_if", "number", "date", "boolean", "map", "map_file", "unit", "currency", "unicode", "phone", "country"}
_STEP_TYPES = {
    "number": {"integer", "number"}, "date": {"date", "timestamp"}, "boolean": {"boolean"}, "unit": {"number"},
    "currency": {"number"},
    "email": {"string"}, "phone": {"string"}, "country": {"string"},
}  # fmt: skip
_WHOLE = ("row_count", "volume", "distribution")
_ORDERED = {"integer", "number", "date", "timestamp"}
_EXAMPLE = {"integer": "0", "number": "0.5", "date": "2026-11-01", "timestamp": "2026-11-01T00:00:00"}


def cross_check_columns(path: Path, columns: dict[str, Any], faults: Faults) -> None:
    """Ranges, allowed values and cleaning against each column's type; no source column read twice."""
    read: dict[str, str] = {}
    for name, column in columns.items():
        where, said = (*path, name), mapping(column)
        given = said.get("source_name")
        for source in [text(one) for one in sequence(given)] if isinstance(given, list) else [text(given) or name]:
            if source in read:
                came = f"{shown(source)}, which `{read[source]}` is"
                place = (*where, "source_name")
                faults.at(place, "a source column that no other is", came, "keep one of the two")
            read.setdefault(source, name)
        kind = type_of(columns, name)
        for bound in ("min", "max"):
            if bound in said:
                _bound((*where, bound), said[bound], kind, faults)
        _order(where, said, kind, faults)
        _values((*where, "values"), said.get("values"), kind, faults)
        for check in ("length", "pattern"):
            _of_text((*where, check), check, check in said, kind, faults)
        if "length" in said:
            _limits((*where, "length"), mapping(said["length"]), faults)
        _share((*where, "max_share"), said, faults)
        _cleaning((*where, "clean"), sequence(said.get("clean")), kind, faults)


def cross_check_list(path: Path, checks: list[Any], columns: dict[str, Any], faults: Faults) -> None:
    """Each entry is one check, of a column that there is, with a name of its own."""
    named: dict[str, int] = {}
    for index, entry in enumerate(checks):
        where, said = (*path, index), mapping(entry)
        if not said:
            continue
        kinds = [kind for kind in CHECK_KINDS if kind in said]
        if len(kinds) != 1:
            came = "none" if not kinds else " and ".join(kinds)
            mend = "write one of " + ", ".join(CHECK_KINDS) if not kinds else "write an entry for each"
            faults.at(where, "one check", came, mend)
        for kind in kinds:
            _entry((*where, kind), kind, said[kind], columns, faults)
        _whole(where, said, faults)
        name = text(said.get("name"))
        if name in named:
            faults.at((*where, "name"), "a name for each check", f"{shown(name)} again", "rename one of the two")
        if name:
            named[name] = index


def _whole(where: Path, said: dict[str, Any], faults: Faults) -> None:
    """What only checks of rows can say is not said of the dataset as a whole."""
    if "over" in said and "sql" not in said:
        faults.at(
            (*where, "over"), "`sql` beside `over`", "none", "delete it: other checks know what they look at", key=True
        )
    what = next((kind for kind in _WHOLE if kind in said), "over: dataset" if said.get("over") == "dataset" else "")
    if what and said.get("on_fail") == "quarantine":
        mend = "write block or warn: a count has no rows to put aside"
        faults.at((*where, "on_fail"), "block or warn", "'quarantine'", mend)
    if what and "max_share" in said:
        mend = f"delete it: {what} judges the dataset, not rows"
        faults.at((*where, "max_share"), "a check of rows", what, mend, key=True)
    elif not what:
        _share((*where, "max_share"), said, faults)


def _share(where: Path, said: dict[str, Any], faults: Faults) -> None:
    if "max_share" in said and said.get("on_fail") == "block":
        mend = "delete it, or let on_fail say what becomes of the rows up to that share: quarantine or warn"
        faults.at(where, "no share: on_fail blocks at the first row", shown(said["max_share"]), mend, key=True)


def _entry(where: Path, kind: str, value: object, columns: dict[str, Any], faults: Faults) -> None:
    said = mapping(value)
    place = where if isinstance(value, str) else (*where, "column")
    column = text(value) or text(said.get("column"))
    if kind == "row_count":
        _limits(where, said, faults)
    if kind == "volume":
        cross_check_volume(where, said, columns, faults)
    if kind in {"row_count", "volume", "sql"}:
        return
    for index, one in enumerate(sequence(value)):
        if text(one) and columns and one not in columns:
            faults.at((*where, index), "a column of this dataset", shown(one), close(one, columns))
    if column and columns and column not in columns:
        faults.at(place, "a column of this dataset", shown(column), close(column, columns))
    of = type_of(columns, column)
    if kind in {"min", "max"} and "value" in said:
        _bound((*where, "value"), said["value"], of, faults)
    _values((*where, "values"), said.get("values"), of, faults)
    if kind == "length":
        _limits(where, said, faults)
    if kind == "monotone" and of and of not in _ORDERED:
        wanted = "a column of type " + " or ".join(sorted(_ORDERED))
        faults.at(where, wanted, f"one of type {of}", "name another column")
    _of_text((*where, "column"), kind, kind in {"length", "pattern"}, of, faults)


def _limits(where: Path, said: dict[str, Any], faults: Faults) -> None:
    least, greatest = said.get("min"), said.get("max")
    if not {"min", "max"} & set(said):
        faults.at(where, "`min`, `max` or both", "neither", "write {min: 1}")
    if isinstance(least, int) and isinstance(greatest, int) and least > greatest:
        faults.at((*where, "min"), f"at most the max of {greatest}", shown(least), "swap the two")


def _bound(where: Path, value: object, kind: str, faults: Faults) -> None:
    if not kind or value is None:
        return
    if kind not in _ORDERED:
        mend = "delete it, or change the type to one of " + ", ".join(sorted(_ORDERED))
        faults.at(where, f"no range: the column is of type {kind}", shown(value), mend)
    elif not (fits(value, kind) or (kind == "integer" and fits(value, "number"))):
        faults.at(where, f"a value of type {kind}", shown(value), f"write {_EXAMPLE[kind]}, say")


def _order(where: Path, said: dict[str, Any], kind: str, faults: Faults) -> None:
    least: Any
    greatest: Any
    least, greatest = said.get("min"), said.get("max")
    if kind not in _ORDERED or "min" not in said or "max" not in said:
        return
    texts = isinstance(least, str) and isinstance(greatest, str)
    numbers = fits(least, "number") and fits(greatest, "number")
    if (texts or numbers) and least > greatest:
        faults.at((*where, "min"), f"at most the max of {shown(greatest)}", shown(least), "swap the two")


def _values(where: Path, values: object, kind: str, faults: Faults) -> None:
    for index, value in enumerate(sequence(values)):
        if kind and value is not None and not isinstance(value, (list, dict)) and not fits(value, kind):
            mend = f'put it in quotes: "{shown(value)}"' if kind == "string" else "change the value or the type"
            faults.at((*where, index), f"a value of type {kind}", shown(value), mend)


def _of_text(where: Path, check: str, asked: bool, kind: str, faults: Faults) -> None:
    if asked and kind and kind != "string":
        mend = "delete it, or change the type to string"
        faults.at(where, f"a {check} for a column of type string", f"one of type {kind}", mend)


def _cleaning(where: Path, steps: list[Any], kind: str, faults: Faults) -> None:
    for index, step in enumerate(steps):
        if step in ("email", "country") and kind not in {"", "string"}:
            wanted = "a column of type string"
            faults.at((*where, index), wanted, f"one of type {kind}", "change the type, or delete the step")
        if not isinstance(step, dict):
            continue
        _unit((*where, index, "unit"), mapping(step.get("unit")), faults)
        known = [name for name in step if name in _STEPS]
        if len(known) != 1 and len(known) == len(step):
            came = " and ".join(known) or "none"
            faults.at((*where, index), "one step", came, "write an entry for each: they run in order")
        for name in known:
            if kind and kind not in _STEP_TYPES.get(name, {kind}):
                wanted = "a column of type " + " or ".join(sorted(_STEP_TYPES[name]))
                faults.at((*where, index, name), wanted, f"one of type {kind}", "change the type, or delete the step")


def _unit(where: Path, said: dict[str, Any], faults: Faults) -> None:
    old, new = UNITS.get(text(said.get("from"))), UNITS.get(text(said.get("to")))
    if old and new and old.dimension != new.dimension:
        mend = "convert to one of " + ", ".join(name for name, unit in UNITS.items() if unit.dimension == old.dimension)
        faults.at((*where, "to"), f"a unit of {old.dimension}", f"{shown(said['to'])}, one of {new.dimension}", mend)


def cross_check_fill(path: Path, columns: dict[str, Any], key: Sequence[str], faults: Faults) -> None:
    """A value that stands in has the column's type, and stands in for something."""
    for name, column in columns.items():
        said, where = mapping(column), (*path, name, "fill")
        kind, value = text(said.get("type")), said.get("fill")
        if "fill" not in said:
            continue
        if name in key:
            faults.at(where, "no fill: a row without a key is none", shown(value), "delete it", key=True)
        elif said.get("required") is True:
            mend = "keep one of the two: with a fill the value is never absent"
            faults.at(where, "a column that may be absent", "`required: true`", mend, key=True)
        elif kind in {"json", "bytes"}:
            faults.at(where, "a column of plain values", f"one of type {kind}", "delete it", key=True)
        elif kind and value is not None and not isinstance(value, (list, dict)) and not fits(value, kind):
            mend = f'put it in quotes: "{shown(value)}"' if kind == "string" else "change the value or the type"
            faults.at(where, f"a value of type {kind}", shown(value), mend)
