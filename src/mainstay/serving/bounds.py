"""What the file asks of a request-time input beside its type: a value outside it is refused, and never repeated."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mainstay.core.nouns import Field
from mainstay.serving.request import BadRequest

Bound = Callable[[Any, str], None]
"""Raises BadRequest for a (typed) value that is outside; `where` names the field."""


def bounded(field: Field) -> bool:
    """Whether there is anything to keep to."""
    return field.limits is not None or (field.type in ("integer", "number") and _ranged(field))


def bound_of(field: Field) -> Bound | None:
    """What the field keeps to, made ready; None where any value of its type will do."""
    if not bounded(field):
        return None
    outside = [*_range(field), *_text(field), *_listed(field)]

    def check(value: Any, where: str) -> None:
        if value is None:
            return
        for wrong, wanted in outside:
            if wrong(value):
                raise BadRequest(f"`{where}`: wanted {wanted}", where=where)

    return check


Wrong = tuple[Callable[[Any], bool], str]


def _ranged(field: Field) -> bool:
    return field.minimum is not None or field.maximum is not None


def _range(field: Field) -> list[Wrong]:
    low, high = field.minimum, field.maximum
    if field.type not in ("integer", "number") or not _ranged(field):
        return []
    parts = [*([] if low is None else [f"at least {low:g}"]), *([] if high is None else [f"at most {high:g}"])]

    def wrong(value: float) -> bool:
        # What is not finite lies in no range; so does NaN, with which no comparison holds.
        above = float("-inf") < value if low is None else value >= low
        return not (above and (value < float("inf") if high is None else value <= high))

    return [(wrong, "a number of " + " and ".join(parts))]


def _text(field: Field) -> list[Wrong]:
    limits = field.limits
    if limits is None or field.type != "string":
        return []
    found: list[Wrong] = []
    least, most = limits.shortest, limits.longest
    if least is not None:
        found.append((lambda value: len(value) < least, f"{least} characters at least"))
    if most is not None:
        found.append((lambda value: len(value) > most, f"{most} characters at most"))
    if limits.pattern:
        matches = re.compile(limits.pattern).fullmatch
        found.append((lambda value: matches(value) is None, f"a text that matches {limits.pattern}"))
    return found


def _listed(field: Field) -> list[Wrong]:
    if field.limits is None or not field.limits.values:
        return []
    allowed = field.limits.values
    shown = ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in allowed[:20])
    more = f" and {len(allowed) - 20} more" if len(allowed) > 20 else ""
    return [(lambda value: value not in allowed, f"one of {shown}{more}")]
