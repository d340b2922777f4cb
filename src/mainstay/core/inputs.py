"""What a model answers on: one feature set, or one of each of several feature views.

A key column that several views share is asked of a caller once: its value names a row of each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from mainstay.core.errors import Refused
from mainstay.core.keys import joined_key
from mainstay.core.nouns import ColumnType, Field
from mainstay.core.records import FeatureSetState
from mainstay.core.verdicts import Finding, Verdict


class ModelInput(msgspec.Struct, frozen=True, kw_only=True):
    """The feature sets behind `model.input`, in its order; at least one."""

    sets: tuple[FeatureSetState, ...]

    @property
    def several(self) -> bool:
        """Whether there is more than one view."""
        return len(self.sets) > 1

    @property
    def digest(self) -> str:
        """That of the first view's set."""
        return self.sets[0].digest

    @property
    def also(self) -> tuple[str, ...]:
        """The digests of the other views' sets."""
        return tuple(one.digest for one in self.sets[1:])

    @property
    def columns(self) -> tuple[tuple[str, ColumnType], ...]:
        """Every view's feature columns, one view after the other."""
        return tuple(column for one in self.sets for column in one.columns)

    @property
    def keys(self) -> tuple[Field, ...]:
        """The key columns that a request gives, each once, in the order in which the views name them."""
        found: dict[str, Field] = {}
        for one in self.sets:
            for name, kind in one.key_columns:
                found.setdefault(name, Field(name=name, type=kind, required=True))
        return tuple(found.values())

    @property
    def datasets(self) -> tuple[str, ...]:
        """Every dataset that a view reads, each once."""
        return tuple(dict.fromkeys(name for one in self.sets for name in one.mapping))


def key_places(one: FeatureSetState, keys: Sequence[Field]) -> tuple[int, ...]:
    """Where each key column of a view stands among the key columns of a request."""
    names = [field.name for field in keys]
    return tuple(names.index(name) for name, _ in one.key_columns)


def key_of(one: FeatureSetState, keys: Sequence[Field], texts: Sequence[str]) -> str:
    """A view's own key, out of the texts of a request's key columns."""
    return joined_key([texts[place] for place in key_places(one, keys)])


def person_texts(key: str, columns: Sequence[str]) -> tuple[str, ...]:
    """How a view's key is written where people are named: bare, and with its columns.

    With several views a bare 7 may be a customer's or a product's; `customer_id=7` is not. What was erased under one
    of them stays erased when the file's views change.
    """
    return (key, f"{','.join(columns)}={key}") if columns else (key,)


def misfits(sets: Sequence[FeatureSetState]) -> Iterator[Finding]:
    """Why these views cannot be the input of one model: columns of one name, or a shared key of two types."""
    yield from _keys(sets)
    keys = {name.casefold(): one.view for one in sets for name, _ in one.key_columns}
    seen: dict[str, str] = {}
    for one in sets if len(sets) > 1 else ():
        own = {name.casefold() for name, _ in one.key_columns}
        for name, _ in one.columns:
            other = seen.setdefault(name.casefold(), one.view)
            if other != one.view:
                yield _misfit(f"{other} and {one.view} both give a column {name}", _alias(name, one.view))
            elif name.casefold() in keys and name.casefold() not in own:
                owner = keys[name.casefold()]
                yield _misfit(f"{one.view} gives a column {name}, which is the key of {owner}", _alias(name, one.view))


def _alias(name: str, view: str) -> str:
    return f"give it another name in the SQL of {view}: {name} AS {view}_{name}"


def _keys(sets: Iterable[FeatureSetState]) -> Iterator[Finding]:
    known: dict[str, tuple[str, ColumnType, str]] = {}
    for one in sets:
        for name, kind in one.key_columns:
            first, its, view = known.setdefault(name.casefold(), (name, kind, one.view))
            if first != name:
                sentence = f"the keys {first} of {view} and {name} of {one.view} differ by no more than their case"
                yield _misfit(sentence, f"write `key: {first}` in both, where they are the same key")
            elif its != kind:
                sentence = f"the key {name} is of type {its} in {view} and {kind} in {one.view}"
                yield _misfit(sentence, f"cast it in the SQL of {one.view}, or give it another name there")


def _misfit(sentence: str, mend: str) -> Finding:
    return Finding(check="model.views", verdict=Verdict.FAIL, sentence=sentence, mend=mend)


def model_input(sets: Sequence[FeatureSetState]) -> ModelInput:
    """The sets as one model's input. Raises Refused where they cannot be."""
    found = tuple(misfits(sets))
    if found:
        raise Refused("; ".join(one.sentence for one in found), where="model.input", mend=found[0].mend)
    return ModelInput(sets=tuple(sets))
