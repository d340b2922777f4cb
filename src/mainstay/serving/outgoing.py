"""What becomes of requests to a model that is served elsewhere, for metrics and `status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from mainstay.core.ports import LoadedModel
from mainstay.serving.meter import Counts


@runtime_checkable
class Outgoing(Protocol):
    """A model that others serve."""

    def outgoing(self) -> tuple[str, Mapping[str, int]]:
        """Whether it is asked now (`closed`, `open`, `half_open`), and requests since the last call by their end."""
        ...


def count(model: LoadedModel | None, counts: Counts) -> None:
    """Adds what was asked since the last time. For one thread at a time."""
    counts.left_alone = 0
    if isinstance(model, Outgoing):
        condition, ends = model.outgoing()
        counts.left_alone = int(condition != "closed")
        for end, number in ends.items():
            counts.outgoing[end] = counts.outgoing.get(end, 0) + number
