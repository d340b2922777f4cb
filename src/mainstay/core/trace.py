"""What is told of work while it is done: spans, for whoever collects them. Without a collector nothing is told.

Names and attributes hold no personal data: never a key, an input or a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Span(Protocol):
    """A piece of work that is going on."""

    def note(self, **facts: str | float | bool) -> None:
        """Adds what is known only now."""

    def failed(self, why: str) -> None:
        """Marks it as failed; `why` names a kind, no value."""


class Trace(Protocol):
    """Where spans go. A span begun within another is its child, also across `await`."""

    def span(
        self, name: str, *, caller: Mapping[str, str] | None = None, **facts: str | float | bool
    ) -> AbstractContextManager[Span]:
        """A span for as long as the block runs; an exception that leaves it marks it as failed.

        `caller`: headers of the request that it answers, `traceparent` among them: then it continues their trace.
        """
        ...

    def close(self) -> None:
        """Sends what was not sent yet, for some seconds at most."""


class _NoSpan:
    def note(self, **facts: str | float | bool) -> None:
        pass

    def failed(self, why: str) -> None:
        pass


class NoTrace:
    """Tells nobody."""

    @contextmanager
    def span(
        self, name: str, *, caller: Mapping[str, str] | None = None, **facts: str | float | bool
    ) -> Iterator[Span]:
        """The block runs, and that is all."""
        del name, caller, facts
        yield _NoSpan()

    def close(self) -> None:
        """Nothing is left to do."""
