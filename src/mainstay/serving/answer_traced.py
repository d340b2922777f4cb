"""Answering that tells of its stages: lookup, model, receipt. Made only where traces are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mainstay.core.clock import Clock
from mainstay.core.ports import Journal, LoadedModel, OnlineReader
from mainstay.core.trace import Trace
from mainstay.serving.answer import Answering
from mainstay.serving.meter import Meter
from mainstay.serving.tally import Tally
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call, Work


class TracedAnswering(Answering):
    """The same answers, with a span around each stage.

    Args:
        online: As of Answering.
        journal: As of Answering.
        clock: As of Answering.
        meter: As of Answering.
        tally: As of Answering.
        trace: Where spans go.
    """

    def __init__(
        self, online: OnlineReader, journal: Journal, clock: Clock, meter: Meter, tally: Tally, *, trace: Trace
    ) -> None:
        super().__init__(online, journal, clock, meter, tally)
        self._trace = trace

    def _look_up(self, snap: Snapshot, works: Sequence[Work]) -> None:
        with self._trace.span("lookup", keys=len(works)) as span:
            super()._look_up(snap, works)
            span.note(found=sum(work.row is not None for work in works))
            if any(work.unseen for work in works):
                span.failed("the online store could not be read")

    def _run(self, snap: Snapshot, model: LoadedModel, works: Sequence[Work]) -> None:
        with self._asking(snap, works):
            super()._run(snap, model, works)

    async def _run_elsewhere(
        self,
        snap: Snapshot,
        model: LoadedModel,
        works: Sequence[Work],
        call: Call,
        *,
        more: int = 0,
        begun: bool = False,
    ) -> None:
        with self._asking(snap, works):
            await super()._run_elsewhere(snap, model, works, call, more=more, begun=begun)

    @contextmanager
    def _asking(self, snap: Snapshot, works: Sequence[Work]) -> Iterator[None]:
        with self._trace.span("model", rows=len(works), version=snap.version.number if snap.version else 0) as span:
            yield
            if any(work.error for work in works):
                span.failed("the model did not answer")

    def _record_each(self, snap: Snapshot, works: Sequence[tuple[Work, Call]]) -> list[str | Exception | None]:
        return [super(TracedAnswering, self)._record_each(snap, [one])[0] for one in works]

    def _record_together(self, snap: Snapshot, works: Sequence[Work], call: Call) -> Sequence[str | None]:
        with self._trace.span("receipt", receipts=len(works)) as span:
            written = super()._record_together(snap, works, call)
            if None in written:
                span.failed("no receipt could be written")
            return written

    def _record(self, snap: Snapshot, work: Work, call: Call) -> str | None:
        with self._trace.span("receipt") as span:
            written = super()._record(snap, work, call)
            if written is None:
                span.failed("no receipt could be written")
            else:
                span.note(receipt=written)
            if work.judged is not None:
                span.note(verdict=work.judged.verdict.value, action=work.judged.action, reason=work.judged.reason)
            return written
