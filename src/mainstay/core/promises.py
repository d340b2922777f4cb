"""What a dataset promises to whoever reads it, as it was promised at one time: records that state keeps for good.

| space      | name                      | record          | written by |
|------------|---------------------------|-----------------|------------|
| `contract` | dataset/number, 6 digits  | DatasetContract | apply      |
"""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.core.nouns import Check, ColumnType, Freshness


class PromisedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column as its readers see it. Its checks stand in `Promise.checks`."""

    name: str
    type: ColumnType
    required: bool = False
    pii: bool = False
    unit: str = ""
    description: str = ""


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """Schema, checks, freshness and owner: where the rows come from and how they are cleaned is nobody's business."""

    key: Any
    """The key's column; a list where it has several."""
    columns: tuple[PromisedColumn, ...]
    checks: tuple[Check, ...] = ()
    freshness: Freshness = Freshness()
    owner: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between two versions."""

    sentence: str
    breaking: bool
    """Whether a reader who relied on the version before may be let down."""


class DatasetContract(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a dataset contract."""

    v: int = 1
    dataset: str
    number: int
    """Counts from 1."""
    digest: str
    """Over `promise`."""
    at_us: int
    by: str = ""
    """Who applied it."""
    file: str
    """Digest of the file that it was applied with."""
    breaking: bool = False
    changes: tuple[Change, ...] = ()
    """Since the version before."""
    promise: Promise
