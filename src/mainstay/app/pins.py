"""Feature sets and who needs them: which versions pin one, which the new file can still serve, which may go."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from mainstay.core.errors import MainstayError
from mainstay.core.nouns import Dataset, FeatureView
from mainstay.core.ports import StateReader
from mainstay.core.records import FeatureSetState
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.registry import RegistryReader
from mainstay.pipelines import feature_sql


def live_sets(state: StateReader) -> tuple[FeatureSetState, ...]:
    """Feature sets that are kept current."""
    every = (msgspec.json.decode(item.body, type=FeatureSetState) for item in state.scan("feature_set"))
    return tuple(one for one in every if not one.retired)


def pins(registry: RegistryReader, *, switched: bool = False) -> dict[str, tuple[int, ...]]:
    """Feature set -> the versions that pin it: those not retired, the one that answers and the one before it.

    `switched`: as it will be once another version answers, when the one that answers now is the one before it.
    """
    answering = registry.answering()
    kept = set() if answering is None else {answering.version, None if switched else answering.previous}
    found: dict[str, tuple[int, ...]] = {}
    for version in registry.versions():
        if version.retired_us is None or version.number in kept:
            for digest in version.feature_sets:
                found[digest] = (*found.get(digest, ()), version.number)
    return found


def unneeded(
    state: StateReader, registry: RegistryReader, meant: Collection[str], *, switched: bool = False
) -> tuple[FeatureSetState, ...]:
    """Live feature sets that no version pins and that are not `meant`, the digests of the file's own views."""
    needed = pins(registry, switched=switched)
    return tuple(one for one in live_sets(state) if one.digest not in needed and one.digest not in meant)


def readers_of(state: StateReader, registry: RegistryReader, dataset: str) -> tuple[int, ...]:
    """Versions whose feature sets read the dataset."""
    needed = pins(registry)
    numbers = {number for one in live_sets(state) if dataset in one.mapping for number in needed.get(one.digest, ())}
    return tuple(sorted(numbers))


def lost(one: FeatureSetState, datasets: Mapping[str, Dataset]) -> str:
    """Why these datasets cannot serve the feature set as it is; empty when they can."""
    missing = [name for name in one.mapping if name not in datasets]
    if missing:
        return f"what the file no longer has: {', '.join(missing)}"
    try:
        _, columns = feature_sql.describe(
            FeatureView(name=one.view, key=one.key, mapping=one.mapping, sql=one.sql), datasets
        )
    except MainstayError as error:
        return f"what the file no longer has: {error.sentence}"
    now = dict(columns)
    changed = [f"{name} was {kind} and becomes {now.get(name)}" for name, kind in one.columns if now.get(name) != kind]
    return f"columns of another type: {', '.join(changed)}" if changed else ""


def broken(state: StateReader, registry: RegistryReader, datasets: Mapping[str, Dataset]) -> list[Finding]:
    """Pinned feature sets that the new datasets could not serve."""
    needed = pins(registry)
    found = []
    for one in live_sets(state):
        why = lost(one, datasets) if one.digest in needed else ""
        if why:
            numbers = ", ".join(map(str, needed[one.digest]))
            found.append(
                Finding(
                    check="apply.features",
                    verdict=Verdict.FAIL,
                    sentence=f"version {numbers} reads {why}",
                    mend=f"keep the column as it was, or retire the version first: mainstay model retire {numbers}",
                )
            )
    return found
