"""An ODCS document as the beginning of a dataset: what it says is in the file, what it cannot say is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mainstay import spec
from mainstay.app.contracts import proposed, yaml_of
from mainstay.app.place import option_records
from mainstay.catalog.contracts import promise_of
from mainstay.catalog.odcs_in import Proposal, propose
from mainstay.core.errors import NotFound, Refused
from mainstay.core.nouns import Dataset
from tests.catalog.test_odcs import DATASET, document

OTHERS = """\
apiVersion: v3.0.2
kind: DataContract
id: shop
version: 1.2.0
status: active
schema:
  - name: orders
    physicalName: tbl_orders
    properties:
      - {name: order id, logicalType: integer, physicalName: ORD_ID, primaryKey: true, primaryKeyPosition: 1}
      - name: amount
        logicalType: number
        logicalTypeOptions: {minimum: 0, multipleOf: 0.01}
      - name: state
        logicalType: string
        logicalTypeOptions: {maxLength: 10}
        quality:
          - {metric: nullValues, mustBe: 0, severity: warning}
          - {metric: invalidValues, arguments: {validValues: [open, done]}, mustBe: 0}
          - {metric: nullValues, mustBeLessThan: 5, unit: percent, name: few nulls}
      - {name: opened, logicalType: time}
      - {name: mail, classification: PII, logicalType: string}
    quality:
      - {metric: rowCount, mustBeBetween: [100, 900]}
      - {metric: rowCount, mustNotBe: 7, name: not seven}
      - {type: text, description: it is good data, name: good}
  - name: customers
    properties: [{name: id, logicalType: string}]
slaProperties:
  - {property: latency, value: 2, unit: hours, element: orders}
  - {property: freshness, value: 36, unit: h, element: orders.opened}
  - {property: retention, value: 3, unit: y, element: orders}
  - {property: latency, value: 1, unit: d, element: customers}
team:
  - {username: bob, role: steward}
  - {username: ann, role: Owner}
"""


def loaded(tmp_path: Path, proposal: Proposal) -> Dataset:
    """The proposal in a whole file, with its source named."""
    entry = {**proposal.entry, "source": "crm"}
    checks = [one for one in entry.get("checks", []) if "references" not in one]
    datasets = {proposal.dataset: {**entry, "checks": checks}}
    key = entry["key"]
    file = tmp_path / "mainstay.yaml"
    file.write_text(
        yaml_of(
            {
                "integration": "shop", "api": 1, "sources": {"crm": {"kind": "sqlite", "path": "crm.db"}},
                "datasets": datasets,
                "features": {"one": {"key": key, "sql": f"SELECT d.{key} FROM {proposal.dataset} d"}},
                "model": {"name": "shop", "input": "one", "constant": {"risk": 0.5}},
            }
        )
    )  # fmt: skip
    return spec.load(file, kinds=option_records(), env={}).datasets[proposal.dataset]


def test_our_own_document_comes_back_as_a_file_that_promises_the_same(tmp_path: Path) -> None:
    proposal = propose(document())
    assert proposal.notes == ()
    assert {"references": {"column": "plan", "dataset": "plans"}} in proposal.entry["checks"]
    found, before = promise_of(loaded(tmp_path, proposal)), promise_of(DATASET)
    assert found.columns == before.columns
    assert (found.freshness, found.owner, found.key) == (before.freshness, before.owner, before.key)
    asked = {(one.kind, one.column, str(one.args), one.on_fail, one.max_share) for one in found.checks}
    for check in before.checks:
        if check.kind in ("required", "values", "pattern", "unique", "aggregate", "monotone"):
            assert (check.kind, check.column, str(check.args), check.on_fail, check.max_share) in asked, check
    assert {one.name for one in found.checks} >= {"adds up", "tenure.min", "born.max", "plan.length"}  # as conditions


def test_a_document_of_others_is_taken_as_far_as_it_goes(tmp_path: Path) -> None:
    file = tmp_path / "shop.odcs.yaml"
    file.write_text(OTHERS)
    proposal = proposed(file, "orders")
    entry = proposal.entry
    assert (entry["table"], entry["key"], entry["owner"]) == ("tbl_orders", "order_id", "ann")
    assert proposal.version == "1.2.0"
    assert entry["columns"] == {
        "order_id": {"type": "integer", "source_name": "ORD_ID"},
        "amount": {"type": "number", "min": 0},
        "state": {"type": "string", "length": {"max": 10}, "values": ["open", "done"]},
        "opened": {"type": "string"},
        "mail": {"type": "string", "pii": True},
    }
    assert entry["freshness"] == {"fail": "2h", "newest": "36h"}
    assert entry["checks"] == [{"required": "state", "on_fail": "warn"}, {"row_count": {"min": 100, "max": 900}}]
    assert proposal.notes == (
        "column amount: option multipleOf was not taken",
        "quality rule few nulls was not taken",
        "column opened: time was taken as string",
        "quality rule not seven was not taken",
        "quality rule good was not taken",
        "SLA property retention was not taken",
    )
    assert loaded(tmp_path, proposal).column("order_id").source_name == "ORD_ID"


@pytest.mark.parametrize(
    ("text", "wanted", "error", "words"),
    [
        (OTHERS, "", NotFound, "2 tables"),
        (OTHERS, "bills", NotFound, "no table bills"),
        (OTHERS.replace("v3.0.2", "v2.2.2"), "orders", Refused, "apiVersion is v2.2.2"),
        ("kind: Pod", "", Refused, "no data contract"),
        ("[1, 2]", "", Refused, "no data contract"),
        ("a: [", "", Refused, "as YAML"),
    ],
)
def test_what_cannot_be_read_says_why(
    tmp_path: Path, text: str, wanted: str, error: type[Exception], words: str
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(error, match=words):
        proposed(file, wanted)
    with pytest.raises(NotFound, match="there is no file"):
        proposed(tmp_path / "none.yaml", "")


def test_a_table_without_a_key_says_so() -> None:
    found: Any = YAML(typ="safe").load(OTHERS)
    proposal = propose(found, "customers")
    assert proposal.entry["key"] == "KEY"
    assert "it names no primary key: write `key:`" in proposal.notes
