"""`mainstay apply`: what a changed file means, as a list of small records; and performing that very list."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay import spec
from mainstay.app.place import applied_record, read_applied, read_file
from mainstay.app.wiring import Works
from mainstay.core.errors import FileError, MainstayError, NotFound, Refused
from mainstay.core.nouns import Dataset, Field, Integration, Signature
from mainstay.core.records import Applied, FeatureSetState
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.registry import inline_draft
from mainstay.pipelines import feature_sql, sets
from mainstay.pipelines.features import Moment
from mainstay.pipelines.rebuild import reclean
from mainstay.pipelines.run import Runner
from mainstay.serving import contract as api_contract

Kind = Literal[
    "store_file", "make_dataset", "drop_dataset", "reread", "reclean", "add_feature_set", "new_version", "use_version",
    "write_contract", "retire_feature_set", "accept_schema",
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


def plan(works: Works, new: Integration) -> Plan:
    """What applying `new` means here. Reads state, changes nothing."""
    applied = applied_record(works.state)
    old = _before(applied)
    steps: list[Step] = []
    for name, dataset in new.datasets.items():
        steps.extend(_dataset_steps(works, None if old is None else old.datasets.get(name), dataset))
    dropped = set() if old is None else old.datasets.keys() - new.datasets.keys()
    steps.extend(
        Step(kind="drop_dataset", name=name, sentence=f"stop reading {name}; what was stored stays")
        for name in sorted(dropped)
    )
    breaks: list[Finding] = list(_broken_sets(works, new))
    wanted = feature_state(new, new.model.input)
    known = works.state.get("feature_set", wanted.digest)
    if known is None or msgspec.json.decode(known.body, type=FeatureSetState).retired:
        beside = " beside the one that answers" if works.registry.answering() is not None else ""
        steps.append(
            Step(
                kind="add_feature_set", name=wanted.digest, sentence=f"build feature set {short(wanted.digest)}{beside}"
            )
        )
    steps.extend(_model_steps(works, new, wanted))
    breaks.extend(_contract_breaks(works, new, wanted))
    if not api_contract.path_of(new.folder, new.api).is_file() and new.model.inline is not None:
        steps.append(
            Step(
                kind="write_contract",
                name=f"api-{new.api}",
                sentence=f"write contracts/api-{new.api}.json: keep it in git",
            )
        )
    if applied is None or applied.digest != new.digest:
        steps.insert(
            0, Step(kind="store_file", name=new.digest, sentence=f"every process runs file {short(new.digest)}")
        )
    return Plan(steps=tuple(steps), breaks=tuple(breaks), warnings=spec.purpose_findings(new.purpose))


def perform(works: Works, new: Integration, planned: Plan) -> list[str]:
    """Performs a plan, step by step; returns a sentence for each. Raises Refused when it would break something."""
    if planned.breaks:
        raise Refused(
            "; ".join(finding.sentence for finding in planned.breaks),
            mend=next((finding.mend for finding in planned.breaks if finding.mend), "")
            or "raise `api:` for a new API contract",
        )
    works.open_desk(new)
    done = []
    for step in planned.steps:
        _perform_step(works, new, step)
        done.append(step.sentence)
    works.audit("apply", {"file": new.digest, "steps": done})
    return done


def _perform_step(works: Works, new: Integration, step: Step) -> None:
    desk = works.desk
    if step.kind == "store_file":
        if works.place.file is None:
            raise NotFound("there is no file to apply", mend="give it: --file PATH")
        record = Applied(
            digest=new.digest,
            folder=new.folder,
            files=spec.file_texts(works.place.file),
            at_us=works.clock.now_us(),
            by=works.by,
        )
        from mainstay.store.shelf import Shelf

        Shelf(works.state, "applied", Applied).put("file", record, token=works.lease.token)
    elif step.kind == "reread":
        state = desk.dataset_state(step.name)
        desk.datasets.put(
            step.name, msgspec.structs.replace(state, cursor=None, source_schema=(), blocked=""), token=desk.token
        )
    elif step.kind == "accept_schema":
        state = desk.dataset_state(step.name)
        desk.datasets.put(step.name, msgspec.structs.replace(state, source_schema=(), blocked=""), token=desk.token)
    elif step.kind == "reclean":
        moment = sets.moment(desk, (step.name,))
        reclean(desk, Runner(desk, new.datasets[step.name]), Moment(moment.ours_us, moment.source_us))
    elif step.kind == "add_feature_set":
        state_of = sets.add(desk, feature_state(new, new.model.input))
        sets.build(desk, state_of.digest)
    elif step.kind in ("new_version", "use_version"):
        _perform_model(works, new)
    elif step.kind == "write_contract":
        wanted = feature_state(new, new.model.input)
        signature = inline_signature(new, wanted)
        api_contract.write(
            api_contract.path_of(new.folder, new.api),
            api_contract.build(new, wanted.columns, signature, key_type=wanted.key_type),
        )


def _perform_model(works: Works, new: Integration) -> None:
    if new.model.inline is None:
        return
    wanted = feature_state(new, new.model.input)
    works.registry.from_file(
        new.model.inline,
        name=new.model.name,
        inputs=_inline_inputs(wanted),
        feature_set=wanted.digest,
        at_us=works.clock.now_us(),
        by=works.by,
    )


def inline_signature(new: Integration, wanted: FeatureSetState) -> Signature:
    """The signature of a constant (no inputs) or a rule (every feature column that it may use)."""
    inline = new.model.inline
    if inline is None:
        raise NotFound("the file has neither a constant nor a rule", mend="mainstay model add FILE")
    return Signature(inputs=() if inline.kind == "constant" else _inline_inputs(wanted), outputs=inline.outputs)


def _inline_inputs(wanted: FeatureSetState) -> tuple[Field, ...]:
    return tuple(Field(name=name, type=kind) for name, kind in wanted.columns)


def _before(applied: Applied | None) -> Integration | None:
    if applied is None:
        return None
    try:
        return read_applied(applied)
    except FileError:
        return None


def _dataset_steps(works: Works, old: Dataset | None, new: Dataset) -> list[Step]:
    if old is None:
        return [Step(kind="make_dataset", name=new.name, sentence=f"begin to read dataset {new.name}")]
    if old.key != new.key:
        raise Refused(
            f"dataset {new.name} had the key {old.key} and would get {new.key}",
            where=f"datasets.{new.name}.key",
            mend="give it a new dataset name: what is stored under the old key stays true",
        )
    steps = []
    if {c.source_name for c in new.columns} - {c.source_name for c in old.columns} or old.table != new.table:
        steps.append(Step(kind="reread", name=new.name, sentence=f"read all of {new.name} again for its new columns"))
    elif (old.columns, old.checks, old.duplicates) != (new.columns, new.checks, new.duplicates):
        steps.append(
            Step(kind="reclean", name=new.name, sentence=f"clean and check {new.name} again from raw, in place")
        )
    state = works.state.get("dataset", new.name)
    if state is not None and msgspec.json.decode(state.body).get("blocked"):
        steps.append(
            Step(kind="accept_schema", name=new.name, sentence=f"accept the source's schema of {new.name} as it is")
        )
    return steps


def _broken_sets(works: Works, new: Integration) -> list[Finding]:
    """Feature sets that a version not retired still pins and that the new datasets could not serve."""
    found = []
    pinned = {
        version.feature_set: version.number for version in works.registry.versions() if version.retired_us is None
    }
    for item in works.state.scan("feature_set"):
        one = msgspec.json.decode(item.body, type=FeatureSetState)
        if one.retired or one.digest not in pinned or one.view not in new.features:
            continue
        view = msgspec.structs.replace(new.features[one.view], sql=one.sql, mapping=one.mapping)
        try:
            missing = [name for name in one.mapping if name not in new.datasets]
            if not missing:
                feature_sql.describe(view, new.datasets)
        except MainstayError as error:
            missing = [error.sentence]
        if missing:
            found.append(
                Finding(
                    check="apply.features",
                    verdict=Verdict.FAIL,
                    sentence=f"version {pinned[one.digest]} reads what the file no longer has: {', '.join(missing)}",
                    mend=f"keep the column, or `mainstay model retire {pinned[one.digest]}` first",
                )
            )
    return found


def _model_steps(works: Works, new: Integration, wanted: FeatureSetState) -> list[Step]:
    if new.model.inline is None:
        return []
    steps = []
    draft = inline_draft(
        new.model.inline, name=new.model.name, inputs=_inline_inputs(wanted), feature_set=wanted.digest, at_us=0, by=""
    )
    if not any(
        (one.digest, one.feature_set, one.retired_us) == (draft.digest, draft.feature_set, None)
        for one in works.registry.versions()
    ):
        steps.append(
            Step(kind="new_version", name=new.model.name, sentence=f"make the {new.model.inline.kind} a model version")
        )
    answering = works.registry.answering()
    if answering is None:
        steps.append(Step(kind="use_version", name=new.model.name, sentence=f"let the {new.model.inline.kind} answer"))
    return steps


def _contract_breaks(works: Works, new: Integration, wanted: FeatureSetState) -> list[Finding]:
    path = api_contract.path_of(new.folder, new.api)
    if not path.is_file():
        return []
    standing = api_contract.read(path)
    found: list[Finding] = []
    if new.model.inline is not None:
        signature = inline_signature(new, wanted)
        found.extend(
            api_contract.breaks(standing, api_contract.build(new, wanted.columns, signature, key_type=wanted.key_type))
        )
    else:
        answering = works.registry.answering()
        if answering is not None:
            version = works.registry.get(answering.version)
            now = api_contract.build(new, wanted.columns, version.signature, key_type=wanted.key_type)
            found.extend(api_contract.breaks(standing, now))
    return [
        msgspec.structs.replace(one, mend=f"raise `api: {new.api}` to {new.api + 1}, or take the change back")
        for one in found
    ]


def read(works: Works) -> Integration:
    """The file on disk that is about to be applied."""
    if works.place.file is None:
        raise NotFound("there is no file to apply", mend="give it: --file PATH")
    return read_file(works.place.file)


def short(digest: str) -> str:
    """The first 12 digits of a digest, for people."""
    return digest.removeprefix("sha256:")[:12]
