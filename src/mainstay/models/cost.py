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
_TOGETHER_MOST = 32
_PAYS = 0.7
"""Above this share of what a row costs alone, asking together is not worth the wait."""
_AS_LONG = 2
"""How much longer than one row a call for several may take; or TOGETHER_US, if that is longer."""
_TOGETHER_US = SECOND // 200


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


def together(model: LoadedModel, rows: Sequence[Row], cost: Sequence[Cost], clock: Clock) -> int:
    """How many rows of several requests are worth asking for at once; 1 where that does not pay or changes a bit.

    Looked for among the sizes of `cost` up to 32 whose calls do not take much longer than one for a row. The model has
    to give for them, asked together, the very values that it gives for each alone.
    """
    if not cost:
        return 1
    one_us = cost[0].us
    fine = [
        one
        for one in cost
        if 1 < one.rows <= _TOGETHER_MOST
        and one.us <= max(_AS_LONG * one_us, _TOGETHER_US)
        and one.us / one.rows <= _PAYS * one_us
    ]
    try:
        alone = [(row, given) for row in rows[:_TOGETHER_MOST] for given in answers(model, [row], clock)]
        fine_rows = [(row, given) for row, given in alone if given is not None]
        for one in reversed(fine if fine_rows else ()):
            asked = (fine_rows * (one.rows // len(fine_rows) + 1))[: one.rows]
            found = model.predict([row for row, _ in asked], deadline_us=clock.monotonic_us() + _PATIENCE_US)
            if found == [given for _, given in asked]:
                return one.rows
    except ModelError:
        return 1
    return 1


def _asked(model: LoadedModel, rows: Sequence[Row], clock: Clock) -> int:
    """Microseconds of one call, the median of several; the first warms up and counts only where it is the only one."""
    began = clock.monotonic_us()
    took: list[int] = []
    while len(took) < _RUNS and (not took or clock.monotonic_us() - began < _LONG_US):
        start = clock.monotonic_us()
        model.predict(rows, deadline_us=start + _PATIENCE_US)
        took.append(clock.monotonic_us() - start)
    return median_low(took[1:] or took)
