"""Any number of rows, asked for as many at once as the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainstay.core.ports import LoadedModel, Row


def answers(model: LoadedModel, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The answer to each row, in order, one call after the other. Raises as `predict` does."""
    size = model.capabilities.batch
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [answer for part in parts for answer in model.predict(part)]
