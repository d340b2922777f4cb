"""The record of one judged key, which the journal keeps."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mainstay.core.verdicts import Verdict


class UsedRow(msgspec.Struct, frozen=True, kw_only=True):
    """The row of one feature view, where a model answers on several."""

    view: str
    feature_set: str
    key: str | None
    """This view's key; None after erasure."""
    columns: tuple[str, ...] = ()
    """Its key columns."""
    found: bool = False
    """Whether there was a row with values."""
    verdict: Verdict
    """On this row and what it was made of, by itself."""
    sentence: str = ""
    plan: int = 0
    positions: dict[str, list[int]] = {}
    as_of_us: int | None = None
    event_us: int | None = None
    landed_us: int | None = None


ReceiptOutcome = Literal["answered", "fallback", "refused"]


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one judged key. Everything needed to give the same answer again, or to judge it again."""

    v: int = 1
    id: str
    at_us: int
    integration: str
    api: int
    key: str | None
    """The business key, of several columns as `core.keys.joined_key` writes it; None for `rows`, and after erasure."""
    caller: str
    """The API key's id, never the key."""
    request: str
    trace: str = ""
    """The trace that the caller's `traceparent` names; empty where it named none."""
    outcome: ReceiptOutcome
    status: int
    reason: str = ""
    """The policy that decided: `on_warn`, `on_stale`, `on_held`, `on_missing`, `on_deleted`, `on_error`; or empty."""
    verdict: Verdict
    sentence: str = ""
    inputs: dict[str, Any] | None = None
    """Model inputs by name, before `model.pre`; None where no row was found, and after erasure (see `erased_us`)."""
    fed: dict[str, Any] | None = None
    """What the model itself ate, where `model.pre` made it of the inputs; None where it is the inputs themselves."""
    imputed: dict[str, Any] = {}
    """Inputs that were null and what `model.pre` put in their place."""
    filled: dict[str, list[str]] = {}
    """Dataset -> its columns whose `fill` stood in for an absent value in the rows behind the feature row."""
    feature_set: str = ""
    plan: int = 0
    """The feature row's position: the number of the publish plan that wrote it."""
    positions: dict[str, list[int]] = {}
    """Dataset -> [batch, ordinal] of its newest row in the feature row; of several rows, the newest of all."""
    views: tuple[UsedRow, ...] = ()
    """The row of each feature view, where the model answers on several."""
    as_of_us: int | None = None
    age_us: int | None = None
    event_us: int | None = None
    landed_us: int | None = None
    policy: dict[str, Any] = {}
    """The facts a refusal or fallback was judged from, enough to judge again."""
    version: int = 0
    artifact: str = ""
    runtime: str = ""
    build: str = ""
    cleaning: str = ""
    output: dict[str, Any] | None = None
    raw: dict[str, Any] | None = None
    """The model's own outputs, where `model.post` made others of them; None where it is the output itself."""
    arm: Literal["champion", "challenger", "holdout"] = "champion"
    latency_us: int = 0
    batch: int = 1
    """Rows that the model was given at once, this one among them. Above 1, linear algebra may round the last bit
    otherwise than for the row alone."""
    erased_us: int | None = None
