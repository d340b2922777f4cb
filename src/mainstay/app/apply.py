"""`mainstay apply`: what a changed file means, as a list of small records; and performing that very list."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Literal

import msgspec

from mainstay import spec
from mainstay.app import contracts, pins, tls
from mainstay.app.inline_models import file_version, inline_signature, reposted
from mainstay.app.landing_names import landing_names, read_otherwise, unnamed, with_landing_names
from mainstay.app.place import applied_record, read_applied, read_file
from mainstay.app.wiring import Works
from mainstay.core.errors import FileError, MainstayError, NotFound, Refused
from mainstay.core.inputs import ModelInput, model_input
from mainstay.core.keys import shown_names
from mainstay.core.nouns import Dataset, Integration
from mainstay.core.ports import Write
from mainstay.core.records import Applied, DatasetState, FeatureSetState, ModelVersion
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.registry import content
from mainstay.pipelines import feature_personal, sets
from mainstay.pipelines.features import Moment
from mainstay.pipelines.fit import known_names
from mainstay.pipelines.rebuild import reclean
from mainstay.pipelines.run import Runner
from mainstay.pipelines.stage import raw_columns
from mainstay.serving import contract as api_contract
from mainstay.serving.bounds import refuse_unknown_patterns
from mainstay.sources import class_of
from mainstay.store.shelf import Shelf, ShelfReader

Kind = Literal[
    "store_file", "make_dataset", "drop_dataset", "reread", "reclean", "add_feature_set", "new_version", "use_version",
    "new_post", "write_contract", "retire_feature_set", "accept_schema", "record_contract",
]  # fmt: skip


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that applying the file does."""

    kind: Kind
    name: str
    sentence: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that applying the file does, in order; and what it would break."""

    steps: tuple[Step, ...]
    breaks: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


def feature_state(integration: Integration, view_name: str) -> FeatureSetState:
    """The feature set that a view of the file means now."""
    return sets.describe_set(integration.features[view_name], integration.datasets)


def input_of(integration: Integration) -> ModelInput:
    """What `model.input` means now. Raises Refused where its views cannot be the input of one model."""
    return model_input([feature_state(integration, name) for name in integration.model.views])


def plan(works: Works, new: Integration) -> Plan:
    """What applying `new` means here. Reads state, changes nothing.

    The file is stored after the data steps: a plan that was killed half way is planned again, and done again.
    """
    applied = applied_record(works.state)
    old = _before(applied)
    wanted = input_of(new)
    refuse_unknown_patterns(new.model.request_inputs)
    views = meant(new)
    first = [
        one for one in pins.unneeded(works.state, works.registry, views) if pins.lost(one, new.datasets)
    ]  # they could not be kept current on the way
    steps = [_retire_step(one) for one in first]
    for dataset in new.datasets.values():
        steps.extend(_dataset_steps(works, old, new, dataset))
    dropped = set() if old is None else old.datasets.keys() - new.datasets.keys()
    steps.extend(
        Step(kind="drop_dataset", name=name, sentence=f"stop reading {name}; what was stored stays")
        for name in sorted(dropped)
    )
    for one in wanted.sets:
        known = works.state.get("feature_set", one.digest)
        if known is None or msgspec.json.decode(known.body, type=FeatureSetState).retired:
            of = f" of {one.view}" if wanted.several else ""
            beside = " beside the one that answers" if works.registry.answering() is not None else ""
            sentence = f"build feature set {short(one.digest)}{of}{beside}"
            steps.append(Step(kind="add_feature_set", name=one.digest, sentence=sentence))
    made, used = _model_steps(works, new, wanted)
    steps.extend(made)
    promised, warnings = _contract_steps(works, old, new)
    steps.extend(promised)
    if applied is None or (applied.digest, applied.folder) != (new.digest, new.folder):
        steps.append(Step(kind="store_file", name=new.digest, sentence=f"every process runs file {short(new.digest)}"))
    if not api_contract.path_of(new.folder, new.api).is_file() and new.model.inline is not None:
        sentence = f"write contracts/api-{new.api}.json: keep it in git"
        steps.append(Step(kind="write_contract", name=f"api-{new.api}", sentence=sentence))
    steps.extend(used)
    useless = pins.unneeded(works.state, works.registry, views, switched=bool(used))
    steps.extend(_retire_step(one) for one in useless if one not in first)
    breaks = (*pins.broken(works.state, works.registry, new.datasets), *_contract_breaks(works, new, wanted))
    return Plan(
        steps=tuple(steps),
        breaks=breaks,
        warnings=(
            *(() if (lacking := spec.purpose_summary(new.purpose)) is None else (lacking,)),
            *(one for one in tls.judge(new, works.clock.now_us()) if one.verdict is not Verdict.PASS),
            *warnings,
        ),
    )


def _contract_steps(works: Works, old: Integration | None, new: Integration) -> tuple[list[Step], list[Finding]]:
    steps, warnings = [], []
    for dataset in new.datasets.values():
        number, changes = contracts.planned(works.state, old, dataset)
        if changes:
            sentence = contracts.sentence(dataset.name, number, changes)
            steps.append(Step(kind="record_contract", name=dataset.name, sentence=sentence))
            warnings.append(contracts.warning(dataset.name, number, changes))
    return steps, [one for one in warnings if one is not None]


def at_start(planned: Plan) -> Plan:
    """The plan without what only a person may say: that the source's schema is known. A changed file says it too."""
    if any(step.kind == "store_file" for step in planned.steps):
        return planned
    steps = tuple(step for step in planned.steps if step.kind != "accept_schema")
    return msgspec.structs.replace(planned, steps=steps)


def meant(integration: Integration) -> set[str]:
    """Digests of the feature sets that the file's views mean; a view that does not work means none."""
    found = set()
    for name in integration.features:
        with contextlib.suppress(MainstayError):
            found.add(feature_state(integration, name).digest)
    return found


def retire_unneeded(works: Works) -> list[str]:
    """Retires feature sets that nobody needs any more. Returns their digests."""
    gone = pins.unneeded(works.state, works.registry, meant(works.desk.integration))
    for one in gone:
        sets.retire(works.desk, one.digest)
    return [one.digest for one in gone]


def _retire_step(one: FeatureSetState) -> Step:
    sentence = f"retire feature set {short(one.digest)} of {one.view}: no version pins it"
    return Step(kind="retire_feature_set", name=one.digest, sentence=sentence)


def perform(works: Works, new: Integration, planned: Plan) -> list[str]:
    """Performs a plan, step by step; returns a sentence for each. Raises Refused when it would break something.

    What fails on the way leaves the file that was applied before, and the same plan can be performed again.
    """
    if planned.breaks:
        raise Refused(
            "; ".join(finding.sentence for finding in planned.breaks),
            mend=next((finding.mend for finding in planned.breaks if finding.mend), "")
            or "raise `api:` for a new API contract",
        )
    before = applied_record(works.state)
    works.open_desk(new)
    stored = any(step.kind == "store_file" for step in planned.steps)
    done: list[str] = []
    try:
        for step in planned.steps:
            if step.kind == "store_file":
                feature_personal.mark(works.desk)  # before a worker reads the file, and shows by it
                _store_file(works, new, [each.sentence for each in planned.steps])
            else:
                _PERFORM[step.kind](works, new, step)
            done.append(step.sentence)
    except BaseException:
        now = applied_record(works.state)
        if before is not None and now is not None and now.digest == before.digest:
            works.open_desk(read_applied(before))
        raise
    for dataset in new.datasets.values():  # a first version is no news: it is recorded without a step
        _record(works, before, new, dataset)
    feature_personal.mark(works.desk)
    forget = [Write(space="not_applied", name="file", body=None)] if works.state.get("not_applied", "file") else []
    if stored or not done:
        works.state.commit(forget, token=works.lease.token)
    else:
        works.audit("apply", short(new.digest), {"file": new.digest, "steps": done}, forget)
    return done


def _store_file(works: Works, new: Integration, steps: list[str]) -> None:
    """The audit tells of the whole plan here, in one commit with the file; what fails after it is no other file."""
    if works.place.file is None:
        raise NotFound("there is no file to apply", mend="give it: --file PATH")
    record = Applied(
        digest=new.digest,
        folder=new.folder,
        files=spec.file_texts(works.place.file),
        at_us=works.clock.now_us(),
        by=works.by,
        landed_as=_landing_names(works, read_file(works.place.file)),
    )
    write = Shelf(works.state, "applied", Applied).write("file", record)
    works.audit("apply", short(new.digest), {"file": new.digest, "steps": steps}, [write])


def _reread(works: Works, new: Integration, step: Step) -> None:
    """Reads everything at once: a feature set that were built before would be complete with the new columns empty."""
    desk = works.desk
    coming = contracts.number_in(works.state, _before(applied_record(works.state)), new.datasets[step.name])
    runner = Runner(desk, desk.integration.datasets[step.name], contract=coming)
    runner.settle()
    state = desk.dataset_state(step.name)
    since = state.reconciled_us  # a comparison of keys would not see that a column is new
    fresh = msgspec.structs.replace(accepted(state), cursor=None, reconciled_us=works.clock.now_us())
    desk.datasets.put(step.name, fresh, token=desk.token)
    result = runner.run()
    again = msgspec.structs.replace(desk.dataset_state(step.name), reconciled_us=since)
    desk.datasets.put(step.name, again, token=desk.token)
    if result.status in ("blocked", "error", "queued"):
        raise Refused(
            f"all of {step.name} was read again, but its batch is {result.status}",
            mend=f"see `mainstay batch list --dataset {step.name} --waiting`; settle it, then apply again",
        )


def _accept_schema(works: Works, _new: Integration, step: Step) -> None:
    desk = works.desk
    state = desk.dataset_state(step.name)
    desk.datasets.put(step.name, accepted(state), token=desk.token)


def accepted(state: DatasetState) -> DatasetState:
    """The state with the source's schema accepted as it is: no block, no news, and any type at the next read."""
    lost = tuple(one for one in state.drift if one.change == "lost")
    return msgspec.structs.replace(
        state, source_schema=known_names(state), blocked="", misfit="", blocked_mend="", drift=lost
    )


def _reclean(works: Works, new: Integration, step: Step) -> None:
    moment = sets.moment(works.desk, (step.name,))
    reclean(works.desk, Runner(works.desk, new.datasets[step.name]), Moment(moment.ours_us, moment.source_us))


def _add_feature_set(works: Works, new: Integration, step: Step) -> None:
    wanted = next(one for one in input_of(new).sets if one.digest == step.name)
    sets.build(works.desk, sets.add(works.desk, wanted).digest)


def _retire_feature_set(works: Works, _new: Integration, step: Step) -> None:
    sets.retire(works.desk, step.name)


def _new_version(works: Works, new: Integration, _step: Step) -> None:
    works.registry.add(file_version(new, input_of(new), works.clock.now_us(), works.by), by=works.by)


def _new_post(works: Works, new: Integration, _step: Step) -> None:
    again = reposted(works, new)
    if again is not None:
        works.registry.add(again, by=works.by)


def _use_version(works: Works, new: Integration, _step: Step) -> None:
    version = works.registry.add(file_version(new, input_of(new), works.clock.now_us(), works.by), by=works.by)
    works.registry.use(version.number, by=works.by, at_us=works.clock.now_us())


def _write_contract(works: Works, new: Integration, _step: Step) -> None:
    del works
    wanted = input_of(new)
    api_contract.write(
        api_contract.path_of(new.folder, new.api),
        api_contract.build(new, wanted.columns, inline_signature(new, wanted), keys=wanted.keys),
    )


def _record_contract(works: Works, new: Integration, step: Step) -> None:
    _record(works, applied_record(works.state), new, new.datasets[step.name])


def _record(works: Works, before: Applied | None, new: Integration, dataset: Dataset) -> None:
    contracts.record(
        works.state, before, dataset, file=new.digest, at_us=works.clock.now_us(), by=works.by, token=works.lease.token
    )


def _nothing(works: Works, new: Integration, step: Step) -> None:
    """Beginning and ending to read a dataset follow from the stored file."""
    del works, new, step


_PERFORM: dict[Kind, Callable[[Works, Integration, Step], None]] = {
    "make_dataset": _nothing,
    "drop_dataset": _nothing,
    "reread": _reread,
    "reclean": _reclean,
    "accept_schema": _accept_schema,
    "record_contract": _record_contract,
    "add_feature_set": _add_feature_set,
    "retire_feature_set": _retire_feature_set,
    "new_version": _new_version,
    "use_version": _use_version,
    "new_post": _new_post,
    "write_contract": _write_contract,
}


def _before(applied: Applied | None) -> Integration | None:
    if applied is None:
        return None
    try:
        return read_applied(applied)
    except FileError:
        return None


def _read_otherwise(before: Integration, after: Integration, name: str) -> bool:
    """Whether a source that keeps a ledger is declared otherwise, so that what it took may read otherwise now."""
    old, new = before.sources.get(name), after.sources[name]
    able = class_of(new.kind).capabilities
    if old is None or not able.ledger:
        return False
    said = [{key: value for key, value in one.options.items() if key not in able.indifferent} for one in (old, new)]
    return old.kind != new.kind or said[0] != said[1]


def _judged_by(dataset: Dataset) -> tuple[object, ...]:
    """What decides of each row of raw what becomes of it; not what looks at the whole at each read."""
    checks = [check for check in dataset.checks if check.kind not in ("volume", "distribution")]
    return unnamed(dataset), checks, dataset.duplicates


def _dataset_steps(works: Works, before: Integration | None, after: Integration, new: Dataset) -> list[Step]:
    old = None if before is None else before.datasets.get(new.name)
    if before is None or old is None:
        return [Step(kind="make_dataset", name=new.name, sentence=f"begin to read dataset {new.name}")]
    if old.key != new.key:
        raise Refused(
            f"dataset {new.name} had the key {shown_names(old.key)} and would get {shown_names(new.key)}",
            where=f"datasets.{new.name}.key",
            mend="give it a new dataset name: what is stored under the old key stays true",
        )
    steps = []
    if {c.source_name for c in new.columns} - set(raw_columns(old)) or old.table != new.table:
        steps.append(Step(kind="reread", name=new.name, sentence=f"read all of {new.name} again for its new columns"))
    elif otherwise := read_otherwise(old, new):
        steps.append(Step(kind="reread", name=new.name, sentence=f"read all of {new.name} again: {otherwise}"))
    elif _read_otherwise(before, after, new.source):
        sentence = f"read all of {new.name} again, as source {new.source} now says"
        steps.append(Step(kind="reread", name=new.name, sentence=sentence))
    elif _judged_by(old) != _judged_by(new):
        numbers = pins.readers_of(works.state, works.registry, new.name)
        read_by = f"; read by model version {', '.join(map(str, numbers))}" if numbers else ""
        sentence = f"clean and check {new.name} again from raw, in place{read_by}"
        steps.append(Step(kind="reclean", name=new.name, sentence=sentence))
    state = works.state.get("dataset", new.name)
    known = None if state is None else msgspec.json.decode(state.body, type=DatasetState)
    if known is not None and (known.blocked or any(one.change in ("added", "nullable") for one in known.drift)):
        steps.append(
            Step(kind="accept_schema", name=new.name, sentence=f"accept the source's schema of {new.name} as it is")
        )
    return steps


def _model_steps(works: Works, new: Integration, wanted: ModelInput) -> tuple[list[Step], list[Step]]:
    """Steps that make the file's constant or rule a version, and those that let it answer.

    It answers at once where nothing answers yet, or where what answers came from the file and its features are ready.
    """
    again = reposted(works, new)
    posted = []
    if again is not None and all(_differ(one, again) for one in works.registry.versions()):
        sentence = f"make version {again.number} again with the steps of `model.post`; then mainstay model use N"
        posted = [Step(kind="new_post", name=new.model.name, sentence=sentence)]
    if new.model.inline is None:
        return posted, []
    kind = "model served elsewhere" if new.model.inline.kind == "http" else new.model.inline.kind
    draft = file_version(new, wanted, 0, "")
    same = [
        one.number
        for one in works.registry.versions()
        if (one.name, one.digest, one.feature_sets, one.origin, one.retired_us)
        == (draft.name, draft.digest, draft.feature_sets, draft.origin, None)
    ]
    answering = works.registry.answering()
    use = Step(kind="use_version", name=new.model.name, sentence=f"let the {kind} answer")
    later = ""
    if answering is None:
        used = [use]
    elif answering.version in same:
        used = []
    elif works.registry.get(answering.version).origin != "file":
        used, later = [], f"; version {answering.version} still answers"
    elif kind != "constant" and not _ready(works, wanted):
        used, later = [], f"; version {answering.version} answers until its features are there: then apply again"
    else:
        used = [use]
    made = Step(kind="new_version", name=new.model.name, sentence=f"make the {kind} a model version{later}")
    return ([*posted] if same else [*posted, made]), used


def _differ(one: ModelVersion, other: ModelVersion) -> bool:
    return content(one) != content(other) or one.retired_us is not None


def _ready(works: Works, wanted: ModelInput) -> bool:
    """Whether every dataset that its features read was published once, so that building them makes them complete."""
    states = ShelfReader(works.state, "dataset", DatasetState)
    return all((found := states.get(name)) is not None and found.as_of_us is not None for name in wanted.datasets)


def _contract_breaks(works: Works, new: Integration, wanted: ModelInput) -> list[Finding]:
    path = api_contract.path_of(new.folder, new.api)
    if not path.is_file():
        return []
    standing = api_contract.read(path)
    found: list[Finding] = []
    if new.model.inline is not None:
        signature = inline_signature(new, wanted)
        found.extend(
            api_contract.breaks(standing, api_contract.build(new, wanted.columns, signature, keys=wanted.keys))
        )
    else:
        answering = works.registry.answering()
        if answering is not None:
            version = reposted(works, new) or works.registry.get(answering.version)
            now = api_contract.build(new, wanted.columns, version.signature, keys=wanted.keys)
            found.extend(api_contract.breaks(standing, now))
    return [
        msgspec.structs.replace(one, mend=f"raise `api: {new.api}` to {new.api + 1}, or take the change back")
        for one in found
    ]


def read(works: Works) -> Integration:
    """The file on disk that is about to be applied."""
    if works.place.file is None:
        raise NotFound("there is no file to apply", mend="give it: --file PATH")
    file = read_file(works.place.file)
    return with_landing_names(file, _landing_names(works, file))


def _landing_names(works: Works, file: Integration) -> dict[str, dict[str, str]]:
    applied = applied_record(works.state)
    return landing_names(applied, _before(applied), file)


def short(digest: str) -> str:
    """The first 12 digits of a digest, for people."""
    return digest.removeprefix("sha256:")[:12]
