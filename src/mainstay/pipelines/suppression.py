"""The suppression list: erased people, by keyed hash, whose rows a source still sends."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mainstay.core.ids import keyed_hash
from mainstay.core.nouns import Dataset
from mainstay.core.ports import Write
from mainstay.core.sql import identifier, literal
from mainstay.pipelines import stage
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.features import ALL, mapping_sql


def mapping_of(desk: Desk, dataset: Dataset) -> str:
    """The expression by which rows of a dataset belong to the answering key, over cleaned columns."""
    view = desk.integration.features.get(desk.integration.model.input)
    for state in desk.live_feature_sets(dataset.name):
        mapping = state.mapping[dataset.name]
        if mapping != ALL and (view is None or state.view == view.name):
            return mapping_sql(dataset, mapping)
    return f"CAST({identifier(dataset.key)} AS VARCHAR)"


def suppressed_keys(desk: Desk, form: stage.Shape, matches: Callable[[str], bool]) -> dict[str, str]:
    """Dataset keys in `stage` whose person is on the suppression list, each with the key that says so."""
    cleaned = ", ".join(f"{one.value_sql} AS {identifier(one.name)}" for one in form.cleaning.columns)
    mapping = mapping_of(desk, form.dataset)
    found = desk.current.sql(f"SELECT _k, {mapping} FROM (SELECT _k, {cleaned} FROM stage)")
    return {
        str(k): person for k, *texts in ((k, str(person), str(k)) for k, person in found)
        for person in texts if matches(person)
    }  # fmt: skip


class Suppressing(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken out of one read because it is of erased people."""

    erased: int = 0
    """Versions not seen before: to be counted as erased."""
    noops: int = 0
    """Versions that were counted before."""
    writes: tuple[Write, ...] = ()
    """Remember the new ones; to be committed with their count."""


def suppress(desk: Desk, form: stage.Shape) -> Suppressing:
    """Takes erased people's versions out of `stage`; one that was counted before is a no-op, as equal re-reads are."""
    people = desk.suppressed.all()
    owners = suppressed_keys(desk, form, lambda text: keyed_hash(desk.secret, text) in people) if people else {}
    if not owners:
        return Suppressing()
    listed = ", ".join(literal(key) for key in sorted(owners))
    erased = noops = 0
    changed: dict[str, dict[str, str]] = {}
    for k, digest, n in desk.current.sql(
        f"SELECT _k, {stage.winner_sql(form, 'CAST(_digest AS VARCHAR)')}, count(*) FROM stage "
        f"WHERE _k IN ({listed}) GROUP BY _k"
    ):
        person = keyed_hash(desk.secret, owners[str(k)])
        row, version = seen_as(desk, form.dataset.name, str(k), str(digest))
        if people[person].seen.get(row) == version:
            noops += int(n)
        else:
            erased += int(n)
            changed.setdefault(person, dict(people[person].seen))[row] = version
    stage.suppress(desk.current, set(owners))
    writes = [
        desk.suppressed.write(person, msgspec.structs.replace(people[person], seen=seen))
        for person, seen in changed.items()
    ]
    return Suppressing(erased=erased, noops=noops, writes=tuple(writes))


def seen_as(desk: Desk, dataset: str, k: str, digest: str) -> tuple[str, str]:
    """A row and its version, by keyed hashes: neither tells a key or a value."""
    return keyed_hash(desk.secret, f"{dataset}\0{k}"), keyed_hash(desk.secret, f"{dataset}\0{k}\0{digest}")
