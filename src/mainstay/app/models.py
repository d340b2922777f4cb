"""Model versions in and out of service: imported with proof, chosen, and taken back.

Importing works beside the lease: it reads current feature rows from online and adds the version by compare-and-set, so
that a proof that takes minutes never keeps the loop from its datasets.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mainstay.app import apply as applying
from mainstay.app.place import Place, need_applied, opened
from mainstay.app.stores import open_journal, open_online
from mainstay.core.audit import AuditRecord, event_of
from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import MainstayError, ModelRefused, Refused
from mainstay.core.inputs import ModelInput
from mainstay.core.nouns import Field, Integration, PreStep, Signature
from mainstay.core.ports import Row, State
from mainstay.core.records import Answering, Cost, DatasetState, Event, FeatureSetState, ModelVersion, ProcessState
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.adding import Draft, draft
from mainstay.models.cost import curve, together
from mainstay.models.fitting import fits
from mainstay.models.importing import examine
from mainstay.models.importing_folder import WHOLE, Handed, handed
from mainstay.models.post import Post, with_post
from mainstay.models.pre import Pre, before, pin, with_pre
from mainstay.models.registry import Registry, load, socket_of
from mainstay.models.runtimes.python import listening
from mainstay.quality.checks import freshness_finding
from mainstay.serving import contract as api_contract
from mainstay.serving.inputs import InputPlan
from mainstay.serving.pairs import paired_rows
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.shelf import ShelfReader

HOST_US = 60 * SECOND
SEEN_US = 10 * SECOND
LOOK_S = 0.05


@dataclass(frozen=True)
class Shop:
    """What working on models needs: state, the registry over it, artifacts."""

    place: Place
    state: State
    registry: Registry
    artifacts: LocalArtifacts
    clock: Clock


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks of an import."""

    file: Path
    """Or a folder with a model.py or an MLmodel."""
    python: str | None = None
    example: Path | None = None
    outputs: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    convert: bool = True


@contextmanager
def shop(place: Place) -> Iterator[Shop]:
    """Opens what there is. Raises NotFound before the first `apply`."""
    with opened(place) as state:
        clock = SystemClock()
        registry = Registry(state, tell=lambda made: _tell(place, clock, made))
        yield Shop(place, state, registry, LocalArtifacts(place.home.artifacts), clock)


def _tell(place: Place, clock: Clock, made: AuditRecord) -> None:
    """Writes into the journal what the registry recorded in the audit."""
    journal = open_journal(place.home, clock)
    try:
        what, body = event_of(made)
        event = Event(kind=what, at_us=clock.now_us(), by=made.by, body=body)
        journal.append("event", msgspec.msgpack.encode(event))
    finally:
        journal.close()


def add_model(at: Shop, wish: Wish, *, by: str) -> tuple[ModelVersion, tuple[str, ...]]:
    """Examines, converts where parity is proved, and stores a version. Returns it with what to tell the person.

    The steps of `model.pre` and `model.post` become part of it; statistics in them are computed now and pinned.
    Raises ModelRefused when it does not fit the API contract or cannot be opened, Refused before its feature set is
    there.
    """
    integration = need_applied(at.state)
    wanted = applying.input_of(integration)
    built = ShelfReader(at.state, "feature_set", FeatureSetState)
    if any(built.get(one.digest) is None for one in wanted.sets):
        raise Refused("the feature set of the file is not built here yet", mend="mainstay apply, then mainstay run")
    with handed(wish.file, wish.example) as given:
        made = _draft(at, integration, wanted, wish=msgspec.structs.replace(wish, file=given.file), given=given, by=by)
    version = at.registry.add(made.version, by=by)
    return version, made.told


def _draft(at: Shop, integration: Integration, wanted: ModelInput, *, wish: Wish, given: Handed, by: str) -> Draft:
    """The version that the file would be, proved on the current rows and measured."""
    pre, post = integration.model.pre, integration.model.post
    columns = columns_of(integration, wanted)
    examined = examine(
        wish.file,
        python=wish.python,
        example=given.example,
        outputs=wish.outputs,
        feature_columns=tuple((field.name, field.type) for field in Pre(pre, columns).outputs),
        trusted=wish.trusted,
        paths=wish.paths,
        home=at.place.home.folder,
        kind=given.kind,
        images=integration.model.images,
        clock=at.clock,
    )
    kept, read = before(pre, columns, examined.signature.inputs)
    final = Signature(inputs=read, outputs=Post(post, examined.signature.outputs).outputs)
    misfits = _misfits(integration, wanted, final)
    if misfits:
        raise ModelRefused("; ".join(one.sentence for one in misfits), mend=misfits[0].mend)
    rows = current_rows(at, wanted, integration, final)
    kept = pin(kept, read, rows)
    rows, prepared = _prepared(Pre(kept, read, examined.signature.inputs), rows) if kept else (rows, ())
    made = draft(
        wish.file,
        examined,
        name=integration.model.name,
        feature_set=wanted.digest,
        rows=rows,
        artifacts=at.artifacts,
        home=at.place.home.folder,
        allow_conversion=wish.convert and given.kind not in WHOLE,
        by=by,
        clock=at.clock,
    )
    cost, together = _cost(at, made.version, rows)
    version = msgspec.structs.replace(made.version, also=wanted.also, cost=cost, together=together)
    told = (*given.notes, *_pinned(kept), *prepared, *made.told, *_priced(version))
    return Draft(version=with_post(with_pre(version, kept, columns), post), told=told)


def columns_of(integration: Integration, wanted: ModelInput) -> tuple[Field, ...]:
    """What a row may carry: the feature columns and the request-time inputs."""
    return (*(Field(name=name, type=kind) for name, kind in wanted.columns), *integration.model.request_inputs)


def _prepared(steps: Pre, rows: list[Row]) -> tuple[list[Row], tuple[str, ...]]:
    """The rows as the model will eat them; those that a step refuses are left out, and counted."""
    made: list[Row] = []
    why = ""
    for row in rows:
        try:
            made.append(steps(row).row)
        except ModelRefused as error:
            why = why or error.sentence
    refused = len(rows) - len(made)
    return made, (f"{refused:,} of {counted(len(rows), 'current row')} get no answer: {why}",) if refused else ()


def _pinned(steps: Sequence[PreStep]) -> Iterator[str]:
    for step in steps:
        if step.pinned:
            value, count = step.pinned["value"], step.pinned["rows"]
            yield f"{step.args['with']} of {step.args['of']}: {value}, of {counted(count, 'current row')}; it stays so"


def _cost(at: Shop, version: ModelVersion, rows: list[Row]) -> tuple[tuple[Cost, ...], int]:
    """What answers is measured, the conversion where there is one; nothing without current rows.

    Returns the cost of calls, and how many rows of several requests are worth a call together.
    """
    if not rows:
        return (), 1
    model = load(version, at.artifacts, at.place.home.sockets, start=True, clock=at.clock)
    try:
        cost = curve(model, rows, at.clock)
        return cost, together(model, rows, cost, at.clock) if model.capabilities.blocking else 1
    finally:
        model.close()


def _priced(version: ModelVersion) -> Iterator[str]:
    if version.cost:
        one, last = version.cost[0], version.cost[-1]
        yield f"costs {one.us:,} µs for a row alone and {last.us / last.rows:,.1f} µs a row for {last.rows:,} at once"
    if version.together > 1:
        yield f"rows of several requests are asked together, up to {version.together} at once (`batching: off` ends it)"


def _misfits(integration: Integration, wanted: ModelInput, signature: Signature) -> list[Finding]:
    path = api_contract.path_of(integration.folder, integration.api)
    standing = (
        api_contract.read(path)
        if path.is_file()
        else api_contract.build(integration, wanted.columns, signature, keys=wanted.keys)
    )
    found = fits((*standing.columns, *standing.inputs, *standing.key_columns), standing.outputs, signature)
    return [one for one in found if one.verdict is Verdict.FAIL]


def current_rows(at: Shop, wanted: ModelInput, integration: Integration, signature: Signature) -> list[Row]:
    """Every current feature row, as the model would be given it; of several views a sample of pairs that exist."""
    online = open_online(at.place.home, writable=False)
    plan = InputPlan(signature, wanted.columns, integration.model.request_inputs, wanted.keys)
    try:
        if wanted.several:
            return [_filled(plan, values, key) for key, values in paired_rows(online, wanted)]
        rows: list[Row] = []
        keys = list(online.keys(wanted.digest))
        for start in range(0, len(keys), 1_000):
            found = online.get_many(wanted.digest, keys[start : start + 1_000]).values()
            rows.extend(_filled(plan, row.values, row.key) for row in found if row.values is not None)
        return rows
    finally:
        online.close()


def _filled(plan: InputPlan, values: bytes, key: str) -> Row:
    row = plan.row(values)
    if plan.keyed:
        plan.fill(row, key)
    return row


def use_model(at: Shop, number: int, *, by: str) -> Answering:
    """Lets a version answer from the next request on.

    Raises Refused when it gives other outputs than the API contract, or its features or its process are not ready.
    """
    integration = need_applied(at.state)
    version = at.registry.get(number)
    path = api_contract.path_of(integration.folder, integration.api)
    sets = ShelfReader(at.state, "feature_set", FeatureSetState)
    pinned = [one for digest in version.feature_sets if (one := sets.get(digest)) is not None]
    if pinned and not path.is_file():
        given = ModelInput(sets=tuple(pinned))
        made = api_contract.build(integration, given.columns, version.signature, keys=given.keys)
        api_contract.write(path, made)
    elif pinned:
        _keep_outputs(integration, ModelInput(sets=tuple(pinned)), version)
    await_host(at, version)
    _need_load(at, version)
    return at.registry.use(
        number, by=by, at_us=at.clock.now_us(), hindrance=lambda one: hindrance(at, integration, one)
    )


def _need_load(at: Shop, version: ModelVersion) -> None:
    """Raises Refused where the workers could not load the version; one in a process of its own was waited for."""
    if version.runtime == "python":
        return
    try:
        load(version, at.artifacts, at.place.home.sockets, clock=at.clock).close()
    except MainstayError as error:
        mend = f"{error.mend}; or add the model again: mainstay model add" if error.mend else "mainstay model add"
        raise Refused(
            f"version {version.number} does not load, nothing was changed: {error.sentence}", mend=mend
        ) from error


def _keep_outputs(integration: Integration, wanted: ModelInput, version: ModelVersion) -> None:
    """Callers get what the API contract promises them, also by a version with other steps of `model.post`."""
    misfits = [one for one in _misfits(integration, wanted, version.signature) if one.check == "model.output"]
    if misfits:
        raise Refused(
            f"version {version.number} does not fit contracts/api-{integration.api}.json: "
            + "; ".join(one.sentence for one in misfits),
            mend=f"raise `api: {integration.api}` to {integration.api + 1} and apply, or choose another version",
        )


def retire_model(at: Shop, number: int, *, by: str) -> ModelVersion:
    """Takes a version out of use for good. Raises Refused for the one that answers."""
    return at.registry.retire(number, at_us=at.clock.now_us(), by=by)


def await_host(at: Shop, version: ModelVersion, *, patience_us: int = HOST_US) -> None:
    """Waits until `up`, where it runs, has the version's process answering: else the switch would fail requests."""
    if version.runtime != "python":
        return
    place = socket_of(version, at.place.home.sockets)
    processes = ShelfReader(at.state, "process", ProcessState)
    deadline = at.clock.monotonic_us() + patience_us
    while not listening(place):
        now = at.clock.now_us()
        if not any(one.pid and now - one.seen_us < SEEN_US for one in processes.all("api-").values()):
            return  # nobody answers requests here now
        if at.clock.monotonic_us() > deadline:
            raise Refused(
                f"the process of version {version.number} is not ready; nothing was changed",
                mend=f"see {at.place.home.logs / f'model-{version.number}.log'}",
            )
        time.sleep(LOOK_S)


def hindrance(at: Shop, integration: Integration, version: ModelVersion) -> str:
    """Why a version's features are not ready: not complete, or past their freshness; empty when they are."""
    sets = ShelfReader(at.state, "feature_set", FeatureSetState)
    for digest in version.feature_sets:
        state = sets.get(digest)
        which = f"its feature set of {state.view}" if state is not None and version.also else "its feature set"
        if state is None or state.retired:
            return f"{which} is not kept current; apply the file that has it"
        if not state.complete and version.signature.inputs:
            return f"{which} is not complete yet"
        late = _late(at, integration, state) if version.signature.inputs else ""
        if late:
            return late
    return ""


def _late(at: Shop, integration: Integration, state: FeatureSetState) -> str:
    now = at.clock.now_us()
    datasets = ShelfReader(at.state, "dataset", DatasetState)
    for name in state.mapping:
        dataset = integration.datasets.get(name)
        found = datasets.get(name)
        if dataset is None or found is None:
            continue
        age = None if found.as_of_us is None else now - found.as_of_us
        finding = freshness_finding(dataset.freshness, age, None)
        if finding.verdict in (Verdict.FAIL, Verdict.ERROR):
            return f"{name}: {finding.sentence}"
    return ""
