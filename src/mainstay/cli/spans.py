"""Spans of time as options take them."""

from __future__ import annotations


def span_us(option: str, said: str) -> int:
    """Microseconds of a span such as `30d`. Raises Refused, which names the option."""
    from mainstay.core.errors import Refused
    from mainstay.spec.durations import DurationError, parse

    try:
        return parse(said)
    except DurationError as error:
        raise Refused(f"`{option}`: wanted {error}, found {said!r}", mend=error.mend) from None
