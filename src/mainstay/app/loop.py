"""The heartbeat: what is due, performed, with its failures told and tried again.

`due` is pure. One Loop runs per integration lease; everything it does it does with the same code as the CLI.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import structlog

from mainstay.app import backfills, disk, memory
from mainstay.app.ages import Ages
from mainstay.app.apply import retire_unneeded
from mainstay.app.commands import flush, perform_requests, trim
from mainstay.app.supervisor import ENDED, RESTARTS, still_told
from mainstay.app.wiring import Works
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND
from mainstay.core.errors import Fenced, MainstayError, SourceError
from mainstay.core.ids import Random, system_random
from mainstay.core.nouns import Dataset, Guard
from mainstay.core.records import DatasetState, DiskSample, FeatureSetState, ProcessState
from mainstay.pipelines import history, sets
from mainstay.pipelines.orphans import adopt_orphans
from mainstay.pipelines.run import Runner
from mainstay.sources.guard import is_open, opens_us, retry_delay_us
from mainstay.store.shelf import Shelf

HISTORY_EVERY_US = 3 * MINUTE
HISTORY_MOMENT_US = SECOND // 4
"""How long a beat may spend on history."""
HISTORY_ROWS = 10_000
"""Of the journal, what a beat moves to history; it takes about as long."""
HISTORY_REST = 3
"""While more of the journal waits, nothing is moved for so many times as the last move took: those who answer need the
machine's cores too."""
HEARTBEAT_US = 1 * SECOND
COMPACT_EVERY_US = 1 * HOUR
SAMPLE_EVERY_US = 10 * MINUTE
"""What the disk held is kept once per so long."""
IDLE_US = 20_000
REPAIR_EVERY_US = 5 * SECOND
"""How long feature rows that could not be computed wait before they are tried again."""


def due(datasets: dict[str, Dataset], states: dict[str, DatasetState], now_us: int) -> list[str]:
    """Names of datasets whose next run is due, the longest overdue first."""
    waiting = {name: states.get(name, DatasetState()).next_us for name in datasets}
    return sorted((name for name, at in waiting.items() if at <= now_us), key=lambda name: (waiting[name], name))


def next_run_us(dataset: Dataset, began_us: int, now_us: int) -> int:
    """When the dataset runs next: every `every` from the last beginning; missed beats are not made up for."""
    planned = began_us + dataset.every_us
    return max(now_us, planned)


class Loop:
    """Runs an integration's pipelines until `stop` says so.

    Args:
        works: The stores, owned.
        random: For the spread of retries.
    """

    def __init__(self, works: Works, *, random: Random = system_random) -> None:
        self.works = works
        self.random = random
        self.log = structlog.get_logger().bind(integration=works.desk.integration.name)
        self._runners: dict[str, Runner] = {}
        self._history_us = self._tidy_us = works.clock.monotonic_us() + HISTORY_EVERY_US
        self._seen_us = 0
        self._since_us = works.clock.now_us()
        self._compacted_us = works.clock.monotonic_us()
        self._state_seen: int | None = None
        self._history_error = ""
        self._low_disk = False
        self._repair_error = ""
        self._repair_us = 0
        self._now_us = self._since_us
        self._ages = Ages(works.state, works.lease.token)

    def start(self) -> None:
        """Repairs what a crash left."""
        for sentence in sets.recover(self.works.desk):
            self.log.info("recovered", what=sentence)
            self.works.tell("process.recovered", {"what": sentence})
        self._mind_the_clock(first=True)

    def run(self, stop: Callable[[], bool], sleep: Callable[[float], object]) -> None:
        """Beats until `stop()`; between beats sleeps at most 20 ms, so that requests are answered at once."""
        while not stop():
            if not self.beat():
                sleep(IDLE_US / SECOND)

    def beat(self) -> bool:
        """One round. Returns whether anything was done."""
        self._heartbeat()
        busy = self._requests()
        self._mind_the_clock()
        desk = self.works.desk
        now = self.works.clock.now_us()
        states = desk.datasets.all()
        self._ages.look({name: one for name, one in states.items() if name in desk.integration.datasets}, now)
        for name in due(desk.integration.datasets, states, now):
            self._run_dataset(name)
            busy = True
            self._requests()
        busy = self._backfill() or busy
        if self.works.clock.monotonic_us() >= self._repair_us:
            busy = self._feature_sets() or busy
        self._history()
        return busy

    def _requests(self) -> bool:
        seen = self.works.state.changed()
        if seen == self._state_seen:
            return False
        done = perform_requests(self.works)
        self._state_seen = self.works.state.changed()
        if done:
            self._runners.clear()
        return bool(done)

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            self._runners[name] = Runner(self.works.desk, self.works.desk.integration.datasets[name])
        return self._runners[name]

    def _run_dataset(self, name: str) -> None:
        desk = self.works.desk
        dataset = desk.integration.datasets[name]
        guard = desk.integration.sources[dataset.source].guard
        began = self.works.clock.now_us()
        if not is_open(guard.allowed_hours, began):
            self._schedule(name, next_us=opens_us(guard.allowed_hours, began))
            return
        try:
            runner = self._runner(name)
            runner.settle()
            waits_us = runner.plan().opens_us
            if waits_us is not None:
                self._schedule(name, next_us=waits_us)
                return
            result = runner.run()
            adopt_orphans(desk)
        except Fenced:
            raise
        except MainstayError as error:
            self._failed(name, error, guard)
            return
        except Exception as error:  # one dataset's fault must not stop the others
            self.log.exception("run failed unexpectedly", dataset=name)
            sentence = f"Mainstay itself failed: {type(error).__name__}"
            self._failed(name, MainstayError(sentence, mend="see the log of `mainstay up`, and report it"), guard)
            return
        self._schedule(name, next_us=next_run_us(dataset, began, self.works.clock.now_us()))
        if result.status not in ("empty", "queued"):
            self.log.info(
                "run",
                dataset=name,
                mode=result.mode,
                batch=result.batch,
                status=result.status,
                published=result.published,
                quarantined=result.quarantined,
            )

    def _backfill(self) -> bool:
        """One chunk of one backfill: increments that fall due meanwhile run before the next one."""
        reading: list[str] = []
        try:
            return backfills.step(self.works, reading.append)
        except Fenced:
            raise
        except MainstayError as error:
            if not reading:
                raise
            backfills.failed(self.works, reading[-1], error, self.random)
        except Exception as error:  # one backfill's fault must not stop the datasets
            if not reading:
                raise
            self.log.exception("backfill failed unexpectedly", backfill=reading[-1])
            sentence = f"Mainstay itself failed: {type(error).__name__}"
            mended = MainstayError(sentence, mend="see the log of `mainstay up`, and report it")
            backfills.failed(self.works, reading[-1], mended, self.random)
        return True

    def _schedule(self, name: str, *, next_us: int) -> None:
        desk = self.works.desk
        desk.datasets.put(name, msgspec.structs.replace(desk.dataset_state(name), next_us=next_us), token=desk.token)

    def _failed(self, name: str, error: MainstayError, guard: Guard) -> None:
        desk = self.works.desk
        now = self.works.clock.now_us()
        state = desk.dataset_state(name)
        failures = state.failures + 1
        first = state.error_since_us is None
        delay = retry_delay_us(failures, guard, self.random)
        within = error.where and not error.where.startswith(("source ", "dataset "))  # a file of the source, say
        why = f"{error.where}: {error.sentence}" if within else error.sentence
        desk.datasets.put(
            name,
            msgspec.structs.replace(
                state,
                failures=failures,
                error=why + (f" → {error.mend}" if error.mend else ""),
                error_since_us=now if first else state.error_since_us,
                next_us=now + delay,
            ),
            token=desk.token,
        )
        if first:
            what = "source failed" if isinstance(error, SourceError) else "run failed"
            self.log.warning(what, dataset=name, why=why, retry_in_ms=delay // 1000)
            self.works.tell("dataset.failed", {"dataset": name, "why": why})

    def _mind_the_clock(self, *, first: bool = False) -> None:
        """Where the wall clock was set back, what was planned by its old times is due now, not when they come again."""
        desk, now = self.works.desk, self.works.clock.now_us()
        went_back, self._now_us = now < self._now_us, now
        if not went_back and not first:
            return
        ahead = [name for name, one in desk.datasets.all().items() if (one.last_read_us or 0) > now]
        for name in ahead:
            self._schedule(name, next_us=now)
        if ahead:
            self.log.warning("the clock went back", datasets=ahead)
            self.works.tell("process.clock_back", {"datasets": ahead})

    def _feature_sets(self) -> bool:
        """Builds and refreshes what is due and finishes what was not; what fails is told, and tried later."""
        desk = self.works.desk
        try:
            for plan in sets.unfinished(desk):
                sets.finish(desk, plan)
            busy = [self._feature_set(one) for one in desk.live_feature_sets()]
        except Fenced:
            raise
        except MainstayError as error:
            if error.sentence != self._repair_error:
                self.log.warning("feature rows are behind", why=error.sentence)
            self._repair_error = error.sentence
            self._repair_us = self.works.clock.monotonic_us() + REPAIR_EVERY_US
            return False
        self._repair_error = ""
        return any(busy)

    def _feature_set(self, one: FeatureSetState) -> bool:
        desk = self.works.desk
        ready = all(desk.dataset_state(name).as_of_us is not None for name in one.mapping)
        if not one.complete and ready:
            sets.build(desk, one.digest)
            return True
        if ready and sets.refresh_due(one, self.works.clock.now_us()):
            sets.refresh(desk, one.digest)
            return True
        return False

    def _history(self) -> None:
        clock = self.works.clock
        now = clock.monotonic_us()
        if now < self._history_us:
            return
        try:
            if self._batch_by_batch():
                return  # the next beat goes on, so that no dataset waits for the whole of history
            began_us = clock.monotonic_us()
            behind = flush(self.works, most=HISTORY_ROWS)["journal"]["behind"]
            memory.give_back()
            ended_us = clock.monotonic_us()
            self._history_us = ended_us + HISTORY_REST * (ended_us - began_us) if behind else now + HISTORY_EVERY_US
            if now >= self._tidy_us:  # however long the journal is: retention and the disk do not wait for its end
                self._tidy_us = now + HISTORY_EVERY_US
                retire_unneeded(self.works)
                self._hourly(now)
                self._sample_disk()
            self._history_error = ""
        except MainstayError as error:
            if error.sentence != self._history_error:
                self.log.warning("history is behind", why=error.sentence)
            self._history_error = error.sentence
            self._history_us = now + HISTORY_EVERY_US

    def _batch_by_batch(self) -> bool:
        """Appends batches to history for a moment, so that no dataset waits for all of it; whether more wait."""
        desk, clock = self.works.desk, self.works.clock
        until_us = clock.monotonic_us() + HISTORY_MOMENT_US
        while any(history.flush(desk, name, limit=1) for name in desk.integration.datasets):
            if clock.monotonic_us() >= until_us:
                return True
        return False

    def _hourly(self, now: int) -> None:
        """Once an hour, what is past its retention goes, and small files of history become few."""
        if now - self._compacted_us < COMPACT_EVERY_US:
            return
        self._compacted_us = now
        trim(self.works)
        for table in self.works.history.tables():
            self.works.history.compact(table)
        memory.give_back()

    def _sample_disk(self) -> None:
        """Notes what the home takes, so that `status` can tell when the disk is full; two days are kept."""
        now = self.works.clock.now_us()
        samples = Shelf(self.works.state, "disk", DiskSample)
        old = [name for name, one in samples.all().items() if one.at_us < now - 2 * DAY]
        sample = disk.sample(self.works.place.home, now)
        low = disk.findings((sample,), self.works.desk.integration.settings.free_disk)
        if low and not self._low_disk:
            self.log.warning(low[0].sentence, mend=low[0].mend)
        self._low_disk = bool(low)
        self.works.state.commit(
            [samples.write(f"{now - now % SAMPLE_EVERY_US:020d}", sample), *(samples.remove(name) for name in old)],
            token=self.works.lease.token,
        )

    def _heartbeat(self) -> None:
        now = self.works.clock.now_us()
        if now - self._seen_us < HEARTBEAT_US and now >= self._seen_us:
            return
        self._seen_us = now
        ended = os.environ.get(ENDED, "") if still_told(self._since_us, now) else ""
        Shelf(self.works.state, "process", ProcessState).put(
            "loop",
            ProcessState(
                name="loop",
                pid=os.getpid(),
                since_us=self._since_us,
                seen_us=now,
                restarts=int(os.environ.get(RESTARTS, "0")),
                note="; ".join(filter(None, (ended, self._repair_error, self._history_error))),
            ),
            token=self.works.lease.token,
        )
