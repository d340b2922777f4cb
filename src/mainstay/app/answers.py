"""Looking at answers: giving one as the API would, showing a receipt, verifying it, and telling why.

None of this needs the lease: it reads state, journal, landing and history as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.app.answer_rates import with_rates
from mainstay.app.model_secrets import secrets_of
from mainstay.app.place import Place, applied_record, read_applied
from mainstay.app.stores import has_state, open_journal, open_state
from mainstay.app.worker import open_worker
from mainstay.core.clock import SystemClock, iso, span
from mainstay.core.counts import counted
from mainstay.core.errors import MainstayError, NotFound
from mainstay.core.keys import shown_key
from mainstay.core.ports import JournalReader, State
from mainstay.core.receipt import UsedRow
from mainstay.core.records import BatchRecord, Event, FeatureSetState, ModelVersion, Receipt
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.registry import load
from mainstay.models.verify import reproduce
from mainstay.pipelines import archive, stage
from mainstay.pipelines.currency import conversions
from mainstay.pipelines.desk import batch_name
from mainstay.serving import judge, judge_views
from mainstay.serving.personal import MASK, Personal
from mainstay.serving.reply import Answer, Batch, Refusal
from mainstay.serving.request import PredictRequest
from mainstay.serving.work import Call
from mainstay.sources.files_ledger import origin, read_ledger
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.current import Current
from mainstay.store.history_delta import DeltaHistory
from mainstay.store.landing_local import LocalLanding
from mainstay.store.shelf import ShelfReader

if TYPE_CHECKING:
    import pyarrow as pa

_FILLED = " (filled: there was none)"
"""Behind a value that a column's `fill` put in place of an absent one."""


@dataclass(frozen=True)
class Readers:
    """The stores of an integration, opened for reading."""

    place: Place
    state: State
    journal: JournalReader
    history: DeltaHistory
    landing: LocalLanding
    artifacts: LocalArtifacts
    personal: Personal
    """What of it is shown."""


@contextmanager
def readers(place: Place, *, whole: bool = True) -> Iterator[Readers]:
    """Opens what is there. Raises NotFound when nothing was ever applied here.

    `whole`: show values of columns marked `pii` too.
    """
    home = place.home
    if not has_state(home):
        raise NotFound("nothing has been applied here yet", where=str(home.folder), mend="mainstay apply")
    state = open_state(home)
    journal = open_journal(home, SystemClock(), writable=False, ships=False)
    try:
        yield Readers(
            place,
            state,
            journal,
            DeltaHistory(home.history),
            LocalLanding(home.landing),
            LocalArtifacts(home.artifacts),
            _personal(state, whole=whole),
        )
    finally:
        journal.close()
        state.close()


def _personal(state: State, *, whole: bool) -> Personal:
    applied = None if whole else applied_record(state)
    try:
        integration = None if applied is None else read_applied(applied)
    except MainstayError:  # a secret of the file that this process does not have: nothing is known to be plain
        integration = None
    return Personal(integration, ShelfReader(state, "feature_set", FeatureSetState).all().values(), whole=whole)


def predict(place: Place, request: PredictRequest) -> Answer | Refusal | Batch:
    """Answers as the API would, with a receipt, in this process."""
    clock = SystemClock()
    place.home.create()  # The worker is given no file: it finds noted here where the stores are.
    worker = open_worker(place.home.root, place.home.integration, slot="cli", clock=clock, env=os.environ)
    try:
        snap = worker.desk.view.now
        if snap is None or worker.desk.not_ready():
            raise MainstayError("; ".join(worker.desk.not_ready()) or worker.desk.view.problem, mend="mainstay status")
        return worker.desk.answering.predict_now(snap, request, Call("cli", "cli", clock.monotonic_us()))
    finally:
        worker.close()


def receipt(found: Readers, id: str) -> Receipt:
    """The receipt. Raises NotFound when it is not ours or past its retention."""
    one = archive.read_receipt(id, found.journal, found.history)
    if one is None:
        raise NotFound(
            f"receipt {id} is past its retention", mend="raise `retention: {journal: ...}` for the next ones"
        )
    return one


def receipt_shown(found: Readers, id: str) -> Receipt | dict[str, Any]:
    """The same, without the values that are not shown."""
    one = receipt(found, id)
    return one if found.personal.whole else found.personal.receipt(one)


def verify(found: Readers, id: str) -> Finding:
    """Whether the receipt's answer comes out again: the model from its inputs, a refusal from its recorded facts."""
    one = receipt(found, id)
    if one.outcome == "refused" or (one.outcome == "fallback" and one.reason != "on_error"):
        return _verify_policy(one)
    if one.outcome == "fallback":
        return Finding(
            check="receipt",
            verdict=Verdict.UNKNOWN,
            sentence="the fallback was given because the model failed; whether it would fail again cannot be told",
        )
    version = ShelfReader(found.state, "model", ModelVersion).get(f"{one.version:06d}")
    secrets = secrets_of(found.state, os.environ)
    return reproduce(
        one, version, lambda it: load(it, found.artifacts, found.place.home.sockets, start=True, secrets=secrets)
    )


def _verify_policy(one: Receipt) -> Finding:
    if not one.policy:
        return Finding(
            check="receipt", verdict=Verdict.UNKNOWN, sentence="the facts of this judgement are not recorded"
        )
    again = judge_views.rejudge_views(one.policy) if "views" in one.policy else judge.rejudge(one.policy)
    wanted = {"answered": ("answer", "flag"), "fallback": ("fallback",), "refused": ("refuse",)}[one.outcome]
    same = again.action in wanted and again.reason == one.reason and again.status == one.status
    return Finding(
        check="receipt",
        verdict=Verdict.PASS if same else Verdict.FAIL,
        sentence=f"judged again from the recorded facts: {again.action} ({again.reason or 'no policy'}); "
        f"the receipt says {one.outcome} ({one.reason or 'no policy'})",
    )


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain from the source row to the outcome."""

    what: str
    sentence: str
    details: tuple[tuple[str, str], ...] = ()
    passed: tuple[tuple[str, str], ...] = ()
    """Checks that found nothing, each with its numbers."""


def why(found: Readers, id: str) -> tuple[Link, ...]:
    """The chain of one answer, each link with its numbers; a link that is gone says when and why."""
    one = receipt(found, id)
    links: list[Link] = []
    for view in one.views:
        links.append(_view_link(view, found.personal))
        links.extend(_source_links(found, one, view.positions))
    if not one.views:
        links.extend(_source_links(found, one, one.positions))
    if not one.positions and not any(view.positions for view in one.views):
        links.append(_no_row(one))
    links.append(_features_link(one, found.personal))
    links.append(_model_link(found, one))
    links.append(_answer_link(one))
    events = archive.events_for(id, found.journal, found.history)
    links.extend(_event_links(events))
    return tuple(links)


def _source_links(found: Readers, one: Receipt, positions: Mapping[str, Sequence[int]]) -> Iterator[Link]:
    for dataset, (batch, ordinal) in sorted((name, tuple(at)) for name, at in positions.items()):
        yield from _row_links(found, one, dataset, batch, ordinal)


def _view_link(one: UsedRow, personal: Personal) -> Link:
    """The row of one feature view, before the source rows that it came from."""
    row = f"publish plan {one.plan}" if one.plan else "no row was found for the key"
    seen = f"; as of {iso(one.as_of_us)}" if one.as_of_us is not None else ""
    key = "erased" if one.key is None else shown_key(one.columns or ("key",), one.key)
    key = key if personal.key_shown(one.columns) else MASK
    return Link(
        what="view",
        sentence=f"{one.view}: {row}{seen}; {one.verdict}" + (f": {one.sentence}" if one.sentence else ""),
        details=((", ".join(one.columns) or "key", key), ("feature set", one.feature_set)),
    )


def _no_row(one: Receipt) -> Link:
    if one.erased_us is not None:
        return Link(what="source", sentence=f"erased on {iso(one.erased_us)}")
    if one.key is None:
        return Link(what="source", sentence="the inputs came with the request: no row was read")
    return Link(what="source", sentence=f"no row was found for the key; {one.sentence}")


def _row_links(found: Readers, one: Receipt, dataset: str, number: int, ordinal: int) -> Iterator[Link]:
    batch = ShelfReader(found.state, "batch", BatchRecord).get(batch_name(dataset, number))
    where = f"{dataset} batch {number}, ordinal {ordinal}"
    if one.erased_us is not None:
        yield Link(what="source", sentence=f"{where}: erased on {iso(one.erased_us)}")
        return
    if batch is None:
        yield from _history_links(found, dataset, number, ordinal)
        return
    raw, cleaned = _row(found, dataset, number, ordinal)
    changed = [(name, dict(raw).get(name, ""), text) for name, text in cleaned if dict(raw).get(name) != text]
    raw = tuple((name, text if found.personal.raw_shown(dataset, name) else MASK) for name, text in raw)
    if not raw:
        where += " (the row is no longer in landing: erased)"
    yield Link(
        what="source",
        sentence=f"{where}: {batch.mode} read that began {iso(batch.began_us)}, landed {iso(batch.landed_us)}",
        details=(("digest", batch.digest), *_came_from(batch, ordinal), *raw),
    )
    if cleaned:
        yield Link(
            what="cleaning",
            sentence=f"{dataset}: {len(changed)} of {counted(len(cleaned), 'value')} changed by cleaning"
            if changed
            else f"{dataset}: nothing to clean",
            details=tuple(
                (name, _changed(was, text) if found.personal.shown(name) else MASK) for name, was, text in changed
            ),
        )
    bad = [one for one in batch.findings if one.verdict is not Verdict.PASS]
    passed = counted(len(batch.findings) - len(bad), "check")
    yield Link(
        what="checks",
        sentence=f"{dataset} batch {number}: {passed} passed, {len(bad)} did not"
        + (f"; dataset contract version {batch.contract}" if batch.contract else "")
        + (f"; released: {batch.reason}" if batch.released else ""),
        details=tuple((one.check, f"{one.verdict}: {one.sentence}") for one in bad),
        passed=tuple((one.check, one.sentence) for one in batch.findings if one.verdict is Verdict.PASS),
    )


def _came_from(batch: BatchRecord, ordinal: int) -> tuple[tuple[str, str], ...]:
    """The file and row that it was, where the source is one of files; else the cursor that the batch reached."""
    found = origin(batch.cursor, ordinal)
    if found is not None:
        return ("file", found[0]), ("row", f"{found[1]:,}")
    is_ledger = bool(read_ledger(batch.cursor).new)
    return () if is_ledger else (("cursor", batch.cursor or ""),)


def _changed(before: str, after: str) -> str:
    text = after.removesuffix(_FILLED)
    return f"{before!r} → {text!r}{after[len(text) :]}"


def _history_links(found: Readers, dataset: str, number: int, ordinal: int) -> Iterator[Link]:
    """The row as history keeps it, once its batch is past the retention of landing."""
    where = f"{dataset} batch {number}, ordinal {ordinal}"
    kept = archive.history_row(found.history, dataset, number, ordinal)
    if kept is None:
        yield Link(what="source", sentence=f"{where}: past retention")
        return
    raw = {
        name: "" if value is None else str(value) for name, value in msgspec.json.decode(kept["raw"] or "{}").items()
    }
    yield Link(
        what="source",
        sentence=f"{where}: landed {iso(kept['known_us'])}, past the retention of landing; as history keeps it",
        details=tuple((name, text if found.personal.raw_shown(dataset, name) else MASK) for name, text in raw.items()),
    )
    cleaned = {name.removeprefix("c_"): value for name, value in kept.items() if name.startswith("c_")}
    filled = (kept.get("filled") or "").split(", ")
    rates = (("rates", kept["rates"]),) if kept.get("rates") else ()
    yield Link(
        what="cleaning",
        sentence=f"{dataset}: cleaned by {kept['cleaning']}",
        details=(
            *((name, text + (_FILLED if name in filled else "")) for name, text in _named(cleaned, found.personal)),
            *rates,
        ),
    )
    reasons = kept["reasons"] or "no check failed"
    yield Link(what="checks", sentence=f"{dataset} batch {number}: {kept['state']}; {reasons}")


def _row(
    found: Readers, dataset: str, number: int, ordinal: int
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """(raw values, cleaned values) of a landed version, as text; empty when landing no longer has it.

    Values that stand in for absent ones say so.
    """
    manifest = found.landing.manifest(dataset, number)
    applied = applied_record(found.state)
    if manifest is None or applied is None:
        return (), ()
    integration = read_applied(applied)
    contract = integration.datasets.get(dataset)
    one = _pick(found.landing.open(dataset, number), ordinal)
    if one is None or contract is None:
        return (), ()
    raw = tuple(
        (name, "" if value is None else str(value))
        for name, value in one.to_pylist()[0].items()
        if not name.startswith("_")
    )
    kinds = {
        field.name: (field.metadata or {}).get(b"kind", b"text").decode()
        for field in one.schema
        if not field.name.startswith("_")
    }
    for name in stage.raw_columns(contract):  # gained by the contract since
        kinds.setdefault(name, "text")
    current = Current(None)
    try:
        timezone = integration.sources[contract.source].timezone
        form = stage.shape(contract, kinds, timezone)  # type: ignore[arg-type]
        stage.fill(current, form, one.to_reader(), landed=True)
        columns = form.cleaning.columns
        values = ", ".join(f"CAST({item.value_sql} AS VARCHAR), {item.filled_sql}" for item in columns)
        row = current.one(f"SELECT {values} FROM stage")
    except (MainstayError, KeyError):
        return raw, ()
    finally:
        current.close()
    cleaned = tuple(
        (item.name, ("" if value is None else str(value)) + (_FILLED if filled else ""))
        for item, value, filled in zip(columns, row[::2], row[1::2], strict=True)
        if item.name != stage.EVENT
    )
    converts = any(conversions(contract))
    kept = archive.history_row(found.history, dataset, number, ordinal) if converts else None
    return raw, with_rates(contract, f"{dataset}/{number}/{ordinal}", cleaned, kept)


def _pick(reader: pa.RecordBatchReader, ordinal: int) -> pa.Table | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in reader:
        table = pa.table(batch)
        part: pa.Table = table.filter(pc.equal(table["_ord"], pa.scalar(ordinal)))
        if part.num_rows:
            return part
    return None


def _features_link(one: Receipt, personal: Personal) -> Link:
    if one.erased_us is not None and one.inputs is None:
        return Link(what="features", sentence=f"erased on {iso(one.erased_us)}")
    if one.inputs is None:
        return Link(what="features", sentence="no feature row was used")
    seen = (
        f"as of {iso(one.as_of_us)}, {span(one.age_us or 0)} old when answering"
        if one.as_of_us
        else "given by the caller"
    )
    if one.views:
        sets = ", ".join(f"{row.view} {row.feature_set.removeprefix('sha256:')[:12]}" for row in one.views)
        return Link(
            what="features", sentence=f"feature sets {sets}; {seen}", details=_fed_by(one, one.inputs, personal)
        )
    return Link(
        what="features",
        sentence=f"feature set {one.feature_set.removeprefix('sha256:')[:12]}, publish plan {one.plan}; {seen}",
        details=_fed_by(one, one.inputs, personal),
    )


def _fed_by(one: Receipt, inputs: Mapping[str, Any], personal: Personal) -> tuple[tuple[str, str], ...]:
    """The inputs, then which columns behind them were filled."""
    return (
        *_named(inputs, personal),
        *((f"filled in {name}", ", ".join(columns)) for name, columns in one.filled.items()),
    )


def _named(inputs: Mapping[str, Any], personal: Personal) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, ("" if value is None else str(value)) if personal.shown(name) else MASK)
        for name, value in inputs.items()
    )


def _model_link(found: Readers, one: Receipt) -> Link:
    if not one.version:
        return Link(what="model", sentence="no model was run")
    version = ShelfReader(found.state, "model", ModelVersion).get(f"{one.version:06d}")
    name = version.name if version else "a version that is gone"
    return Link(
        what="model",
        sentence=f"version {one.version} of {name}, runtime {one.runtime}",
        details=(
            ("artifact", one.artifact),
            ("build", one.build),
            *((name, f"{value} (imputed: it was null)") for name, value in _named(one.imputed, found.personal)),
            *((f"ate {name}", value) for name, value in _named(one.fed or {}, found.personal)),
        ),
    )


def _answer_link(one: Receipt) -> Link:
    output = ", ".join(f"{name} = {value}" for name, value in (one.output or {}).items())
    reason = f" by {one.reason}" if one.reason else ""
    return Link(
        what="answer",
        sentence=f"{one.outcome}{reason} at {iso(one.at_us)} in {one.latency_us / 1000:.2f} ms: "
        + (output or one.sentence),
        details=(
            ("verdict", str(one.verdict)),
            ("sentence", one.sentence),
            *((f"model gave {name}", str(value)) for name, value in (one.raw or {}).items()),
            ("status", str(one.status)),
            ("caller", one.caller),
            *((("trace", one.trace),) if one.trace else ()),
        ),
    )


def _event_links(events: tuple[Event, ...]) -> Iterator[Link]:
    for kind in ("decision", "outcome"):
        mine = [event for event in events if event.kind == kind]
        if not mine:
            yield Link(what=kind, sentence=f"no {kind} has been recorded")
        for event in mine:
            text = ", ".join(f"{name}: {value}" for name, value in event.body.items() if value not in ("", None))
            yield Link(what=kind, sentence=f"{iso(event.at_us)}: {text}")
