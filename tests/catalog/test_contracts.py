"""Which change of a dataset contract breaks for its readers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mainstay.catalog.contracts import compare, digest_of, promise_of, said
from mainstay.core.clock import HOUR, MINUTE
from mainstay.core.nouns import Check, Column, Dataset, Freshness
from mainstay.core.promises import Promise

CHECKS = (
    Check(name="tenure.min", kind="min", column="tenure", args={"value": 0}),
    Check(name="plan.values", kind="values", column="plan", args={"values": ["a", "b"]}),
    Check(name="plan.length", kind="length", column="plan", args={"min": 1, "max": 5}),
    Check(name="plan.pattern", kind="pattern", column="plan", args={"regex": "[a-z]"}),
    Check(name="row_count", kind="row_count", args={"min": 10}, on_fail="block", max_share=None),
    Check(name="few", kind="max", column="tenure", args={"value": 100}, max_share=0.1),
)
DATASET = Dataset(
    name="customers", source="crm", table="customers", key="id",
    columns=(
        Column(name="id", type="integer", source_name="id", required=True),
        Column(name="tenure", type="integer", source_name="tenure", unit="month"),
        Column(name="plan", type="string", source_name="plan"),
    ),
    checks=CHECKS, freshness=Freshness(warn_us=MINUTE, fail_us=HOUR), owner="crm@example.com",
)  # fmt: skip
BEFORE = promise_of(DATASET)


def column(name: str, /, **changes: Any) -> Promise:
    columns = [msgspec.structs.replace(one, **(changes if one.name == name else {})) for one in BEFORE.columns]
    return msgspec.structs.replace(BEFORE, columns=tuple(columns))


def check(name: str, /, **changes: Any) -> Promise:
    checks = [msgspec.structs.replace(one, **(changes if one.name == name else {})) for one in BEFORE.checks]
    return msgspec.structs.replace(BEFORE, checks=tuple(checks))


def without(name: str) -> Promise:
    return msgspec.structs.replace(BEFORE, checks=tuple(one for one in CHECKS if one.name != name))


def columns(*names: str) -> Promise:
    there = {one.name: one for one in BEFORE.columns}
    new = there["plan"]
    return msgspec.structs.replace(
        BEFORE, columns=tuple(there.get(name, msgspec.structs.replace(new, name=name)) for name in names)
    )


def fresh(**us: int | None) -> Promise:
    return msgspec.structs.replace(BEFORE, freshness=msgspec.structs.replace(BEFORE.freshness, **us))


@pytest.mark.parametrize(
    ("after", "sentence", "breaking"),
    [
        (columns("id", "tenure"), "column plan is gone", True),
        (columns("id", "tenure", "plan", "city"), "column city is new", False),
        (column("tenure", type="number"), "column tenure was integer and is number", True),
        (column("tenure", unit="year"), "the unit of tenure was month and is year", True),
        (column("plan", unit="kg"), "the unit of plan was not said and is kg", False),
        (column("plan", pii=True), "column plan tells who a person is", False),
        (column("plan", description="what they pay"), "column plan is described otherwise", False),
        (without("tenure.min"), "check tenure.min is gone", True),
        (check("tenure.min", args={"value": -1}), "check tenure.min asks less: value 0 became value -1", True),
        (check("tenure.min", args={"value": 1}), "check tenure.min asks more: value 0 became value 1", False),
        (check("few", args={"value": 101}), "check few asks less: value 100 became value 101", True),
        (check("plan.values", args={"values": ["a"]}), "check plan.values asks more", False),
        (check("plan.values", args={"values": ["a", "b", "c"]}), "check plan.values asks less", True),
        (check("plan.length", args={"min": 1}), "check plan.length asks less", True),
        (check("plan.length", args={"min": 2, "max": 5}), "check plan.length asks more", False),
        (check("plan.pattern", args={"regex": "[a-c]"}), "asks otherwise, which may be less", True),
        (check("tenure.min", args={"value": "2026-01-01"}), "asks otherwise, which may be less", True),
        (check("row_count", args={"min": 5}), "check row_count asks less", True),
        (check("tenure.min", on_fail="warn"), "on_fail of check tenure.min was quarantine and is warn", True),
        (check("tenure.min", on_fail="block"), "on_fail of check tenure.min was quarantine and is block", False),
        (check("few", max_share=0.2), "max_share of check few was 0.1 and is 0.2", True),
        (check("few", max_share=None), "max_share of check few was 0.1 and is None", True),
        (check("tenure.min", max_share=0.2), "max_share of check tenure.min was None and is 0.2", False),
        (check("few", name="at most"), "check few is called at most", False),
        (fresh(fail_us=2 * HOUR), "freshness.fail was 1 h and is 2 h", True),
        (fresh(warn_us=None), "freshness.warn was 1 min and is not promised", True),
        (fresh(newest_us=HOUR), "freshness.newest was not promised and is 1 h", False),
        (fresh(fail_us=MINUTE), "freshness.fail was 1 h and is 1 min", False),
        (msgspec.structs.replace(BEFORE, owner=""), "the owner was crm@example.com and is not said", False),
        (msgspec.structs.replace(BEFORE, key="plan"), "the key was id and is plan", True),
    ],
)
def test_a_change_is_told_with_whether_it_breaks(after: Promise, sentence: str, breaking: bool) -> None:
    (change,) = compare(BEFORE, after)
    assert sentence in change.sentence
    assert change.breaking is breaking
    assert digest_of(after) != digest_of(BEFORE)


def test_where_it_is_read_from_and_how_it_is_cleaned_promises_nothing() -> None:
    renamed = msgspec.structs.replace(DATASET.columns[2], source_names=("plan", "tarif"), source_name="tarif")
    other = msgspec.structs.replace(DATASET, table="kunden", every_us=1, columns=(*DATASET.columns[:2], renamed))
    assert compare(BEFORE, promise_of(other)) == ()
    assert digest_of(promise_of(other)) == digest_of(BEFORE)


def test_another_order_changes_nothing() -> None:
    turned = msgspec.structs.replace(BEFORE, columns=BEFORE.columns[::-1], checks=BEFORE.checks[::-1])
    assert compare(BEFORE, turned) == ()
    assert digest_of(turned) == digest_of(BEFORE)


def test_breaks_are_said_first() -> None:
    after = msgspec.structs.replace(columns("id", "tenure", "city"), owner="new@example.com")
    assert said(compare(BEFORE, after)) == (
        "breaking: column plan is gone; also column city is new; the owner was crm@example.com and is new@example.com"
    )
    assert said(compare(BEFORE, fresh(newest_us=HOUR))) == "compatible: freshness.newest was not promised and is 1 h"
