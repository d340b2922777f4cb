"""What a trace is told of a run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainstay.pipelines.run import Runner, RunResult


def told(run: Callable[..., RunResult]) -> Callable[..., RunResult]:
    """The same run, within a span that says what became of it."""

    @functools.wraps(run)
    def within(runner: Runner, *, dry: bool = False) -> RunResult:
        with runner.desk.trace.span("run", dataset=runner.dataset.name) as span:
            result = run(runner, dry=dry)
            span.note(mode=result.mode, status=result.status, rows=result.read, landed=result.landed)
            return result

    return within
