"""The cleaning step `currency`: its arguments, and what must fit together between a column and its rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mainstay.core.clock import DAY
from mainstay.spec import durations
from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import mapping, sequence, text, type_of
from mainstay.spec.shape import CleanStep, ColumnPart, CurrencyStep

_RATES = {"currency": "string", "date": "date", "rate": "number"}
"""Columns that a dataset of rates has, with their types."""


def arguments(step: CurrencyStep) -> dict[str, Any]:
    """The step's arguments, and those of the check that comes with it."""
    return {
        "from": step.old, "to": step.new, "rates": step.rates, "at": step.at, "max_age_us": step.max_age,
        "inverse": step.inverse,
    }  # fmt: skip


def of_column(part: ColumnPart) -> Iterator[dict[str, Any]]:
    """The arguments of a column's `currency` step, where it has one."""
    for step in part.clean:
        if isinstance(step, CleanStep) and step.currency is not None:
            yield arguments(step.currency)


def cross_check_currency(datasets: dict[str, Any], faults: Faults) -> None:
    """Tells what is wrong with each such step."""
    for name, dataset in datasets.items():
        columns = mapping(mapping(dataset).get("columns"))
        for column, said in columns.items():
            steps = sequence(mapping(said).get("clean"))
            for index, step in enumerate(steps):
                asked = mapping(mapping(step).get("currency"))
                where: Path = ("datasets", name, "columns", column, "clean", index, "currency")
                if not asked:
                    continue
                if index < len(steps) - 1:
                    faults.at(where, "`currency` as the last step", "a step behind it", "move it to the end", key=True)
                _column((*where[:4],), str(column), mapping(said), mapping(dataset), faults)
                _row(where, asked, columns, faults)
                _rates((*where, "rates"), str(name), text(asked.get("rates")), datasets, faults)


def _column(where: Path, column: str, said: dict[str, Any], dataset: dict[str, Any], faults: Faults) -> None:
    if "fill" in said:
        mend = "delete it: what stands in for an absent amount has no currency"
        faults.at((*where, "fill"), "no `fill` beside `currency`", shown(said["fill"]), mend, key=True)
    if column == dataset.get("key"):
        faults.at(where, "a column other than the key", "the key", "convert another column", key=True)


def _row(where: Path, asked: dict[str, Any], columns: dict[str, Any], faults: Faults) -> None:
    for name, kinds in (("from", {"string"}), ("at", {"date", "timestamp"})):
        other = text(asked.get(name))
        kind = type_of(columns, other)
        if other and other not in columns:
            faults.at((*where, name), "a column of this dataset", shown(other), close(other, columns))
        elif kind and kind not in kinds:
            wanted = "a column of type " + " or ".join(sorted(kinds))
            faults.at((*where, name), wanted, f"one of type {kind}", "name another column")
    try:
        age = durations.parse(asked["max_age"]) if "max_age" in asked else DAY
    except durations.DurationError:
        return
    if age % DAY:
        faults.at((*where, "max_age"), "whole days, as rates have dates", shown(asked["max_age"]), "write 7d, say")


def _rates(where: Path, name: str, rates: str, datasets: dict[str, Any], faults: Faults) -> None:
    if not rates:
        return
    if rates not in datasets:
        faults.at(where, "a dataset of this file", shown(rates), close(rates, datasets))
        return
    if name == rates or name in _above(rates, datasets):
        mend = "take the rates from a dataset of their own: neither could be published before the other"
        faults.at(where, "a dataset that does not need this one", shown(rates), mend)
        return
    columns = mapping(mapping(datasets[rates]).get("columns"))
    wrong = [f"{one}: {{type: {kind}}}" for one, kind in _RATES.items() if columns and type_of(columns, one) != kind]
    if wrong:
        wanted = "a dataset with the columns currency, date and rate"
        faults.at(where, wanted, f"{rates}, without {', '.join(wrong)}", f"add them to the columns of {rates}")


def _above(name: str, datasets: dict[str, Any]) -> set[str]:
    """Every dataset that must be published before this one, directly or not."""
    seen: set[str] = set()
    left = [name]
    while left:
        new = set(_needs(mapping(datasets.get(left.pop())))) - seen
        seen |= new
        left.extend(new)
    return seen


def _needs(dataset: dict[str, Any]) -> Iterator[str]:
    for entry in sequence(dataset.get("checks")):
        if other := text(mapping(mapping(entry).get("references")).get("dataset")):
            yield other
    for column in mapping(dataset.get("columns")).values():
        for step in sequence(mapping(column).get("clean")):
            if other := text(mapping(mapping(step).get("currency")).get("rates")):
                yield other
