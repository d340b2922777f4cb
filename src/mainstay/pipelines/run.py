"""Running a dataset: plan what to read, read it, land it, and settle what waits, in order.

What to read is planned by `pipelines.plan`; `run` performs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from copy import copy
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import msgspec

from mainstay.core.errors import MainstayError, NotFound, SourceRefused
from mainstay.core.keys import joined_key
from mainstay.core.nouns import Dataset
from mainstay.core.ports import Manifest, ReadRequest, Source, SourceKind, SourceRead, TableInfo, Write
from mainstay.core.records import BatchRecord, DatasetState
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import stage
from mainstay.pipelines.ahead import ahead
from mainstay.pipelines.backfill_record import chunk_done, deletes_asked
from mainstay.pipelines.desk import Desk, batch_name
from mainstay.pipelines.drift import asked, block, note, raw_read
from mainstay.pipelines.fit import Fit, complaint, fit, kinds_of_landed, lost_of_landed
from mainstay.pipelines.judge import Gate, Judgement
from mainstay.pipelines.plan import Mode, ReadPlan, plan_run
from mainstay.pipelines.publish import finish_batch, publish_batch
from mainstay.pipelines.rename import FirstRows, propose
from mainstay.pipelines.stage import Shape, shape
from mainstay.pipelines.suppression import suppress
from mainstay.pipelines.told import told
from mainstay.pipelines.whole import WholeChecks, blocks
from mainstay.quality.checks import row_checks

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did."""

    dataset: str
    mode: Mode | Literal["backfill"]
    read: int
    """Rows that the source returned."""
    noops: int
    landed: int
    """Versions landed, tombstones included."""
    batch: int | None
    """The batch's number; None for an empty read."""
    status: Literal["published", "blocked", "error", "queued", "empty", "dry"]
    findings: tuple[object, ...] = ()
    quarantined: int = 0
    superseded: int = 0
    published: int = 0


class Runner:
    """Runs one dataset with the desk's stores."""

    most_keys: ClassVar[int] = 500_000
    """Keys that a reconciliation names to the source; where more differ it reads every row, which holds no keys in
    memory and asks less of the source."""

    def __init__(self, desk: Desk, dataset: Dataset, *, contract: int | None = None) -> None:
        """`contract`: the version of its contract, where it is about to be recorded; None: the newest recorded."""
        self.desk = desk
        self._contract = contract
        self.dataset = dataset
        self.source: Source = desk.sources[dataset.source]
        self.timezone = desk.integration.sources[dataset.source].timezone
        self._row_checks = row_checks(dataset)
        self._whole = WholeChecks(desk, dataset)
        self._shapes: dict[tuple[object, ...], Shape] = {}
        self._fitted = Fit()

    def plan(self) -> ReadPlan:
        """What the next run reads, or until when it waits."""
        hours = self.desk.integration.sources[self.dataset.source].guard.backfill_hours
        state, able = self.desk.dataset_state(self.dataset.name), self.source.capabilities
        return plan_run(self.dataset, state, self.desk.clock.now_us(), hours, able)

    @told
    def run(self, *, dry: bool = False) -> RunResult:
        """One read, landed, judged and published. `dry` reads and judges, lands nothing, advances nothing."""
        state = self.desk.dataset_state(self.dataset.name)
        info = self.source.describe(self.dataset.table)
        form = self._fit(state, info, dry=dry)
        plan = self.plan()
        began = self.desk.clock.now_us()
        with self.desk.trace.span("read", dataset=self.dataset.name, mode=plan.mode):
            try:
                rows, read_cursor, began_source, checked = self._read(form, plan)
            except SourceRefused:  # a column was renamed between the two looks at the table: look again, once
                again = self.source.describe(self.dataset.table)
                if again.columns == info.columns:
                    raise
                info, form = again, self._fit(state, again, dry=dry)
                rows, read_cursor, began_source, checked = self._read(form, plan)
        noops = stage.drop_noops(self.desk.current, form)
        suppressed = suppress(self.desk, form)
        noops += suppressed.noops
        left = int(self.desk.current.one("SELECT count(*) FROM stage")[0])
        result = RunResult(
            dataset=self.dataset.name, mode=plan.mode, read=rows, noops=noops, landed=left, batch=None, status="empty"
        )
        if dry:
            return self._dry(form, result, began, checked=checked)
        manifest = Manifest(
            dataset=self.dataset.name,
            number=state.read + 1,
            mode=plan.mode,
            began_us=began,
            began_source_us=began_source,
            landed_us=self.desk.clock.now_us(),
            rows=left,
            deletes=int(self.desk.current.one("SELECT count(*) FROM stage WHERE _op = 'd'")[0]),
            noops=noops,
            erased=suppressed.erased,
            cursor=read_cursor,
            digest="",
            files=(),
            source_schema=tuple((column.name, column.native) for column in info.columns),
        )
        if left == 0:
            return self._empty(form, result, manifest)
        return self._land(form, result, manifest, suppressed.writes)

    def settle(self, *, fresh: tuple[Shape, int] | None = None) -> BatchRecord | None:
        """Judges and publishes what waits, in order, until something blocks. Returns the last batch looked at.

        `fresh`: the shape and number of the batch that is in `stage` already.
        """
        last = None
        self.adopt_landed()
        for batch in self.desk.waiting(self.dataset.name):
            last = self._settle_one(batch, fresh)
            if not last.settled:
                break
        return last

    def _settle_one(self, batch: BatchRecord, fresh: tuple[Shape, int] | None) -> BatchRecord:
        if self.desk.current.settled(batch.dataset, batch.number) is not None:
            return finish_batch(self.desk, batch)
        if batch.status == "blocked":  # waits for a person; only ERROR lifts by itself
            return batch
        form = fresh[0] if fresh is not None and fresh[1] == batch.number else self.load(batch)
        checked, before = deletes_asked(self.desk, batch)
        gate = Gate(
            self.desk.current,
            form,
            released=frozenset(batch.released),
            deletes_checked=checked,
            deleted_before=before,
            row_checks=self._row_checks,
            wider=lambda relation: self._whole.judge(relation, batch.began_us),
        )
        with self.desk.trace.span("gate", dataset=batch.dataset, batch=batch.number):
            judgement = gate.judge()
        batch = msgspec.structs.replace(batch, contract=self._contract_number())
        if judgement.blocking:
            return self._block(form, batch, judgement)
        self._whole.note(judgement.findings, batch.began_us)
        with self.desk.trace.span("publish", dataset=batch.dataset, batch=batch.number):
            return publish_batch(self.desk, gate, judgement, batch)

    def _contract_number(self) -> int:
        if self._contract is None:
            recorded = self.desk.state.scan("contract", f"{self.dataset.name}/")
            self._contract = int(recorded[-1].name.rpartition("/")[2]) if recorded else 0
        return self._contract

    def load(self, batch: BatchRecord) -> Shape:
        """Brings a landed batch back into `stage`; returns its shape, from the schema that it landed with."""
        manifest = self.desk.landing.manifest(batch.dataset, batch.number)
        if manifest is None:
            raise NotFound(f"batch {batch.number} of {batch.dataset} is not in landing", mend="restore from a backup")
        reader = self.desk.landing.open(batch.dataset, batch.number)
        form = self.shape_of(reader.schema)
        stage.fill(self.desk.current, form, reader, landed=True)
        return form

    def shape_of(self, schema: pa.Schema) -> Shape:
        """The dataset's shape over landed files: kinds stand in the Arrow fields' metadata."""
        return self._shape(kinds_of_landed(self.dataset, schema), lost_of_landed(schema))

    def _shape(self, kinds: dict[str, SourceKind], lost: tuple[str, ...] = ()) -> Shape:
        """The shape over these kinds, made once: a runner's contract does not change."""
        named = (tuple(kinds.items()), lost)
        if named not in self._shapes:
            self._shapes = {named: shape(self.dataset, kinds, self.timezone, lost)}
        return self._shapes[named]

    # --- the steps of one run -----------------------------------------------------------------------------------

    def _fit(self, state: DatasetState, info: TableInfo, *, dry: bool) -> Shape:
        """The shape; a lost or retyped column that is needed blocks the dataset until the schema fits again."""
        found = fit(self.dataset, info, state)
        try:
            error = complaint(self.dataset, found)
            if error is not None:
                raise error
            form = self._shape(found.kinds, found.lost)
        except MainstayError as error:
            if dry:
                raise
            raise self._block_dataset(state, info, found, error) from None
        if not dry:
            note(self.desk, self.dataset, state, info, found)
        self._fitted = found
        return form

    def _block_dataset(self, state: DatasetState, info: TableInfo, found: Fit, error: MainstayError) -> MainstayError:
        """The error to be raised. Evidence for a new name is looked for once, when the dataset blocks."""
        if state.blocked and state.misfit == error.sentence:
            known = SourceRefused(state.blocked, mend=state.blocked_mend, where=error.where)
            return known if state.blocked_mend else error
        proposal = propose(self.desk.current, self.dataset, info, state, found, sampler=self._sample)
        return block(self.desk, self.dataset, state, error, proposal)

    def _sample(self, found: Fit, keys: tuple[str, ...], most: int) -> Shape:
        """Fills `stage` with a few rows as `found` reads the table; nothing of it lands."""
        self._fitted, form = found, self._shape(found.kinds, found.lost)
        by_keys = self.source.capabilities.keys and not self.source.capabilities.ledger
        mode, more = ("by_keys", {"keys": keys}) if by_keys else (self.plan().mode, {"since": self.plan().since})
        with self._open(form, mode, **more) as read:
            pull(lambda stream: stage.fill(self.desk.current, form, stream), FirstRows(read, most))
        return form

    @contextmanager
    def _open(self, form: Shape, mode: str, **more: object) -> Iterator[SourceRead]:
        cursor, found = self.dataset.cursor, self._fitted
        request = msgspec.convert(
            {
                "table": self.dataset.table,
                **asked(self.dataset, found, form.raw),
                "key": joined_key([found.read[name] for name in form.raw_keys]),
                "mode": mode,
                "cursor": found.read[form.raw_cursor] if form.raw_cursor else None,
                "lag_us": cursor.lag_us if cursor else 0,
                "lag_number": cursor.lag_number if cursor else 0,
                **more,
            },
            ReadRequest,
        )
        with self.source.read(request) as read:
            yield raw_read(read, self.dataset, found)

    def _read(self, form: Shape, plan: ReadPlan) -> tuple[int, str | None, int, bool]:
        """Fills `stage`. Returns (rows read, cursor, when by the source's clock, whether deletes were sought)."""
        current = self.desk.current
        if plan.mode == "reconcile":
            return self._reconcile(form)
        with self._open(form, plan.mode, since=plan.since) as read:
            rows = pull(lambda stream: stage.fill(current, form, stream), read)
            keeps = self.dataset.cursor is not None or self.source.capabilities.ledger
            cursor, began, whole = read.cursor() if keeps else None, read.began_source_us, read.complete
        complete = plan.mode == "snapshot" and self.dataset.deletes.kind == "snapshot" and whole
        if complete:
            stage.add_absent(current, form)
        return rows, cursor, began, complete

    def _reconcile(self, form: Shape) -> tuple[int, str | None, int, bool]:
        current = self.desk.current
        with self._open(form, "keys") as read:
            again, gone = pull(
                lambda stream: stage.compare_keys(current, form, stream, most=self.most_keys), read, numbers=False
            )
            began = read.began_source_us
        with self._open(form, "snapshot" if again is None else "by_keys", keys=again or ()) as read:
            rows = pull(lambda stream: stage.fill(current, form, stream), read)
        stage.add_gone(current, form, gone)
        return rows, None, began, True

    def _dry(self, form: Shape, result: RunResult, began: int, *, checked: bool) -> RunResult:
        judgement = Gate(
            self.desk.current,
            form,
            deletes_checked=checked,
            row_checks=self._row_checks,
            wider=lambda relation: self._whole.judge(relation, began),
        ).judge()
        return msgspec.structs.replace(
            result,
            status="dry",
            findings=judgement.findings,
            quarantined=judgement.quarantined,
            superseded=judgement.superseded,
            published=judgement.passed,
        )

    def _empty(self, form: Shape, result: RunResult, manifest: Manifest) -> RunResult:
        """An empty read advances as-of unless a check blocks it; behind a waiting batch it merges with it."""
        desk, name = self.desk, self.dataset.name
        looked = self._whole.count(manifest.began_us, 0)
        waiting = desk.waiting(name)
        state = self._after_read(manifest)
        if waiting:
            last = msgspec.structs.replace(
                waiting[-1], trail_us=manifest.began_us, trail_source_us=manifest.began_source_us
            )
            writes = [desk.datasets.write(name, state), desk.batches.write(batch_name(name, last.number), last)]
            desk.state.commit([*writes, *looked], token=desk.token)
            return msgspec.structs.replace(result, status="queued")
        if state.as_of_us is None:  # nothing was ever published: an empty table is judged like any other
            return self._land(form, result, manifest)
        if any(blocks(one) for one in self._whole.judge_empty(manifest.began_us)):
            return self._land(form, result, manifest)
        state = msgspec.structs.replace(
            state,
            as_of_us=manifest.began_us,
            as_of_source_us=manifest.began_source_us,
            run_us=desk.clock.now_us() - manifest.began_us,
        )
        desk.state.commit([desk.datasets.write(name, state), *looked], token=desk.token)
        return result

    def _after_read(self, manifest: Manifest) -> DatasetState:
        state = self.desk.dataset_state(self.dataset.name)
        counts = {**state.counts, "noop": state.counts.get("noop", 0) + manifest.noops}
        if manifest.chunk is not None:  # it looked at part of the table, and says nothing of how far that was read
            return msgspec.structs.replace(state, counts=counts)
        return msgspec.structs.replace(
            state,
            cursor=manifest.cursor if manifest.cursor is not None else state.cursor,
            last_read_us=manifest.began_us,
            reconciled_us=manifest.began_us
            if manifest.mode == "reconcile" or state.reconciled_us is None
            else state.reconciled_us,
            failures=0,
            error="",
            error_since_us=None,
            read_all=state.read_all and manifest.mode == "reconcile",
            blocked="",
            misfit="",
            blocked_mend="",
            source_schema=manifest.source_schema,
            counts=counts,
        )

    def _land(self, form: Shape, result: RunResult, manifest: Manifest, also: tuple[Write, ...] = ()) -> RunResult:
        desk, name = self.desk, self.dataset.name
        desk.at("before-landing")
        with desk.trace.span("land", dataset=name, batch=manifest.number, rows=manifest.rows):
            landed = desk.landing.land(manifest, marked(stage.landing_reader(desk.current, form), form))
        desk.at("landed")
        queued = bool(desk.waiting(name))
        if queued:  # before state knows the batch: a crash between the two is repaired by `adopt_landed`
            stage.remember(desk.current, form, landed.number)
        batch = self.adopt(landed, also)
        desk.at("batch-recorded")
        self.settle(fresh=None if queued else (form, batch.number))
        mine = desk.batches.get(batch_name(name, batch.number)) or batch
        status = {"published": "published", "blocked": "blocked", "error": "error"}.get(mine.status, "queued")
        return msgspec.convert(
            {
                **msgspec.structs.asdict(result),
                "batch": batch.number,
                "status": status,
                "findings": mine.findings,
                "quarantined": mine.counts.get("quarantined", 0),
                "superseded": mine.counts.get("superseded", 0),
                "published": mine.counts.get("published", 0),
            },
            RunResult,
        )

    def adopt(self, manifest: Manifest, also: tuple[Write, ...] = ()) -> BatchRecord:
        """Records a landed batch in state, with `also`: after landing it, or after a crash between the two."""
        desk = self.desk
        batch = BatchRecord(
            dataset=manifest.dataset,
            number=manifest.number,
            mode=manifest.mode,
            status="landed",
            began_us=manifest.began_us,
            began_source_us=manifest.began_source_us,
            landed_us=manifest.landed_us,
            rows=manifest.rows,
            deletes=manifest.deletes,
            noops=manifest.noops,
            digest=manifest.digest,
            cursor=manifest.cursor,
            counts={"erased": manifest.erased} if manifest.erased else {},
            backfill="" if manifest.chunk is None else manifest.chunk.backfill,
        )
        state = self._after_read(manifest)
        counts = {
            **state.counts,
            "waiting": state.counts.get("waiting", 0) + manifest.rows,
            "erased": state.counts.get("erased", 0) + manifest.erased,
            "landed": state.counts.get("landed", 0) + manifest.rows + manifest.erased,
        }
        state = msgspec.structs.replace(state, read=manifest.number, counts=counts)
        desk.state.commit(
            [
                desk.datasets.write(manifest.dataset, state),
                desk.batches.write(batch_name(manifest.dataset, manifest.number), batch),
                *(self._whole.count(manifest.began_us, manifest.rows - manifest.deletes) if not manifest.chunk else ()),
                *chunk_done(desk, manifest),
                *also,
            ],
            token=desk.token,
        )
        return batch

    def adopt_landed(self) -> list[int]:
        """Records batches that are in landing and not in state: what a crash or a failed commit left between the two.

        Their versions are remembered at once, since an earlier batch may keep them waiting.
        """
        desk, name = self.desk, self.dataset.name
        adopted: list[int] = []
        while (manifest := desk.landing.manifest(name, desk.dataset_state(name).read + 1)) is not None:
            batch = self.adopt(manifest)
            stage.remember(desk.current, self.load(batch), batch.number)
            adopted.append(batch.number)
        return adopted

    def _block(self, form: Shape, batch: BatchRecord, judgement: Judgement) -> BatchRecord:
        status: Literal["blocked", "error"] = "blocked" if judgement.waits_for_a_person else "error"
        first_time = batch.status == "landed"
        if first_time:
            stage.remember(self.desk.current, form, batch.number)
        blocked = msgspec.structs.replace(batch, status=status, findings=judgement.findings)
        if blocked != batch:
            self.desk.batches.put(batch_name(batch.dataset, batch.number), blocked, token=self.desk.token)
        if first_time:
            self.desk.tell(
                "batch.blocked",
                {
                    "dataset": batch.dataset,
                    "batch": batch.number,
                    "why": [one.sentence for one in judgement.blocking if one.verdict is not Verdict.PASS],
                },
            )
        return blocked


def marked(reader: pa.RecordBatchReader, form: Shape) -> pa.RecordBatchReader:
    """The stream with each raw column's kind in its field's metadata, so that a landed file says what it means."""
    import pyarrow as pa

    def said(name: str) -> dict[bytes | str, bytes | str]:
        return {b"kind": form.kinds[name].encode(), **({b"lost": b"1"} if name in form.lost else {})}

    fields = pa.schema(
        [field.with_metadata(said(field.name)) if field.name in form.kinds else field for field in reader.schema]
    )
    return pa.RecordBatchReader.from_batches(fields, (batch.cast(fields) for batch in reader))


def pull(consume: Callable[[pa.RecordBatchReader], T], read: SourceRead, *, numbers: bool = True) -> T:
    """Lets DuckDB consume a source's stream; what the source raises comes out as it was raised."""
    import duckdb
    import pyarrow as pa

    failed: list[MainstayError] = []

    def guarded() -> Iterator[pa.RecordBatch]:
        try:
            yield from read.batches()
        except MainstayError as error:
            failed.append(error)
            raise

    schema, batches = stage.numbered(read.schema, guarded()) if numbers else (read.schema, guarded())
    try:
        with closing(ahead(batches)) as pieces:  # DuckDB takes one batch in while the source gives the next
            return consume(pa.RecordBatchReader.from_batches(schema, pieces))
    except (duckdb.Error, MainstayError, pa.ArrowException):
        if not failed:
            raise
    # Arrow keeps what was raised until it ends. A copy, and no context: else it would keep our frames and DuckDB, too.
    raise copy(failed.pop())
