"""Models of other processes: each has its queue, and is asked in threads that the event loop does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mainstay.core.clock import Clock
from mainstay.core.ports import LoadedModel
from mainstay.serving.asking import LATE, ask_together, fail
from mainstay.serving.meter import Meter
from mainstay.serving.model_queue import Ask, Costs, ModelQueue, Overloaded
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call, Work

_GRACE_SECONDS = 0.5
_HELD_SECONDS = 0.02
"""How long a refusal is held back: clients that ask again at once would take the time that the model needs."""
_CALLS_MOST = 32
"""Calls that are waited for at the same time."""


class Elsewhere:
    """Asks the models of one worker that answer from another process.

    Args:
        clock: For waits and deadlines.
        meter: Counts calls and refusals.
    """

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self._clock = clock
        self._meter = meter
        self._threads: ThreadPoolExecutor | None = None
        self._queues: dict[int, tuple[Snapshot, ModelQueue]] = {}

    async def ask(
        self, snap: Snapshot, model: LoadedModel, works: Sequence[Work], call: Call, *, more: int, begun: bool
    ) -> None:
        """Waits until the model was asked for all of them; see ModelQueue.through."""
        try:
            await self._queue(snap, model).through(works, call, more=more, begun=begun)
        except Overloaded:
            self._meter.shed()
            await asyncio.sleep(_HELD_SECONDS)
            raise

    def close(self) -> None:
        """Lets go of the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _queue(self, snap: Snapshot, model: LoadedModel) -> ModelQueue:
        """The queue before the model of the version that answers."""
        number = snap.version.number if snap.version else 0
        found = self._queues.get(number)
        if found is not None and found[0].model is model and found[0].integration is snap.integration:
            return found[1]
        config, version = snap.integration.model, snap.version
        queue = ModelQueue(
            lambda groups: ask_together(snap, model, groups, config.timeout_us, self._clock),
            lambda ask, groups: asyncio.ensure_future(self._called(ask, groups, config.timeout_us)),
            Costs(version.cost if version else ()),
            self._clock,
            together=version.together if version and config.batching == "auto" else 1,
            at_once=model.capabilities.at_once,
            most=model.capabilities.batch,
            patience_us=config.queue_us,
            told=self._meter.asked,
        )
        self._queues = {other: one for other, one in self._queues.items() if other in snap.versions}
        self._queues[number] = snap, queue
        return queue

    async def _called(self, ask: Ask, groups: Sequence[Sequence[Work]], timeout_us: int) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=_CALLS_MOST, thread_name_prefix="model")
        waiting = asyncio.get_running_loop().run_in_executor(self._threads, ask, groups)
        try:
            await asyncio.wait_for(asyncio.shield(waiting), timeout_us / 1_000_000 + _GRACE_SECONDS)
        except TimeoutError:
            for group in groups:
                fail(group, LATE)
