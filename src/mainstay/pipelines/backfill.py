"""A range of a dataset, read again chunk by chunk: each chunk a batch of its own, through landing, gate and publishing.

A chunk is newer knowledge than all that landed before it, and older than what is read after it: batches are numbered in
the order of reading, so neither overtakes the other. It says nothing of the rest of the table: the dataset's as-of, its
cursor and what it tells of its last read stay as they were.
"""

from __future__ import annotations

from typing import cast

import msgspec

from mainstay.core.audit import said
from mainstay.core.errors import NotFound, Refused, SourceRefused
from mainstay.core.ids import new_id
from mainstay.core.keys import joined_key, joined_sql
from mainstay.core.nouns import Dataset
from mainstay.core.ports import Manifest, ReadRequest, SourceKind, TableInfo, Write
from mainstay.core.ranges import Chunk, Measure, Range, RangeSource
from mainstay.core.records import Backfill
from mainstay.core.sql import identifier, literal
from mainstay.pipelines import stage
from mainstay.pipelines.backfill_plan import chunk_rows
from mainstay.pipelines.backfill_record import chunk_done
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.run import Runner, RunResult, pull
from mainstay.pipelines.stage import Shape, raw_columns, source_name
from mainstay.pipelines.suppression import suppress
from mainstay.sources.guard import is_open

KEPT = 50
"""Ended backfills that `mainstay backfill --list` still shows."""

_ORDERED_AS: dict[SourceKind, str] = {
    "integer": "HUGEINT", "numeric": "DOUBLE", "date": "TIMESTAMP", "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ", "text": "VARCHAR", "uuid": "UUID",
}  # fmt: skip
"""Which of our types orders a source's values. Where its own order is another, keys are looked up anyway."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill as it is asked for."""

    dataset: str
    by: str = ""
    """`cursor`, `key` or a column; empty: the cursor where there is one, else the key."""
    begin: str | None = None
    end: str | None = None
    deletes: bool = False
    rate: int | None = None
    asked_by: str = ""


def running(desk: Desk) -> list[Backfill]:
    """Backfills that have not ended, in the order in which they were asked for."""
    found = [one for one in desk.backfills.all().values() if one.status == "running"]
    return sorted(found, key=lambda one: (one.started_us, one.id))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a backfill would do."""

    backfill: Backfill
    resumed: bool = False
    """Whether it was asked for before and goes on where it was."""
    note: str = ""
    """What a person should know first; empty where there is nothing."""


def planned(desk: Desk, asked: Asked) -> Plan:
    """The backfill that would be performed, measured at its source; the running one where it is asked for again.

    Raises NotFound for a dataset or column that is not there, Refused and SourceRefused for what cannot be done.
    """
    dataset = desk.integration.datasets.get(asked.dataset)
    if dataset is None:
        raise NotFound(
            f"there is no dataset {asked.dataset}", mend=f"one of {', '.join(sorted(desk.integration.datasets))}"
        )
    if asked.begin is None and asked.end is None:
        raise Refused("a backfill is of a range, and none was given", mend="add --from, --to or both")
    runner = RangeRunner(desk, dataset)
    by = _column(dataset, asked.by)
    again = _again(desk, dataset, by, asked)
    if again is not None:
        return Plan(backfill=again, resumed=True)
    info, kinds = runner.look()
    if asked.deletes:
        _can_tell_deletes(dataset, by, kinds)
    high = asked.end
    if high is None and dataset.cursor is not None and by == source_name(dataset, dataset.cursor.column):
        high = desk.dataset_state(dataset.name).cursor  # from there on increments read
    guard = desk.integration.sources[dataset.source].guard
    measure = Measure(low=asked.begin, high=high, rows=None)
    may_ask = all(is_open(hours, _now(desk)) for hours in (guard.allowed_hours, guard.backfill_hours))
    if may_ask:
        measure = runner.measure(Range(by=by, low=asked.begin, high=high), kinds)
    rate = asked.rate or guard.backfill_rows
    backfill = Backfill(
        id=new_id("bf"),
        dataset=dataset.name,
        by=by,
        asked_from=asked.begin,
        asked_to=asked.end,
        low=measure.low,
        high=measure.high,
        deletes=asked.deletes,
        rate=rate,
        size=chunk_rows(rate),
        estimate=measure.rows,
        measured=may_ask,
        started_us=_now(desk),
        asked_by=asked.asked_by,
    )
    leading = {*info.indexed, *info.primary_key[:1]}
    note = "" if by in leading else f"no index of {dataset.table} begins with {by}: each chunk looks through the table"
    return Plan(backfill=backfill, note=note)


def _again(desk: Desk, dataset: Dataset, by: str, asked: Asked) -> Backfill | None:
    """The running backfill that is asked for again, at the pace of now. Raises Refused where another one runs."""
    for one in running(desk):
        if one.dataset != dataset.name:
            continue
        same = (one.by, one.asked_from, one.asked_to, one.deletes) == (by, asked.begin, asked.end, asked.deletes)
        if not same:
            raise Refused(
                f"backfill {one.id} of {dataset.name} is not done, and a dataset has one at a time",
                mend=f"let it end, or mainstay backfill --cancel {one.id}",
            )
        rate = asked.rate or one.rate
        return msgspec.structs.replace(one, rate=rate, size=chunk_rows(rate), next_us=min(one.next_us, _now(desk)))
    return None


def start(desk: Desk, asked: Asked) -> Plan:
    """Records the backfill, so that whoever owns the lease goes on with it."""
    plan = planned(desk, asked)
    backfill = plan.backfill
    # Not the bounds: they may be somebody's key, and the audit is kept.
    change = desk.change(
        "backfill.start", backfill.id, {"dataset": backfill.dataset, "by": backfill.by, "again": plan.resumed}
    )
    desk.commit([desk.backfills.write(backfill.id, backfill), *_forgotten(desk)], change)
    if not plan.resumed:
        desk.tell(
            "backfill.started",
            {
                "id": backfill.id,
                "dataset": backfill.dataset,
                "by": backfill.by,  # not the bounds: they may be somebody's key, and events are kept
                "rows": backfill.estimate,
            },
        )
    return plan


def cancel(desk: Desk, id: str, reason: str, *, asked: bool = False) -> Backfill:
    """Ends it where it is: chunks that are done stay done. Raises NotFound, and Refused when it has ended.

    `asked`: by a person, so that the audit tells of it.
    """
    found = _there(desk, id)
    if found.status != "running":
        raise Refused(f"backfill {id} is {found.status} already", mend="mainstay backfill --list")
    ended = msgspec.structs.replace(
        found, status="cancelled", ended_us=desk.clock.now_us(), waits="", blocked="", reason=reason
    )
    change = desk.change("backfill.cancel", id, {"dataset": found.dataset, "reason": said(reason)}) if asked else None
    desk.commit([desk.backfills.write(id, ended)], change)
    desk.tell("backfill.cancelled", {"id": id, "dataset": found.dataset, "rows": found.read, "reason": reason})
    return ended


def _there(desk: Desk, id: str) -> Backfill:
    found = desk.backfills.get(id)
    if found is None:
        raise NotFound(f"there is no backfill {id}", mend="mainstay backfill --list")
    return found


def _now(desk: Desk) -> int:
    return desk.clock.now_us()


def _forgotten(desk: Desk) -> list[Write]:
    ended = [one for one in desk.backfills.all().values() if one.status != "running"]
    ended.sort(key=lambda one: one.ended_us or 0, reverse=True)
    return [desk.backfills.remove(one.id) for one in ended[KEPT:]]


def _column(dataset: Dataset, by: str) -> str:
    """The source's name of the column that the range is of."""
    if by == "cursor" or (not by and dataset.cursor is not None):
        if dataset.cursor is None:
            raise Refused(f"{dataset.name} has no cursor", mend="--by key, or --by COLUMN")
        return source_name(dataset, dataset.cursor.column)
    if by in {"", "key"}:
        return source_name(dataset, dataset.key_names[0])
    named = source_name(dataset, by)
    if named not in raw_columns(dataset):
        raise NotFound(
            f"{dataset.name} has no column {by}",
            mend=f"cursor, key, or one of {', '.join(one.name for one in dataset.columns)}",
        )
    return named


def _can_tell_deletes(dataset: Dataset, by: str, kinds: dict[str, SourceKind]) -> None:
    """Raises Refused where an absent key could not be told from one that is written in another way."""
    if len(dataset.key_names) > 1:
        raise Refused(
            f"--deletes looks keys up one by one, and the key of {dataset.name} has {len(dataset.key_names)} columns",
            mend="leave --deletes out, and let `deletes: {reconcile: 1h}` find what is gone",
        )
    key = dataset.column(dataset.key)
    plain = (kinds[key.source_name], key.type) in {
        ("integer", "integer"),
        ("numeric", "integer"),
        ("text", "string"),
        ("uuid", "string"),
    }
    cursor = None if dataset.cursor is None else source_name(dataset, dataset.cursor.column)
    if by not in {key.source_name, cursor}:
        raise Refused("--deletes needs a range of the key or of the cursor", mend="--by key, or leave --deletes out")
    if key.clean or not plain:
        raise Refused(
            f"--deletes looks keys up in the source as {dataset.name} writes them, and its key {key.name} is cleaned",
            mend="leave --deletes out, and let `deletes: {reconcile: 1h}` find what is gone",
        )


class RangeRunner(Runner):
    """A dataset's runner that reads ranges."""

    def look(self) -> tuple[TableInfo, dict[str, SourceKind]]:
        """What the table is. Raises Refused where its source cannot read ranges, or nothing of it was published yet."""
        name = self.dataset.name
        able = self.source.capabilities
        if not able.ranges:
            files = "its source takes each file once, by its digest, and has no ranges"
            mend = (
                "to have a file taken again, let its bytes differ: add a line feed at its end, say, and drop it again"
            )
            raise Refused(
                f"{name} cannot be backfilled: {files if able.ledger else 'its source does not read ranges'}",
                mend=mend if able.ledger else "mainstay run reads the dataset as it always does",
            )
        state = self.desk.dataset_state(name)
        if state.as_of_us is None:
            raise Refused(
                f"nothing of {name} was published yet, and its first read takes all of it", mend="mainstay run"
            )
        info = self.source.describe(self.dataset.table)
        return info, self._fit(state, info, dry=True).kinds

    def measure(self, part: Range, kinds: dict[str, SourceKind]) -> Measure:
        """What the source says of the range."""
        request = ReadRequest(
            table=self.dataset.table,
            columns=tuple(self._fitted.read[name] for name in kinds if name in self._fitted.read),
            key=joined_key([self._fitted.read[source_name(self.dataset, name)] for name in self.dataset.key_names]),
            mode="range",
            part=self._in_source(part),
        )
        return cast("RangeSource", self.source).measure(request)

    def _in_source(self, part: Range) -> Range:
        """The range by what the table calls its column today."""
        return msgspec.structs.replace(part, by=self._fitted.read.get(part.by, part.by))

    def chunk(self, id: str) -> Backfill:
        """Reads, lands, judges and publishes the next chunk of a running backfill. Returns its record after it."""
        desk, name = self.desk, self.dataset.name
        self.settle()  # a chunk that a crash left in landing is done, and must not be read again
        backfill = _there(desk, id)
        if backfill.status == "done":
            return self._told(id)
        if backfill.status == "cancelled" or desk.waiting(name):
            return backfill
        info = self.source.describe(self.dataset.table)
        form = self._fit(desk.dataset_state(name), info, dry=False)
        if not backfill.measured:
            try:
                backfill = self._measured(backfill, form)
            except SourceRefused:
                return cancel(desk, id, f"its range does not fit column {backfill.by}; asked for again, it says why")
        began = desk.clock.now_us()
        part = Range(by=backfill.by, low=backfill.next or backfill.low, high=backfill.high, most=backfill.size)
        rows, following, began_source = self._read_chunk(form, part, alone=_alone(info, form, part))
        if backfill.deletes:
            reach = msgspec.structs.replace(part, high=backfill.high if following is None else following)
            self._add_gone(form, reach)
        noops = stage.drop_noops(desk.current, form)
        suppressed = suppress(desk, form)
        manifest = Manifest(
            dataset=name,
            number=desk.dataset_state(name).read + 1,
            mode="backfill",
            began_us=began,
            began_source_us=began_source,
            landed_us=desk.clock.now_us(),
            rows=int(desk.current.one("SELECT count(*) FROM stage")[0]),
            deletes=int(desk.current.one("SELECT count(*) FROM stage WHERE _op = 'd'")[0]),
            noops=noops + suppressed.noops,
            erased=suppressed.erased,
            digest="",
            files=(),
            source_schema=tuple((column.name, column.native) for column in info.columns),
            chunk=Chunk(backfill=id, number=backfill.chunks + 1, read=rows, next=following),
        )
        if manifest.rows:
            result = RunResult(
                dataset=name, mode="backfill", read=rows, noops=manifest.noops, landed=manifest.rows, batch=None,
                status="empty",
            )  # fmt: skip
            self._land(form, result, manifest, suppressed.writes)
        else:
            writes = [desk.datasets.write(name, self._after_read(manifest)), *chunk_done(desk, manifest)]
            desk.state.commit(writes, token=desk.token)
        return self._told(id)

    def _measured(self, backfill: Backfill, form: Shape) -> Backfill:
        """The same with its range looked at: that had to wait for the hours of its source."""
        found = self.measure(Range(by=backfill.by, low=backfill.low, high=backfill.high), form.kinds)
        looked = msgspec.structs.replace(backfill, low=found.low, high=found.high, estimate=found.rows, measured=True)
        self.desk.backfills.put(backfill.id, looked, token=self.desk.token)
        return looked

    def _told(self, id: str) -> Backfill:
        desk = self.desk
        done = _there(desk, id)
        stuck = next((one for one in desk.waiting(done.dataset) if one.status == "blocked"), None)
        if stuck is not None:
            done = msgspec.structs.replace(done, blocked=f"{stuck.dataset}/{stuck.number}")
            desk.backfills.put(id, done, token=desk.token)
        desk.tell(
            "backfill.chunk",
            {
                "id": id,
                "dataset": done.dataset,
                "chunk": done.chunks,
                "rows": done.read,
                "changed": done.changed,
            },
        )
        if done.status == "done":
            desk.tell(
                "backfill.done",
                {
                    "id": id,
                    "dataset": done.dataset,
                    "rows": done.read,
                    "changed": done.changed,
                    "published": done.published,
                    "rejected": done.rejected,
                },
            )
        return done

    def _read_chunk(self, form: Shape, part: Range, *, alone: bool) -> tuple[int, str | None, int]:
        """Fills `stage`. Returns (rows of the range, where the next chunk begins, when by the source's clock)."""
        current = self.desk.current
        with self._open(form, "range", part=self._in_source(part)) as read:
            rows = pull(lambda stream: stage.fill(current, form, stream), read)
            following, began = read.cursor(), read.began_source_us
        if rows and not alone:
            # A key may have rows outside the range, and one of them may be the one that counts.
            key = joined_sql([f"CAST({identifier(name)} AS VARCHAR)" for name in form.raw_keys])
            found = current.sql(f"SELECT DISTINCT {key} FROM stage WHERE {key} IS NOT NULL")
            self._read_also(form, tuple(sorted(str(one) for (one,) in found)), keep=f"{key} IS NULL")
        return rows, following, began

    def _read_also(self, form: Shape, keys: tuple[str, ...], *, keep: str) -> None:
        """Makes `stage` of the rows of these keys as they are now, and of what stands in it and is to be kept."""
        current = self.desk.current
        current.sql(f"CREATE OR REPLACE TEMP TABLE kept AS SELECT * FROM stage WHERE {keep}")
        with self._open(form, "by_keys", keys=keys) as read:
            rows = pull(lambda stream: stage.fill(current, form, stream), read)
        current.sql(f"INSERT INTO stage BY NAME SELECT * REPLACE (_ord + {rows} AS _ord) FROM kept ORDER BY _ord")
        stage.clear(current, "kept")

    def _add_gone(self, form: Shape, part: Range) -> None:
        """Tombstones for keys of the range that the source no longer has, each asked for by itself first.

        One that it still has went to another place of the table: its row now is read with the chunk.
        """
        current = self.desk.current
        stage.make_known(current, self.dataset.name)
        inside = _inside_sql("_k" if part.by == form.raw_keys[0] else "_cursor", form.kinds[part.by], part)
        current.sql(
            f"CREATE OR REPLACE TEMP TABLE absent AS SELECT _k FROM known WHERE _op = 'u' AND {inside} "
            "AND _k NOT LIKE chr(1) || '%' AND _k NOT IN (SELECT _k FROM stage)"
        )
        keys = tuple(str(key) for (key,) in current.sql("SELECT _k FROM absent ORDER BY _k"))
        if keys:
            self._read_also(form, keys, keep="TRUE")
            stage.add_gone(current, form, "SELECT _k FROM absent WHERE _k NOT IN (SELECT _k FROM stage)")
        stage.clear(current, "absent")


def _alone(info: TableInfo, form: Shape, part: Range) -> bool:
    """Whether all rows of a key that is in the range are in the range."""
    return part.by in form.raw_keys or set(info.primary_key) == set(form.raw_keys)


def _inside_sql(value: str, kind: SourceKind, part: Range) -> str:
    """A condition: the text `value` lies in the range, by our order of the source's kind."""
    typed = _ORDERED_AS[kind]
    terms = [f"TRY_CAST({value} AS {typed}) IS NOT NULL"]
    if part.low is not None:
        terms.append(f"TRY_CAST({value} AS {typed}) >= TRY_CAST({literal(part.low)} AS {typed})")
    if part.high is not None:
        terms.append(f"TRY_CAST({value} AS {typed}) < TRY_CAST({literal(part.high)} AS {typed})")
    return " AND ".join(terms)
