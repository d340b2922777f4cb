"""What a check holds its column against, in the words of the file: `0`, `[One year, Two year]`, `min 3, max 5`."""

from __future__ import annotations

from typing import Any

from mainstay.core.nouns import Check

MOST = 80
"""Characters of it: a column may have a hundred values, a condition many lines."""
_INNER = {"late_us", "pinned", "profile", "psi", "past"}
"""Arguments that are worked with and not written by the user."""


def said(check: Check) -> str:
    """Empty for a check that asks nothing but its own name, as `required` does."""
    args = {name: value for name, value in check.args.items() if name not in _INNER and value is not None}
    several = len(args) > 1 or bool(args.keys() & {"min", "max"})
    text = ", ".join(f"{name} {_value(value)}" if several else _value(value) for name, value in args.items())
    text = " ".join(text.split())
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)
