"""Which rate converted an amount: for `mainstay why`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainstay.core.nouns import Dataset
from mainstay.pipelines.currency import conversions

Pairs = tuple[tuple[str, str], ...]


def with_rates(dataset: Dataset, id: str, cleaned: Pairs, kept: Mapping[str, Any] | None) -> Pairs:
    """The cleaned values, each amount as it was converted, with its rate.

    Args:
        dataset: The contract.
        id: Of the version, `dataset/batch/ordinal`.
        cleaned: Column and value; amounts in their own currency.
        kept: The version as history has it; None while it has not: the rate is kept there and in no other place.
    """
    amounts = {column.name for column, _ in conversions(dataset)}
    if not amounts:
        return cleaned
    if kept is None:
        later = " (before it was converted; history has the rate within minutes)"
    else:
        later = f" (before it was converted; the rate stands in `mainstay quarantine show {id}`)"
    told = dict(part.split(": ", 1) for part in ((kept or {}).get("rates") or "").split("; ") if part)

    def shown(name: str, value: str) -> str:
        if name not in amounts or not value:
            return value
        now = None if kept is None else kept.get(f"c_{name}")
        if now is None:
            return value + later
        return f"{now} ({told[name]})" if name in told else str(now)

    return tuple((name, shown(name, value)) for name, value in cleaned)
