"""One key on its way through a request, and who asked."""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.core.ports import OnlineRow
from mainstay.models.pre import Fed
from mainstay.serving.hot_rows import HotRow
from mainstay.serving.judge import Judgement


class Call(msgspec.Struct, frozen=True):
    """Who asks, and when the request came in."""

    caller: str
    """The API key's id."""
    request: str
    """The request's id, for logs and receipts."""
    began_us: int
    """On the monotonic clock."""
    trace: str = ""
    """The trace id out of the caller's `traceparent`; empty where there is none."""
    deadline_us: int | None = None
    """When the caller waits no longer, on the monotonic clock; None: it has not said."""
    door: str = "v1"
    """Through which door it came: `v1`, `card`, `oip`, `mlflow` or `grpc`."""


class Work:
    """One key on its way through: filled in step by step."""

    __slots__ = (
        "answer",
        "batch",
        "error",
        "fed",
        "hot",
        "inputs",
        "judged",
        "key",
        "keys",
        "now_us",
        "output",
        "raw",
        "row",
        "rows",
        "sent",
        "unseen",
    )

    def __init__(self, key: str | None) -> None:
        self.key = key
        """None for a row that came with the request."""
        self.row: OnlineRow | None = None
        """Of several views, their rows as one; None where a view has none."""
        self.hot: HotRow | None = None
        """The row with what was made of it, where it is one row of the store."""
        self.sent: dict[str, Any] | None = None
        """Its request-time inputs, checked."""
        self.keys: tuple[str, ...] = ()
        """Each view's key, where there are several."""
        self.rows: tuple[OnlineRow | None, ...] = ()
        """Each view's row, where there are several."""
        self.unseen = ""
        """Why the row could not be looked up."""
        self.judged: Judgement | None = None
        self.inputs: list[Any] | None = None
        self.fed: Fed | None = None
        """What the model ate, where `model.pre` made it of the inputs; None where there are no steps."""
        self.output: tuple[Any, ...] | None = None
        """What the model gave, after `model.post`."""
        self.raw: tuple[Any, ...] | None = None
        """What the model gave before `model.post`; None where there are no steps."""
        self.answer: dict[str, Any] | None = None
        """What the caller is given: the model's output by name, or the fallback."""
        self.error = ""
        """How the model failed."""
        self.batch = 1
        """Rows that the model was given at once."""
        self.now_us = 0
        """When it was judged."""
