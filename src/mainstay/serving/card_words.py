"""What the decision card shows, in words: out of an answer and the API contract, so that the page decides nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from mainstay.core.clock import SECOND
from mainstay.core.nouns import Field
from mainstay.serving.judge import Terms
from mainstay.serving.reply import Answer

PROBABILITY = frozenset({"probability", "share"})
PERCENT = frozenset({"percent", "%"})
REASONS = re.compile(r"reasons?(_\d+)?")
"""Outputs of these names are the model's reasons, in words: `reasons`, `reason`, `reason_1`, `reason_2`, ..."""
_BESIDE = re.compile(r"reason_\d+_score")
_REASONS_MOST = 10


class Line(msgspec.Struct, frozen=True):
    """One more output."""

    label: str
    value: str


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """All that a card shows."""

    key: str | int
    user: str
    label: str
    """What the value is about: the output's meaning, else its name."""
    value: str
    """`31 %`, `high`, `42.5 EUR`."""
    words: str
    """A probability once more, as people count: `about 3 in 10`; empty for anything else."""
    also: list[Line]
    reasons: list[str]
    note: str
    """Why the answer is not plain; empty when it is."""
    degraded: bool
    verdict: str
    receipt: str | None
    as_of: str | None
    age_seconds: float | None
    promise_seconds: float | None
    """The age from which the data is older than promised; None where nothing was."""


def reading(answer: Answer, outputs: Sequence[Field], terms: Terms, *, key: str | int, user: str) -> Reading:
    """The card of one answer. `outputs` are the answering version's; the first that is no reason is the value."""
    shown = [field for field in outputs if not REASONS.fullmatch(field.name) and not _BESIDE.fullmatch(field.name)]
    first = shown[0] if shown else None
    value = None if first is None else answer.output.get(first.name)
    return Reading(
        key=key,
        user=user,
        label=label(first) if first else "Answer",
        value=told(first, value) if first else "",
        words=odds(value) if first is not None and first.unit in PROBABILITY else "",
        also=[Line(label(field), told(field, answer.output.get(field.name))) for field in shown[1:]],
        reasons=_reasons(answer.output, outputs),
        note=answer.sentence if answer.degraded else "",
        degraded=answer.degraded,
        verdict=answer.verdict.value,
        receipt=answer.receipt,
        as_of=answer.as_of,
        age_seconds=answer.age_seconds,
        promise_seconds=_promise(terms),
    )


def called(outputs: Sequence[Field], own: Sequence[Field]) -> tuple[Field, ...]:
    """The outputs with the meaning that the file gives them: a model's own is often its library's name for it."""
    meanings = {field.name: field.meaning for field in own if field.meaning}
    return tuple(msgspec.structs.replace(field, meaning=meanings.get(field.name, field.meaning)) for field in outputs)


def label(field: Field) -> str:
    """The output's meaning, else its name, as a line begins."""
    text = field.meaning or field.name.replace("_", " ")
    return text[:1].upper() + text[1:]


def told(field: Field, value: Any) -> str:
    """A value in words, with its unit."""
    match value:
        case None:
            return "not known"
        case bool():
            return "yes" if value else "no"
        case int() | float() if field.unit in PROBABILITY:
            return _percent(value * 100)
        case int() | float() if field.unit in PERCENT:
            return _percent(value)
        case int() | float():
            return f"{_number(value)} {field.unit}".rstrip()
        case list() | tuple():
            return ", ".join(str(each) for each in value)
        case _:
            return f"{value} {field.unit}".rstrip()


def odds(value: Any) -> str:
    """A probability as people count: `about 3 in 10`; empty for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return ""
    if value < 0.005:
        return "fewer than 1 in 100"
    if value > 0.995:
        return "nearly all"
    if value < 0.095 or value > 0.905:
        return f"about {round(value * 100)} in 100"
    return f"about {round(value * 10)} in 10"


def _percent(value: float) -> str:
    if 0 < value < 1:
        return "under 1 %"
    if 99 < value < 100:
        return "over 99 %"
    return f"{value:.0f} %"


def _number(value: float) -> str:
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 1:
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"


def _reasons(output: dict[str, Any], outputs: Sequence[Field]) -> list[str]:
    found: list[str] = []
    for field in outputs:
        if REASONS.fullmatch(field.name):
            found += _texts(output.get(field.name))
    return found[:_REASONS_MOST]


def _texts(value: Any) -> list[str]:
    """The reasons in one output: a text, a list of texts, or such a list as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = msgspec.json.decode(value, type=list[str])
        except msgspec.DecodeError:
            return [value]
    if isinstance(value, str):
        return [value] if value.strip() else []
    return [str(each) for each in value if each] if isinstance(value, list | tuple) else []


def _promise(terms: Terms) -> float | None:
    """The strictest `freshness.fail` behind the row, else the strictest `freshness.warn`, in seconds."""
    for name in ("fail_us", "warn_us"):
        ages = [age for each in terms.datasets if (age := getattr(each.freshness, name)) is not None]
        if ages:
            return float(min(ages) / SECOND)
    return None
