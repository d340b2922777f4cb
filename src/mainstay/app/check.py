"""`mainstay check`: all that can be known before going live. Needs no lease, changes nothing.

`check` looks and hands what it saw to the pure judges: check_sources, check_datasets, check_features, check_model.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mainstay import spec
from mainstay.app import issuers, tls
from mainstay.app.check_datasets import DatasetFacts, judge_dataset, misfits
from mainstay.app.check_features import ViewFacts, compare, read_view
from mainstay.app.check_model import ModelFacts, judge_answer, judge_model
from mainstay.app.check_sample import SAMPLE_ROWS, Rehearsal, rehearse
from mainstay.app.check_sources import SourceFacts, judge_source
from mainstay.app.place import Place, applied_record
from mainstay.app.stores import has_state, open_state
from mainstay.app.wiring import open_sources
from mainstay.core import inputs
from mainstay.core.clock import Clock
from mainstay.core.counts import counted
from mainstay.core.errors import MainstayError
from mainstay.core.inputs import ModelInput
from mainstay.core.nouns import Dataset, Integration
from mainstay.core.ports import Source
from mainstay.core.records import DatasetState, ModelVersion
from mainstay.core.verdicts import Finding, Verdict, worst
from mainstay.models.registry import RegistryReader
from mainstay.serving import contract as api_contract
from mainstay.serving.contract import ApiContract
from mainstay.serving.pairs import combinations
from mainstay.store.shelf import ShelfReader


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """The findings about one part of the integration, the worst first."""

    name: str
    """`file`, `purpose`, `sources`, `datasets`, `features`, `model`, `answer`, `callers` or `tls`."""
    verdict: Verdict
    findings: tuple[Finding, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found, area by area, the worst first."""

    integration: str
    verdict: Verdict
    areas: tuple[Area, ...]
    counts: dict[str, int]
    """Verdict -> how many findings."""

    @property
    def ready(self) -> bool:
        """Whether nothing failed, and everything that had to answer did."""
        return self.verdict not in (Verdict.FAIL, Verdict.ERROR)


@dataclass
class Known:
    """What state says of earlier runs; empty before the first `apply`."""

    applied: str = ""
    datasets: dict[str, DatasetState] = field(default_factory=dict)
    answering: ModelVersion | None = None


def check(place: Place, integration: Integration, clock: Clock) -> Report:
    """Looks at everything that the file names and judges it.

    Args:
        place: Where state lies, if there is any.
        integration: The file as it lies on disk.
        clock: Ours.
    """
    known = read_state(place)
    facts, opened = _look_at_sources(integration, place, clock)
    try:
        looked = _look_at_datasets(integration, facts, opened, known, clock)
        fit = tuple(name for name, one in looked.items() if _readable(one))
        answered = {name: source for name, source in opened.items() if facts[name].health is not None}
        views = {name: read_view(view, integration.datasets) for name, view in integration.features.items()}
        with rehearse(integration, answered, fit, clock) as rehearsal:
            datasets = {name: _with_sample(one, rehearsal) for name, one in looked.items()}
            for view in views.values():
                view.findings.extend(compare(view, rehearsal))
    finally:
        for source in opened.values():
            source.close()
    model, candidate = judge_model(_model_facts(integration, views, known))
    sealed = [*tls.judge(integration, clock.now_us()), *tls.judge_control(integration)]
    return report(
        integration.name,
        {
            "file": _file(integration, known),
            "purpose": _purpose(integration),
            "sources": [one for source in facts.values() for one in judge_source(source)],
            "datasets": [one for dataset in datasets.values() for one in judge_dataset(dataset)],
            "features": [one for view in views.values() for one in view.findings] + _together(integration, views),
            "model": model,
            "answer": list(judge_answer(integration, candidate)),
            **({"callers": list(issuers.judge(integration))} if integration.callers.oidc else {}),
            **({"tls": sealed} if sealed else {}),
        },
    )


def report(name: str, areas: Mapping[str, Iterable[Finding]]) -> Report:
    """The findings in order: the worst area first, in it the worst finding first."""
    made = []
    for area, findings in areas.items():
        ordered = sorted(findings, key=lambda one: -one.verdict.rank)
        made.append(Area(name=area, verdict=worst(one.verdict for one in ordered), findings=tuple(ordered)))
    everything = [one.verdict for area in made for one in area.findings]
    return Report(
        integration=name,
        verdict=worst(everything),
        areas=tuple(sorted(made, key=lambda area: -area.verdict.rank)),
        counts={str(verdict): everything.count(verdict) for verdict in reversed(Verdict)},
    )


# --- looking -------------------------------------------------------------------------------------------------------


def read_state(place: Place) -> Known:
    """What earlier runs left; nothing is made where there is nothing."""
    if not has_state(place.home):
        return Known()
    with contextlib.closing(open_state(place.home)) as state:
        applied = applied_record(state)
        registry = RegistryReader(state)
        answering = registry.answering()
        return Known(
            applied=applied.digest if applied is not None else "",
            datasets=ShelfReader(state, "dataset", DatasetState).all(),
            answering=None if answering is None else registry.get(answering.version),
        )


def _look_at_sources(
    integration: Integration, place: Place, clock: Clock
) -> tuple[dict[str, SourceFacts], dict[str, Source]]:
    facts: dict[str, SourceFacts] = {}
    opened: dict[str, Source] = {}
    for name, config in integration.sources.items():
        try:
            opened |= open_sources({name: config}, place, clock)
            source = opened[name]
            source.health()  # connects, so that the second asking measures the system and not the connecting
            asked = clock.now_us()
            health = source.health()
        except MainstayError as error:
            facts[name] = SourceFacts(config, error=error)
        else:
            facts[name] = SourceFacts(config, source.capabilities, health, asked_us=asked, answered_us=clock.now_us())
    return facts, opened


def _look_at_datasets(
    integration: Integration,
    facts: Mapping[str, SourceFacts],
    opened: Mapping[str, Source],
    known: Known,
    clock: Clock,
) -> dict[str, DatasetFacts]:
    found = {}
    for name, dataset in integration.datasets.items():
        source = facts[dataset.source]
        info, error = None, None
        if source.health is not None:
            try:
                info = opened[dataset.source].describe(dataset.table)
            except MainstayError as raised:
                error = raised
        elif source.error is not None:
            error = _unanswered(dataset, source.error)
        found[name] = DatasetFacts(dataset, source, info, error, state=known.datasets.get(name), now_us=clock.now_us())
    return found


class _Unlooked(MainstayError):
    """A dataset could not be looked at because its source did not answer: the source's finding says why."""

    transient = True


def _unanswered(dataset: Dataset, error: MainstayError) -> MainstayError:
    return _Unlooked(f"source {dataset.source} did not answer, so it was not looked at", mend=error.mend)


def _readable(facts: DatasetFacts) -> bool:
    if facts.info is None:
        return False
    return not any(misfits(facts.dataset, facts.info, facts.source.config.timezone))


def _with_sample(facts: DatasetFacts, rehearsal: Rehearsal) -> DatasetFacts:
    name = facts.dataset.name
    return dataclasses.replace(
        facts,
        sample=rehearsal.samples.get(name),
        sample_error=rehearsal.errors.get(name),
        sample_skipped=rehearsal.skipped.get(name, ""),
    )


def _together(integration: Integration, views: Mapping[str, ViewFacts]) -> list[Finding]:
    """Whether the views of `model.input` can be the input of one model; nothing to say where there is but one."""
    mine = [views[name] for name in integration.model.views]
    if len(mine) == 1:
        return []
    there = [view.state for view in mine if view.state is not None]
    found = list(inputs.misfits(there))
    if found or len(there) < len(mine):
        return found
    given = ModelInput(sets=tuple(there))
    asked = ", ".join(field.name for field in given.keys)
    sentence = f"{len(mine)} views give {counted(len(given.columns), 'column')}; a request names {asked}"
    tried = all(view.by_key for view in mine)
    if tried and not _rows(mine):
        mend = "see that the views' keys mean the same, and that their datasets hold the same keys"
        return [
            Finding(
                check="model.views",
                verdict=Verdict.WARN,
                sentence=f"{sentence}; no rows of the sample meet",
                mend=mend,
            )
        ]
    return [Finding(check="model.views", verdict=Verdict.PASS, sentence=sentence)]


def _model_facts(integration: Integration, views: Mapping[str, ViewFacts], known: Known) -> ModelFacts:
    mine = [views[name] for name in integration.model.views]
    there = [view.state for view in mine if view.state is not None]
    joins = len(there) == len(mine) and not any(inputs.misfits(there))
    return ModelFacts(
        integration=integration,
        features=ModelInput(sets=tuple(there)) if joins else None,
        answering=known.answering,
        contract=_standing(integration),
        rows=_rows(mine),
    )


def _rows(views: Sequence[ViewFacts]) -> list[list[Any]]:
    """The sample's rows as the model would be given them: of several views, rows of pairs that exist."""
    if len(views) == 1:
        return views[0].rows
    parts = [(view.state, view.by_key) for view in views if view.state is not None]
    return [[value for row in one.rows for value in row] for one in combinations(parts, SAMPLE_ROWS)]


def _standing(integration: Integration) -> ApiContract | None:
    path = api_contract.path_of(integration.folder, integration.api)
    return api_contract.read(path) if path.is_file() else None


# --- what needs no looking -----------------------------------------------------------------------------------------


def _file(integration: Integration, known: Known) -> Iterator[Finding]:
    names = f"sources {', '.join(integration.sources)}; datasets {', '.join(integration.datasets)}"
    yield Finding(check="file.read", verdict=Verdict.PASS, sentence=f"the file is right: {names}")
    if not known.applied:
        sentence = "it has not been applied yet: mainstay apply"
    elif known.applied == integration.digest:
        sentence = "it is the file that every process runs"
    else:
        sentence = "it differs from the one that is applied; `mainstay apply` prints what that means"
    yield Finding(check="file.applied", verdict=Verdict.PASS, sentence=sentence)


def _purpose(integration: Integration) -> tuple[Finding, ...]:
    absent = spec.purpose_findings(integration.purpose)
    return absent or (Finding(check="purpose", verdict=Verdict.PASS, sentence="the purpose is stated in full"),)
