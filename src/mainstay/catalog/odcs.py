"""A dataset contract as a document of the Open Data Contract Standard, v3.1.0 (bitol.io). Pure.

What the standard has a word for is said with it; what it has none for stands under `customProperties` or as a quality
rule of type `custom`, so that nothing is lost. Names of sources, hosts and credentials are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND, iso
from mainstay.core.nouns import Check, ColumnType
from mainstay.core.promises import DatasetContract, PromisedColumn
from mainstay.core.sql import DUCKDB_TYPES, identifier, literal

API_VERSION = "v3.1.0"
ENGINE = "mainstay"

_LOGICAL: dict[ColumnType, str] = {
    "string": "string", "integer": "integer", "number": "number", "boolean": "boolean", "date": "date",
    "timestamp": "timestamp", "json": "object", "bytes": "string",
}  # fmt: skip
"""The standard has no word for bytes, nor one for JSON that may be anything: the physical type tells them."""
_DIMENSIONS = {
    "required": "completeness", "unique": "uniqueness", "references": "consistency", "monotone": "consistency",
    "row_count": "completeness",
}  # fmt: skip
_COUNTED = {
    "unique": "surplus rows: a, a, a, b, b has 3",
    "row_count": "rows of the dataset as it would be with the batch",
}


def odcs(contract: DatasetContract, *, integration: str, now: bool = True) -> dict[str, Any]:
    """The document, in the order in which it is written.

    Args:
        contract: The version.
        integration: The integration's name, part of the id.
        now: Whether it is the version in force; an earlier one is `retired`.
    """
    promise = contract.promise
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": f"{integration}.{contract.dataset}",
        "name": contract.dataset,
        "version": f"{contract.number}.0.0",
        "status": "active" if now else "retired",
        "contractCreatedTs": iso(contract.at_us),
        "schema": [_object(contract)],
    }
    sla = list(_sla(contract))
    if sla:
        document["slaProperties"] = sla
    if promise.owner:
        document["team"] = {"members": [{"username": promise.owner, "role": "owner"}]}
    document["customProperties"] = [_custom("digest", contract.digest), _custom("appliedFile", contract.file)]
    return document


def _object(contract: DatasetContract) -> dict[str, Any]:
    promise = contract.promise
    key = [promise.key] if isinstance(promise.key, str) else list(promise.key)
    found: dict[str, Any] = {
        "name": contract.dataset,
        "physicalName": contract.dataset,
        "physicalType": "table",
        "logicalType": "object",
        "properties": [_property(column, key, promise.checks) for column in promise.columns],
    }
    whole = [rule for check in promise.checks if check.column is None for rule in _rules(check, contract.dataset)]
    if whole:
        found["quality"] = whole
    return found


def _property(column: PromisedColumn, key: list[str], checks: tuple[Check, ...]) -> dict[str, Any]:
    mine = [check for check in checks if check.column == column.name]
    found: dict[str, Any] = {"name": column.name}
    if column.name in key:
        found |= {"primaryKey": True, "primaryKeyPosition": key.index(column.name) + 1}
    found["logicalType"] = _LOGICAL[column.type]
    found["physicalType"] = "JSON" if column.type == "json" else DUCKDB_TYPES[column.type]
    found["required"] = column.required or any(check.kind == "required" for check in mine)
    if [column.name] == key or any(check.kind == "unique" for check in mine):
        found["unique"] = True
    if column.description:
        found["description"] = column.description
    if column.pii:
        found["classification"] = "personal"
    if column.unit:
        found["customProperties"] = [_custom("unit", column.unit)]
    rules = [rule for check in mine for rule in _rules(check, column.name)]
    if rules:
        found["quality"] = rules
    return found


def _custom(name: str, value: Any) -> dict[str, Any]:
    return {"property": name, "value": value}


def _rules(check: Check, of: str) -> Iterator[dict[str, Any]]:
    """The quality rules that say what a check asks. `type` is the schema's own business."""
    if check.kind == "type":
        return
    for number, rule in enumerate(_asked(check), 1):
        name = check.name if number == 1 else f"{check.name}_{number}"
        custom = [_custom("onFail", check.on_fail)]
        if check.max_share is not None:
            custom.append(_custom("maxShare", check.max_share))
        if check.kind in _COUNTED:
            custom.append(_custom("counted", _COUNTED[check.kind]))
        yield {
            "name": name,
            "description": f"{check.kind} of {of}",
            "dimension": _DIMENSIONS.get(check.kind, "conformity"),
            "severity": "warning" if check.on_fail == "warn" else "error",
            **rule,
            "customProperties": custom,
        }


def _asked(check: Check) -> Iterator[dict[str, Any]]:
    args = check.args
    match check.kind:
        case "required":
            yield _library("nullValues", mustBe=0)
        case "unique" if "columns" in args:
            yield _library("duplicateValues", {"properties": list(args["columns"])}, mustBe=0)
        case "unique":
            yield _library("duplicateValues", mustBe=0)
        case "values":
            yield _library("invalidValues", {"validValues": list(args["values"])}, mustBe=0)
        case "pattern":
            yield _library("invalidValues", {"pattern": f"^(?:{args['regex']})$"}, mustBe=0)
        case "row_count":
            if "min" in args:
                yield _library("rowCount", mustBeGreaterOrEqualTo=args["min"])
            if "max" in args:
                yield _library("rowCount", mustBeLessOrEqualTo=args["max"])
        case "min" | "max" | "length" | "sql":
            yield {"type": "sql", "query": f"SELECT COUNT(*) FROM {{object}} WHERE NOT ({_condition(check)})",
                   "mustBe": 0}  # fmt: skip
        case "aggregate":
            condition = _line(args["condition"])
            yield {"type": "sql", "query": f"SELECT CASE WHEN {condition} THEN 0 ELSE 1 END FROM {{object}}",
                   "mustBe": 0}  # fmt: skip
        case kind:
            yield {"type": "custom", "engine": ENGINE, "implementation": {"check": kind, **args}}


def _library(metric: str, arguments: dict[str, Any] | None = None, **operator: Any) -> dict[str, Any]:
    asked = {"arguments": arguments} if arguments else {}
    return {"type": "library", "metric": metric, **asked, **operator}


def _condition(check: Check) -> str:
    args = check.args
    if check.kind == "sql":
        return _line(args["condition"])
    column = identifier(check.column or "")
    if check.kind == "length":
        sides = [(">=", args.get("min")), ("<=", args.get("max"))]
        return " AND ".join(f"LENGTH({column}) {sign} {limit}" for sign, limit in sides if limit is not None)
    value = args["value"]
    limit = literal(value) if isinstance(value, str) else str(value)
    return f"{column} {'>=' if check.kind == 'min' else '<='} {limit}"


def _line(condition: str) -> str:
    return " ".join(str(condition).split())


def _sla(contract: DatasetContract) -> Iterator[dict[str, Any]]:
    """`latency` is the standard's word for age; tools that do not know it read `freshness`, the newest row's."""
    freshness = contract.promise.freshness
    said = (
        ("latency", freshness.fail_us, "the age from which the data counts as too old"),
        ("latencyWarning", freshness.warn_us, "the age from which the data is flagged"),
        ("freshness", freshness.newest_us, "the newest event time is never older"),
    )
    for name, value, description in said:
        if value is not None:
            number, unit = _unit(value)
            yield {
                "property": name, "value": number, "unit": unit, "element": contract.dataset, "driver": "operational",
                "description": description,
            }  # fmt: skip


def _unit(duration_us: int) -> tuple[int | float, str]:
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if duration_us % size == 0:
            return duration_us // size, unit
    seconds = duration_us / SECOND
    return (int(seconds) if seconds.is_integer() else seconds), "s"
