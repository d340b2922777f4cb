"""What the file asks of a request-time input beside its type: a value outside it is refused, and never repeated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from mainstay.core.nouns import Field
from mainstay.quality.conditions import refuse_unknown_pattern
from mainstay.quality.patterns import glob_of
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


def refuse_unknown_patterns(fields: Iterable[Field]) -> None:
    """Raises Refused for the first input whose `pattern` RE2 does not know."""
    for field in fields:
        if field.limits is not None and field.limits.pattern:
            refuse_unknown_pattern(field.limits.pattern, f"model.request_inputs.{field.name}")


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
        found.append((_unlike(limits.pattern), f"a text that matches {limits.pattern}"))
    return found


def _unlike(pattern: str) -> Callable[[str], bool]:
    """Whether a text does not match as a whole, told by RE2, as in `checks`.

    RE2 takes time by the length of the text. Python's own takes twice as long for each character more with some
    patterns, `([a-z]+ ?)*` among them: one request would keep a worker for hours. Not with those of one fixed shape,
    `[0-9]{5}`, where it saves the 80 MiB that RE2 comes with here.
    """
    if glob_of(pattern) is not None:
        matches = re.compile(pattern, re.ASCII).fullmatch
        return lambda value: matches(value) is None
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = rf"\A(?:{pattern})\z"
    return lambda value: not pc.match_substring_regex(pa.scalar(value, pa.string()), pattern=whole).as_py()


def _listed(field: Field) -> list[Wrong]:
    if field.limits is None or not field.limits.values:
        return []
    allowed = field.limits.values
    shown = ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in allowed[:20])
    more = f" and {len(allowed) - 20} more" if len(allowed) > 20 else ""
    return [(lambda value: value not in allowed, f"one of {shown}{more}")]
