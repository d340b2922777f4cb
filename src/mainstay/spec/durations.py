"""Durations as the file writes them: a whole number and a unit, `500ms`, `10s`, `5m`, `24h`, `90d`."""

from __future__ import annotations

import re

from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND

UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": 1_000}
"""Unit -> microseconds, greatest first."""

PATTERN = r"^[0-9]{1,13}(ms|s|m|h|d)$"
LONGEST = 36_500 * DAY

_DURATION = re.compile(r"([0-9]{1,13})(ms|s|m|h|d)")
_PLAIN = re.compile(r"[0-9]{1,12}")
_EXAMPLES = "10s, 5m, 24h, 90d or 500ms"


class DurationError(ValueError):
    """The text is no duration. `mend` says what to type."""

    def __init__(self, mend: str) -> None:
        super().__init__(f"a duration such as {_EXAMPLES}")
        self.mend = mend


def parse(value: object) -> int:
    """Microseconds of a duration. Raises DurationError, for plain numbers too: they do not say their unit."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DurationError(f"write {_EXAMPLES}")
    text = str(value).strip()
    if _PLAIN.fullmatch(text):
        raise DurationError(f"say the unit: {text}s for seconds, {text}m for minutes, {text}h for hours")
    found = _DURATION.fullmatch(text)
    if found is None:
        raise DurationError(f"write one whole number and one of ms, s, m, h, d: {_EXAMPLES}")
    duration = int(found[1]) * UNITS[found[2]]
    if duration > LONGEST:
        raise DurationError("write at most 36500d")
    return duration


def text(duration_us: int) -> str:
    """The shortest text that `parse` reads as `duration_us`, a whole number of milliseconds, not negative."""
    for unit, size in UNITS.items():
        if duration_us % size == 0 and duration_us >= size:
            return f"{duration_us // size}{unit}"
    return "0s"
