"""What it costs to ask a model for 1, 2, 4, ... 1,024 rows at once: measured when it is imported, on its current rows.

It says whether scoring in batches pays, and what a request of `keys` will take. The machine is the one that imports,
busy as it is: a guide, not a promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

from mainstay.core.clock import SECOND, Clock
from mainstay.core.errors import ModelError
from mainstay.core.ports import LoadedModel, Row
from mainstay.core.records import Cost
from mainstay.models.parity import answers

SIZES = tuple(2**power for power in range(11))
_LOOKED_AT = 64
"""Rows that are tried first, for those which the model answers."""
_RUNS = 7
_LONG_US = SECOND // 4
"""Time for one size, the first run apart."""
_STOP_US = 5 * SECOND
"""A call that takes longer ends the measurement: what is larger would take minutes."""
_PATIENCE_US = 60 * SECOND


def curve(model: LoadedModel, rows: Sequence[Row], clock: Clock) -> tuple[Cost, ...]:
    """The median for each size; empty without a row that the model answers. Rows are repeated where too few."""
    some = rows[:_LOOKED_AT]
    try:
        fine = [row for row, given in zip(some, answers(model, some, clock), strict=True) if given is not None]
    except ModelError:
        return ()
    if not fine:
        return ()
    found = []
    for size in SIZES:
        given = (fine * (size // len(fine) + 1))[:size]
        try:
            took = _asked(model, given, clock)
        except ModelError:
            break
        found.append(Cost(rows=size, us=took))
        if took > _STOP_US:
            break
    return tuple(found)


def _asked(model: LoadedModel, rows: Sequence[Row], clock: Clock) -> int:
    """Microseconds of one call, the median of several; the first warms up and counts only where it is the only one."""
    began = clock.monotonic_us()
    took: list[int] = []
    while len(took) < _RUNS and (not took or clock.monotonic_us() - began < _LONG_US):
        start = clock.monotonic_us()
        model.predict(rows, deadline_us=start + _PATIENCE_US)
        took.append(clock.monotonic_us() - start)
    return median_low(took[1:] or took)
