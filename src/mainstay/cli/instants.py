"""Instants and spans of records, as people read them: microseconds are for programs."""

from __future__ import annotations

from typing import Any

from mainstay.core.clock import SECOND, iso, span

_SPANS = {"age_us", "latency_us", "run_us", "refresh_us"}
_PROMISES = "freshness"
"""What is named so holds spans alone."""


def instant(instant_us: int) -> str:
    """`2026-11-01 09:30:00Z`, as tables have it."""
    whole = iso(instant_us)
    return f"{whole[:10]} {whole[11:19]}Z"


def spoken(value: Any, name: str = "", within: str = "") -> Any:
    """A value of ours with instants and spans in words, wherever in it they stand, and `_us` off their names.

    Args:
        value: Plain, as JSON has it.
        name: The field's.
        within: The name of the field that it stands in.
    """
    if isinstance(value, dict):
        return {each.removesuffix("_us"): spoken(one, each, name) for each, one in value.items()}
    if isinstance(value, list | tuple):
        return [spoken(each, name, within) for each in value]
    if not name.endswith("_us") or not isinstance(value, int):
        return value
    if name in _SPANS or within == _PROMISES:
        return span(value) if value >= SECOND else f"{value / 1_000:g} ms"
    return instant(value) if value else None
