"""Training sets: what an integration's stores know, handed to `retraining`.

The lease is needed only to bring history up to date first, by whoever owns it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mainstay.app.answers import Readers, readers
from mainstay.app.commands import ask
from mainstay.app.place import Place, need_applied
from mainstay.core.clock import SECOND, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import NotFound, Refused
from mainstay.core.ids import keyed_hash
from mainstay.core.inputs import person_texts
from mainstay.core.keys import joined_key, shown_names
from mainstay.core.nouns import Integration
from mainstay.core.records import Answering, BatchRecord, DatasetState, Event, FeatureSetState, ModelVersion
from mainstay.pipelines import archive, stage
from mainstay.pipelines.fit import kinds_of_landed
from mainstay.pipelines.history import writer_of
from mainstay.pipelines.publish import COMPUTED
from mainstay.pipelines.retention import HISTORY_US
from mainstay.retraining.joined import Part, make_joined
from mainstay.retraining.labels import LabelFile
from mainstay.retraining.placing import Evaluation
from mainstay.retraining.training_set import Facts, Options, Progress, TrainingSet, make
from mainstay.store.shelf import ShelfReader


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for."""

    labels: Path
    at: str
    key: str | None = None
    """The label file's key column, or columns with commas between; None: it is called as the feature set's key."""
    timezone: str | None = None
    version: int | None = None
    """The model version whose feature set is used; None: the one that answers."""
    out: Path | None = None
    """None: only planned."""
    memory: str = "512MB"


def training_set(
    place: Place,
    wanted: Wanted,
    progress: Progress = lambda _done, _all: None,
    *,
    timeout_us: int = 60 * SECOND,
) -> TrainingSet:
    """Makes the training set, or plans it when there is no `out`; planning changes nothing."""
    if wanted.out is not None:
        if wanted.out.absolute() == wanted.labels.absolute():
            raise Refused("the training set would take the place of its labels", mend="give another file: --out FILE")
        follow(place, timeout_us)
    with readers(place) as found:
        integration = need_applied(found.state)
        states, version = feature_sets(found, integration, wanted.version)
        options = Options(out=wanted.out, memory=wanted.memory)
        if len(states) > 1:
            return make_joined(_parts(found, integration, states, version, wanted), options, progress)
        (state,) = states
        labels = LabelFile(
            path=wanted.labels,
            key=_label_key(wanted.key, state),
            at=wanted.at,
            key_types=tuple(kind for _, kind in state.key_columns),
            timezone=wanted.timezone,
        )
        return make(
            facts_of(found, integration, state, version),
            labels,
            options,
            progress,
        )


def _parts(
    found: Readers,
    integration: Integration,
    states: Sequence[FeatureSetState],
    version: ModelVersion | None,
    wanted: Wanted,
) -> list[Part]:
    """Each view with the column of the label file that has its key, called as the key is."""
    names = tuple(dict.fromkeys(name for state in states for name in state.key_names))
    if wanted.key is not None and names != (wanted.key,):
        raise Refused(
            f"the model answers on several views, whose keys are {', '.join(names)}",
            mend="leave --key out, and call the label file's key columns so",
        )
    return [
        Part(
            facts=facts_of(found, integration, state, version),
            wanted=LabelFile(
                path=wanted.labels,
                key=state.key,
                at=wanted.at,
                key_types=tuple(kind for _, kind in state.key_columns),
                timezone=wanted.timezone,
                leave=tuple(name for name in names if name not in state.key_names),
            ),
        )
        for state in states
    ]


def _label_key(named: str | None, state: FeatureSetState) -> str:
    """The label file's key columns: as `--key` says, in the key's order, else as the feature set's."""
    if named is None:
        return state.key
    columns = [name.strip() for name in named.split(",")] if len(state.key_names) > 1 else [named]
    if len(columns) != len(state.key_names):
        raise Refused(
            f"the key is {shown_names(state.key)}, and --key names {counted(len(columns), 'column')}",
            mend=f"name one for each, in this order: --key {','.join(state.key_names)}",
        )
    return joined_key(columns)


def follow(place: Place, timeout_us: int) -> None:
    """Brings history up to what is published, by whoever owns the lease."""
    while True:
        done = ask(place, "flush", {}, timeout_us=timeout_us)
        if not any(done["rows"].values()) and not done["journal"]["behind"]:
            return


def behind(place: Place) -> dict[str, int]:
    """Dataset -> batches that are published and not yet in history."""
    with readers(place) as found:
        states = ShelfReader(found.state, "dataset", DatasetState).all()
        late = {name: one.published - found.history.sequence(name, writer_of(name)) for name, one in states.items()}
    return {name: batches for name, batches in late.items() if batches > 0}


def feature_sets(
    found: Readers, integration: Integration, number: int | None
) -> tuple[tuple[FeatureSetState, ...], ModelVersion | None]:
    """The feature sets of a model version: the one asked for, else the one that answers; and that version.

    For a version that reads no features: the newest set of each of the model's views.
    """
    answering = ShelfReader(found.state, "answering", Answering).get("champion")
    wanted = number or (answering.version if answering else 0)
    version = ShelfReader(found.state, "model", ModelVersion).get(f"{wanted:06d}")
    if number is not None and version is None:
        raise NotFound(f"there is no model version {number}", mend="mainstay model list")
    sets = ShelfReader(found.state, "feature_set", FeatureSetState)
    pinned = [sets.get(digest) for digest in version.feature_sets] if version is not None else []
    if pinned and None not in pinned:
        return tuple(one for one in pinned if one is not None), version
    newest = []
    for view in integration.model.views:
        mine = [one for one in sets.all().values() if one.view == view and not one.retired]
        if not mine:
            raise NotFound("no feature set was ever made here", mend="mainstay apply, then mainstay run")
        newest.append(max(mine, key=lambda one: (one.complete, one.plan)))
    return tuple(newest), version


def facts_of(found: Readers, integration: Integration, state: FeatureSetState, version: ModelVersion | None) -> Facts:
    """Everything that a training set is made of."""
    now_us = SystemClock().now_us()
    batches = ShelfReader(found.state, "batch", BatchRecord)
    inputs = version.signature.inputs if version is not None else ()
    return Facts(
        history=found.history,
        datasets=integration.datasets,
        feature_set=state,
        forms=_forms(found, integration, state),
        settled={
            name: {one.number: one for one in batches.all(f"{name}/").values() if one.settled_us is not None}
            for name in state.mapping
        },
        evaluations=tuple(_evaluations(found, state.digest)),
        now_us=now_us,
        kept_since_us=now_us - integration.settings.retention_us.get("history", HISTORY_US),
        numbers=frozenset(field.name for field in inputs if field.type == "number"),
        erased=_erased(found, state),
    )


def _forms(found: Readers, integration: Integration, state: FeatureSetState) -> dict[str, stage.Shape]:
    forms = {}
    for name in state.mapping:
        dataset = integration.datasets.get(name)
        if dataset is None:
            raise NotFound(f"the feature set reads {name}, which the applied file no longer has", mend="bring it back")
        numbers = found.landing.numbers(name)
        if numbers:
            kinds = kinds_of_landed(dataset, found.landing.open(name, numbers[-1]).schema)
            forms[name] = stage.shape(dataset, kinds, integration.sources[dataset.source].timezone)
    return forms


def _evaluations(found: Readers, digest: str) -> list[Evaluation]:
    told = []
    for row in archive.history_rows(found.history, archive.EVENTS, ("exact", "record"), where=("kind", COMPUTED)):
        event = archive.decoded(row["exact"], row["record"], Event)
        if event.body.get("feature_set") == digest:
            told.append(
                Evaluation(
                    at_us=event.at_us,
                    source_us=event.body["as_of_us"],
                    dataset=event.body["dataset"],
                    cause=event.body["cause"],
                    every_key=event.body["keys"] < 0,
                )
            )
    return told


def _erased(found: Readers, state: FeatureSetState) -> Callable[[str], bool] | None:
    names = frozenset(item.name for item in found.state.scan("suppressed"))
    if not names:
        return None
    secret = found.place.home.secret()
    return lambda key: any(keyed_hash(secret, text) in names for text in person_texts(key, state.key_names))
