"""The suppression list: erased people, by keyed hash, whose rows a source still sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from mainstay.core.ids import keyed_hash
from mainstay.core.inputs import person_texts
from mainstay.core.keys import typed_key
from mainstay.core.nouns import Dataset
from mainstay.core.ports import Write
from mainstay.core.sql import identifier, literal
from mainstay.pipelines import stage
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.features import ALL, mapping_sql


class Owner(NamedTuple):
    """An expression over cleaned columns that gives a key by which rows of a dataset belong to somebody."""

    columns: tuple[str, ...]
    """The key columns of the view whose key it is; empty for a dataset's own key that is no view's."""
    sql: str


class Person(NamedTuple):
    """Whom a command names: by a bare key, or by one with its columns (`customer_id=7`)."""

    columns: tuple[str, ...]
    """Empty for a bare key: it is any view's."""
    key: str


def person_of(desk: Desk, named: str) -> Person:
    """Whom a text names. A column counts as one where a view has it for its key."""
    for columns in key_columns(desk):
        prefix = f"{','.join(columns)}="
        if named.startswith(prefix):
            return Person(columns, named.removeprefix(prefix))
    return Person((), named)


def typed_person(desk: Desk, typed: str) -> str:
    """Whom a person's command names, as `person_of` reads it: `order_id=7,line_no=2` becomes that key's own text.

    A key of several columns may be typed by its columns; every other text stands for itself.
    """
    views = key_columns(desk)
    own = [dataset.key_names for dataset in desk.integration.datasets.values()]
    for names in dict.fromkeys((*views, *own)):
        if len(names) < 2 or typed.startswith((f"{','.join(names)}=[", "[")):
            continue
        try:
            key = typed_key(names, typed)
        except ValueError:
            continue
        return f"{','.join(names)}={key}" if names in views else key
    return typed


def key_columns(desk: Desk) -> list[tuple[str, ...]]:
    """The key columns of the views of the model, and of every feature set that was ever kept; each once."""
    model = desk.integration.model.views
    states = sorted(desk.feature_sets.all().values(), key=lambda one: one.view not in model)
    return list(dict.fromkeys(one.key_names for one in states))


def owners_of(desk: Desk, dataset: Dataset) -> tuple[Owner, ...]:
    """Every way in which rows of a dataset belong to a key: by each view of the model, and last by its own key."""
    views = [name for name in desk.integration.model.views if name in desk.integration.features]
    found = []
    for state in desk.live_feature_sets(dataset.name):
        mapping = state.mapping[dataset.name]
        if mapping != ALL and (state.view in views or not views):
            found.append(Owner(state.key_names, mapping_sql(dataset, mapping)))
    own = next((columns for columns in key_columns(desk) if columns == dataset.key_names), ())
    return (*dict.fromkeys(found), Owner(own, "_k"))


def belongs_sql(desk: Desk, dataset: Dataset, person: Person) -> str:
    """A condition over current's rows: whether one is the person's."""
    wanted = literal(person.key)
    found = [
        f"{owner.sql} = {wanted}"
        for owner in owners_of(desk, dataset)
        if not person.columns or owner.columns == person.columns
    ]
    return " OR ".join(f"({one})" for one in found) or "FALSE"


def owns_itself(desk: Desk, dataset: Dataset, person: Person) -> bool:
    """Whether the dataset's own key may name the person."""
    return not person.columns or owners_of(desk, dataset)[-1].columns == person.columns


def online_key(person: Person, columns: tuple[str, ...]) -> str | None:
    """The person's key in a feature set with these key columns; None where it has another key."""
    return person.key if not person.columns or person.columns == columns else None


def suppressed_keys(desk: Desk, form: stage.Shape, matches: Callable[[str], bool]) -> dict[str, str]:
    """Dataset keys in `stage` whose person is on the suppression list, each with the text that says so."""
    cleaned = ", ".join(f"{one.value_sql} AS {identifier(one.name)}" for one in form.cleaning.columns)
    owners = owners_of(desk, form.dataset)
    asked = ", ".join(owner.sql for owner in owners)
    found: dict[str, str] = {}
    for keys in desk.current.sql(f"SELECT {asked} FROM (SELECT _k, {cleaned} FROM stage)"):
        for text in named_by(owners, keys):
            if matches(text):
                found[str(keys[-1])] = text
    return found


def named_by(owners: Sequence[Owner], keys: Sequence[object]) -> Iterator[str]:
    """Every text that names somebody whose row it is, out of the owners' values."""
    for owner, key in zip(owners, keys, strict=True):
        yield from () if key is None else person_texts(str(key), owner.columns)


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
