"""A dataset contract as a document of the Open Data Contract Standard, held against the standard's own schema."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import msgspec
import pytest

from mainstay.catalog.contracts import digest_of, promise_of
from mainstay.catalog.odcs import odcs
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND
from mainstay.core.nouns import Check, Column, Dataset, Freshness
from mainstay.core.promises import DatasetContract

STANDARD: dict[str, Any] = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8"))

DATASET = Dataset(
    name="customers", source="crm", table="kunden", key="id",
    columns=(
        Column(name="id", type="string", source_name="KD_NR", required=True, pii=True, description="The customer."),
        Column(name="tenure", type="integer", source_name="tenure", unit="month"),
        Column(name="plan", type="string", source_name="plan"),
        Column(name="born", type="date", source_name="born"),
        Column(name="seen", type="timestamp", source_name="seen"),
        Column(name="extra", type="json", source_name="extra"),
        Column(name="photo", type="bytes", source_name="photo"),
        Column(name="active", type="boolean", source_name="active"),
        Column(name="paid", type="number", source_name="paid"),
    ),
    checks=(
        Check(name="id.type", kind="type", column="id"),
        Check(name="id.required", kind="required", column="id"),
        Check(name="tenure.min", kind="min", column="tenure", args={"value": 0}),
        Check(name="born.max", kind="max", column="born", args={"value": "2026-11-01"}, on_fail="warn"),
        Check(name="plan.values", kind="values", column="plan", args={"values": ["a", "b"]}, max_share=0.1),
        Check(name="plan.length", kind="length", column="plan", args={"min": 1, "max": 5}),
        Check(name="plan.pattern", kind="pattern", column="plan", args={"regex": "a|b"}),
        Check(name="plan.unique", kind="unique", column="plan"),
        Check(name="one each", kind="unique", args={"columns": ["plan", "born"]}),
        Check(name="row_count", kind="row_count", args={"min": 10, "max": 20}, on_fail="block"),
        Check(name="adds up", kind="sql", args={"condition": "paid >= 0\n OR tenure = 0"}),
        Check(name="revenue", kind="aggregate", args={"condition": "sum(paid) > 0"}, on_fail="block"),
        Check(name="plan.references", kind="references", column="plan", args={"dataset": "plans"}),
        Check(name="tenure.monotone", kind="monotone", column="tenure"),
    ),
    freshness=Freshness(warn_us=90 * SECOND, fail_us=HOUR, newest_us=DAY), owner="crm-team@example.com",
)  # fmt: skip


def version(dataset: Dataset = DATASET, number: int = 4) -> DatasetContract:
    promise = promise_of(dataset)
    return DatasetContract(
        dataset=dataset.name, number=number, digest=digest_of(promise), at_us=1_790_000_000_000_000, by="ann",
        file="sha256:abc", promise=promise,
    )  # fmt: skip


def document(dataset: Dataset = DATASET, **more: Any) -> dict[str, Any]:
    return odcs(version(dataset), integration="churn", **more)


def bare() -> Dataset:
    return msgspec.structs.replace(DATASET, columns=DATASET.columns[:1], checks=(), freshness=Freshness(), owner="")


@pytest.mark.parametrize("dataset", [DATASET, bare()], ids=["everything", "bare"])
def test_it_is_a_document_of_the_standard(dataset: Dataset) -> None:
    jsonschema.Draft201909Validator(STANDARD).validate(document(dataset))


def test_it_says_which_version_of_what_it_is() -> None:
    found = document()
    assert {name: found[name] for name in ("apiVersion", "kind", "id", "version", "status")} == {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": "churn.customers", "version": "4.0.0", "status": "active",
    }  # fmt: skip
    assert document(now=False)["status"] == "retired"
    assert found["team"] == {"members": [{"username": "crm-team@example.com", "role": "owner"}]}
    assert "team" not in document(bare())
    assert "slaProperties" not in document(bare())


def test_columns_have_types_and_what_is_said_of_them() -> None:
    (table,) = document()["schema"]
    columns = {one["name"]: one for one in table["properties"]}
    key = columns["id"]
    assert (key["primaryKey"], key["primaryKeyPosition"], key["required"], key["unique"]) == (True, 1, True, True)
    assert (key["classification"], key["description"]) == ("personal", "The customer.")
    assert columns["tenure"]["customProperties"] == [{"property": "unit", "value": "month"}]
    assert {name: (one["logicalType"], one["physicalType"]) for name, one in columns.items()} == {
        "id": ("string", "VARCHAR"), "tenure": ("integer", "BIGINT"), "plan": ("string", "VARCHAR"),
        "born": ("date", "DATE"), "seen": ("timestamp", "TIMESTAMP"),
        "extra": ("object", "JSON"), "photo": ("string", "BLOB"),
        "active": ("boolean", "BOOLEAN"), "paid": ("number", "DOUBLE"),
    }  # fmt: skip


def test_each_check_is_a_rule_and_says_how_it_counts() -> None:
    (table,) = document()["schema"]
    rules = {rule["name"]: rule for one in [table, *table["properties"]] for rule in one.get("quality", [])}
    assert set(rules) == {check.name for check in DATASET.checks if check.kind != "type"} | {"row_count_2"}
    assert (rules["id.required"]["metric"], rules["id.required"]["mustBe"]) == ("nullValues", 0)
    assert rules["plan.values"]["arguments"] == {"validValues": ["a", "b"]}
    assert rules["plan.pattern"]["arguments"] == {"pattern": "^(?:a|b)$"}
    assert rules["one each"]["arguments"] == {"properties": ["plan", "born"]}
    assert rules["row_count"]["mustBeGreaterOrEqualTo"] == 10
    assert rules["row_count_2"]["mustBeLessOrEqualTo"] == 20
    assert rules["tenure.min"]["query"] == 'SELECT COUNT(*) FROM {object} WHERE NOT ("tenure" >= 0)'
    assert rules["born.max"]["query"] == "SELECT COUNT(*) FROM {object} WHERE NOT (\"born\" <= '2026-11-01')"
    assert rules["plan.length"]["query"].endswith('WHERE NOT (LENGTH("plan") >= 1 AND LENGTH("plan") <= 5)')
    assert rules["adds up"]["query"].endswith("WHERE NOT (paid >= 0 OR tenure = 0)")
    assert rules["revenue"]["query"] == "SELECT CASE WHEN sum(paid) > 0 THEN 0 ELSE 1 END FROM {object}"
    assert rules["plan.references"]["implementation"] == {"check": "references", "dataset": "plans"}
    assert (rules["born.max"]["severity"], rules["row_count"]["severity"]) == ("warning", "error")
    said = {one["property"]: one["value"] for one in rules["plan.values"]["customProperties"]}
    assert said == {"onFail": "quarantine", "maxShare": 0.1}
    assert any(one["property"] == "counted" for one in rules["plan.unique"]["customProperties"])


def test_freshness_stands_under_the_words_that_tools_know() -> None:
    found = [(one["property"], one["value"], one["unit"]) for one in document()["slaProperties"]]
    assert found == [("latency", 1, "h"), ("latencyWarning", 90, "s"), ("freshness", 1, "d")]
    minutes = msgspec.structs.replace(DATASET, freshness=Freshness(fail_us=5 * MINUTE))
    assert document(minutes)["slaProperties"][0]["unit"] == "min"


def test_neither_the_source_nor_its_names_are_told() -> None:
    text = json.dumps(document())
    assert "crm" not in text.replace("crm-team", "")
    assert "kunden" not in text
    assert "KD_NR" not in text
