"""What the status page shows: `status` itself, and what lies behind each of its lines. Reads, never writes.

Values of rows may be personal: they are masked in here, so that a door cannot show what its caller may not see.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from mainstay.app.ages import AgePoint, age_line, read_samples
from mainstay.app.commands import ask_loop
from mainstay.app.events import EventLine, EventTail
from mainstay.app.place import Place, need_applied
from mainstay.app.status import DatasetLine, Status, read_status
from mainstay.app.stores import has_state, open_state
from mainstay.core.clock import SECOND, Clock, iso
from mainstay.core.errors import NotFound, Refused
from mainstay.core.keys import shown_names
from mainstay.core.nouns import Dataset, Integration
from mainstay.core.ports import State
from mainstay.core.records import Answering, ApiKey, BatchRecord, DatasetState, ModelVersion
from mainstay.core.verdicts import Finding, Verdict, worst
from mainstay.serving import keys
from mainstay.store.shelf import ShelfReader

FRESH_US = 2 * SECOND
"""How old a status may be that is shown again, so that many open pages cost what one does."""
ASK_US = 5 * SECOND
ASKING_MOST = 3
"""How many may wait for the loop at once: it has better to do, and other pages want their threads."""
BATCHES = 20
ROWS = 25
VALUE_MOST = 300
"""Characters of a value that are shown; the whole of it: `mainstay quarantine show`."""


class BatchLine(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    mode: str
    status: str
    landed: str
    rows: int
    counts: dict[str, int]
    wrong: tuple[Finding, ...]
    reason: str


class DatasetPage(msgspec.Struct, frozen=True, kw_only=True):
    line: DatasetLine
    verdict: Verdict
    """The worst of `wrong`."""
    wrong: tuple[Finding, ...]
    """Of the findings of `status`, those that are about this dataset."""
    dataset: Dataset
    ages: tuple[AgePoint, ...]
    batches: tuple[BatchLine, ...]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    column: str
    text: str | None
    """None: NULL, or masked."""
    masked: bool = False
    failed: bool = False
    """Whether a check of this column is among the row's reasons."""


class RowLine(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    key: Value
    reasons: str
    state: str
    landed: str
    note: str
    values: tuple[Value, ...]


class QuarantinePage(msgspec.Struct, frozen=True, kw_only=True):
    columns: tuple[str, ...]
    """Names of the raw values of any row, in the order of the contract."""
    rows: tuple[RowLine, ...]
    older: str
    """`batch/ordinal` that the next page begins behind; empty on the last."""
    masked: bool


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    answering: Answering | None
    versions: tuple[ModelVersion, ...]
    """The newest first."""


class Pages:
    """The pages of one integration. Safe between threads.

    Args:
        place: The integration.
        clock: For ages.
    """

    def __init__(self, place: Place, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._lock = threading.Lock()
        self._asking = threading.BoundedSemaphore(ASKING_MOST)
        self._status: tuple[int, Status] | None = None
        self._events = EventTail(place.home, clock)

    @property
    def name(self) -> str:
        return self._place.home.integration

    def status(self) -> Status:
        """The content of `mainstay status`, by the same function."""
        with self._lock:
            now = self._clock.monotonic_us()
            if self._status is None or now - self._status[0] > FRESH_US:
                self._status = (now, read_status(self._place, self._clock))
            return self._status[1]

    def key(self, id: str, since_us: int) -> ApiKey | None:
        """The API key with this id, if it may look (role operate) and a secret that it had at `since_us` is live.

        So what was begun with a leaked secret ends with it, and rotating with an overlap signs nobody out before.
        """
        with self._state() as state:
            found = [one for one in keys.list_keys(state) if one.id == id and one.created_us <= since_us]
        return next((one for one in map(self._may, found) if one is not None), None)

    def key_of(self, token: str) -> ApiKey | None:
        """The same by the key itself."""
        with self._state() as state:
            found = state.get(keys.SPACE, keys.digest(token))
        if found is None:
            return None
        return self._may(msgspec.json.decode(found.body, type=ApiKey))

    def _may(self, key: ApiKey) -> ApiKey | None:
        return key if keys.live(key, self._clock.now_us()) and keys.allows(key, "operate") else None

    def dataset(self, name: str, window_us: int) -> DatasetPage:
        """One dataset. Raises NotFound."""
        status = self.status()
        with self._state() as state:
            dataset = _dataset(need_applied(state), name)
            batches = ShelfReader(state, "batch", BatchRecord).all(f"{name}/")
            now = self._clock.now_us()
            as_of = (ShelfReader(state, "dataset", DatasetState).get(name) or DatasetState()).as_of_us
            ages = age_line(read_samples(state, name, now - window_us, now), as_of, now, window_us)
        line = next((one for one in status.datasets if one.name == name), None)
        if line is None:  # applied this very moment
            raise NotFound("there is nothing to say about this dataset yet", mend="try again in a moment")
        wrong = tuple(one for one in status.wrong if one.check.startswith(f"{name}."))
        return DatasetPage(
            line=line,
            verdict=worst(one.verdict for one in wrong),
            wrong=wrong,
            dataset=dataset,
            ages=ages,
            batches=tuple(_batch_line(one) for one in list(batches.values())[: -BATCHES - 1 : -1]),
        )

    def quarantine(
        self, name: str, *, before: tuple[int, int] | None = None, every: bool = False, whole: bool = False
    ) -> QuarantinePage:
        """Rejected rows, newest first. Raises NotFound, and Refused while the loop cannot answer.

        Args:
            name: The dataset.
            before: (batch, ordinal): rows older than that one.
            every: Also rows that were replayed, superseded or discarded.
            whole: Show values of columns marked `pii` too.
        """
        with self._state() as state:
            dataset = _dataset(need_applied(state), name)
        args = {"dataset": name, "limit": ROWS + 1, "before": before, "state": None if every else "quarantined"}
        if not self._asking.acquire(blocking=False):
            raise Refused("others are reading quarantine at this moment", mend="try again in a moment")
        try:
            rows = ask_loop(self._place, "quarantine.list", args, timeout_us=ASK_US)["rows"]
        finally:
            self._asking.release()
        last = rows[ROWS - 1] if len(rows) > ROWS else None
        there = {name for one in rows[:ROWS] for name in one["raw"]}
        columns = [one.source_name for one in dataset.columns if one.source_name in there]
        columns += sorted(there - set(columns))
        return QuarantinePage(
            columns=tuple(columns),
            rows=tuple(_row_line(dataset, columns, one, whole=whole) for one in rows[:ROWS]),
            older=f"{last['batch']}/{last['ordinal']}" if last else "",
            masked=not whole and any(one.pii for one in dataset.columns),
        )

    def model(self) -> ModelPage:
        """Every model version, and which one answers."""
        with self._state() as state:
            versions = ShelfReader(state, "model", ModelVersion).all()
            return ModelPage(
                answering=ShelfReader(state, "answering", Answering).get("champion"),
                versions=tuple(reversed(versions.values())),
            )

    def events(self) -> tuple[EventLine, ...]:
        """What the loop and people did of late, newest first."""
        return self._events.look()

    @contextmanager
    def _state(self) -> Iterator[State]:
        if not has_state(self._place.home):
            raise NotFound("nothing has been applied here yet", mend="mainstay apply")
        state = open_state(self._place.home)
        try:
            yield state
        finally:
            state.close()


def _dataset(integration: Integration, name: str) -> Dataset:
    found = integration.datasets.get(name)
    if found is None:
        raise NotFound("there is no dataset of this name", mend=f"one of {', '.join(sorted(integration.datasets))}")
    return found


def _batch_line(one: BatchRecord) -> BatchLine:
    return BatchLine(
        number=one.number,
        mode=one.mode,
        status=one.status,
        landed=iso(one.landed_us),
        rows=one.rows,
        counts=one.counts,
        wrong=tuple(found for found in one.findings if found.verdict is not Verdict.PASS),
        reason=one.reason,
    )


def _row_line(dataset: Dataset, columns: Sequence[str], row: Mapping[str, Any], *, whole: bool) -> RowLine:
    """Only columns that the contract knows not to be personal are shown to those who may not see the others."""
    plain = {one.source_name for one in dataset.columns if not one.pii}
    failed = {one.strip() for one in row["reasons"].split(",")}
    blamed = {
        column
        for check in dataset.checks
        if check.name in failed
        for column in (check.column, *check.args.get("columns", ()))
    }
    wrong = {one.source_name for one in dataset.columns if one.name in blamed}
    names = dataset.key_names
    open_key = whole or not any(dataset.column(name).pii for name in names)
    return RowLine(
        id=row["id"],
        key=_value(shown_names(dataset.key), row["key"], shown=open_key),
        reasons=row["reasons"],
        state=row["state"],
        landed=row["landed"],
        note=row["note"],
        values=tuple(
            msgspec.structs.replace(
                _value(name, row["raw"].get(name), shown=whole or name in plain), failed=name in wrong
            )
            for name in columns
        ),
    )


def _value(column: str, value: object, *, shown: bool) -> Value:
    if not shown:
        return Value(column=column, text=None, masked=True)
    if value is None:
        return Value(column=column, text=None)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return Value(column=column, text=text if len(text) <= VALUE_MOST else text[:VALUE_MOST] + "…")
