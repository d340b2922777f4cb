"""What a document of the Open Data Contract Standard (v3) says of a table, as a dataset of mainstay.yaml. Pure.

A proposal: what cannot be said in the file, or would be guessed, is told as a note and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mainstay.catalog.odcs import ENGINE
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND
from mainstay.core.errors import NotFound, Refused

_TYPES = {
    "string": "string", "integer": "integer", "number": "number", "boolean": "boolean", "date": "date",
    "timestamp": "timestamp", "object": "json", "array": "json", "map": "json",
}  # fmt: skip
_BYTES = ("blob", "bytea", "binary", "varbinary", "bytes")
_PERSONAL = ("personal", "pii", "sensitive", "restricted")
_UNITS = {"d": DAY, "day": DAY, "h": HOUR, "hr": HOUR, "hour": HOUR, "m": MINUTE, "min": MINUTE, "minute": MINUTE,
          "s": SECOND, "sec": SECOND, "second": SECOND}  # fmt: skip
_SPANS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"))
_ROWS = re.compile(r"SELECT COUNT\(\*\) FROM \{object\} WHERE NOT \((.+)\)")
_WHOLE = re.compile(r"SELECT CASE WHEN (.+) THEN 0 ELSE 1 END FROM \{object\}")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_OPTIONS = {"minimum": "min", "maximum": "max"}
_LENGTHS = {"minLength": "min", "maxLength": "max"}


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset for the file."""

    dataset: str
    version: str
    """The document's own."""
    entry: dict[str, Any]
    """What stands below the dataset's name; `source` is to be filled in."""
    notes: tuple[str, ...]
    """What was not taken, and what was guessed."""


def propose(document: object, wanted: str = "") -> Proposal:
    """The dataset that a table of the document is.

    Args:
        document: The parsed document.
        wanted: Which of its tables; empty: the only one.

    Raises:
        Refused: it is no document of the standard's version 3.
        NotFound: there is no such table, or which one is not said.
    """
    if not isinstance(document, Mapping) or document.get("kind") != "DataContract":
        raise Refused("this is no data contract: `kind: DataContract` is missing", mend="give a document of ODCS")
    if not str(document.get("apiVersion", "")).startswith("v3"):
        came = document.get("apiVersion", "none")
        raise Refused(f"its apiVersion is {came}; version 3 of the standard is read", mend="write it as v3.1.0")
    table = _table(_maps(document.get("schema")), wanted)
    reading = _Reading(_name(str(table["name"])), document, table)
    return Proposal(
        dataset=reading.dataset,
        version=str(document.get("version", "")),
        entry=reading.entry(),
        notes=tuple(reading.notes),
    )


def _table(tables: list[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    names = [str(one.get("name")) for one in tables]
    found = [one for one in tables if not wanted or wanted in (one.get("name"), _name(str(one.get("name"))))]
    if len(found) == 1:
        return found[0]
    said = f"no table {wanted}" if wanted and not found else f"{len(tables)} tables"
    raise NotFound(f"the document has {said}", mend=f"name one of {', '.join(names)}" if names else "")


class _Reading:
    """One table as it is read; notes are gathered on the way."""

    def __init__(self, dataset: str, document: Mapping[str, Any], table: Mapping[str, Any]) -> None:
        self.dataset = dataset
        self.document = document
        self.table = table
        self.notes: list[str] = []
        self.checks: list[dict[str, Any]] = []

    def entry(self) -> dict[str, Any]:
        properties = _maps(self.table.get("properties"))
        columns = {_name(str(one["name"])): self._column(one) for one in properties}
        for rule in _maps(self.table.get("quality")):
            self._whole(rule)
        keys = sorted((one for one in properties if one.get("primaryKey")), key=_place)
        named = [_name(str(one["name"])) for one in keys]
        if not named:
            self.notes.append("it names no primary key: write `key:`")
        found: dict[str, Any] = {
            "source": "SOURCE",
            "table": str(self.table.get("physicalName") or self.table["name"]),
            "key": named[0] if len(named) == 1 else named or "KEY",
            "columns": columns,
        }
        found |= {name: value for name, value in (("owner", self._owner()), ("freshness", self._fresh())) if value}
        if self.checks:
            found["checks"] = self.checks
        return found

    # --- columns ---------------------------------------------------------------------------------------------------

    def _column(self, one: Mapping[str, Any]) -> dict[str, Any]:
        name = _name(str(one["name"]))
        found: dict[str, Any] = {"type": self._type(name, one)}
        source = str(one.get("physicalName") or one["name"])
        if source != name:
            found["source_name"] = source
        for flag in ("required", "unique"):
            if one.get(flag) and not (flag == "unique" and one.get("primaryKey")):
                found[flag] = True
        if str(one.get("classification", "")).casefold() in _PERSONAL:
            found["pii"] = True
        unit = next((x["value"] for x in _maps(one.get("customProperties")) if x.get("property") == "unit"), None)
        found |= {key: str(value) for key, value in (("unit", unit), ("description", one.get("description"))) if value}
        self._options(found, one)
        values = [entry.get("value") for entry in _maps(one.get("enum"))]
        if values:
            found["values"] = values
        for rule in _maps(one.get("quality")):
            self._rule(name, found, rule)
        return found

    def _type(self, name: str, one: Mapping[str, Any]) -> str:
        physical = str(one.get("physicalType", "")).casefold()
        if physical.startswith(_BYTES):
            return "bytes"
        found = _TYPES.get(str(one.get("logicalType", "")))
        if found is None:
            self.notes.append(f"column {name}: {one.get('logicalType') or 'no logicalType'} was taken as string")
        return found or "string"

    def _options(self, found: dict[str, Any], one: Mapping[str, Any]) -> None:
        said = one.get("logicalTypeOptions")
        for option, value in said.items() if isinstance(said, Mapping) else ():
            if option in _OPTIONS and found["type"] in ("integer", "number", "date", "timestamp"):
                found[_OPTIONS[option]] = value
            elif option in _LENGTHS and found["type"] == "string":
                found.setdefault("length", {})[_LENGTHS[option]] = value
            elif option == "pattern" and found["type"] == "string":
                found["pattern"] = value
            else:
                self.notes.append(f"column {one['name']}: option {option} was not taken")

    def _rule(self, name: str, found: dict[str, Any], rule: Mapping[str, Any]) -> None:
        """A rule with the usual `on_fail` is a setting of the column; with another one it is a check of the list."""
        kind, value = self._meant(rule)
        more = _consequences(rule)
        if kind in ("required", "unique") and not more:
            found[kind] = True
        elif kind in ("values", "pattern") and not more:
            found[kind] = value
        elif kind in ("required", "unique", "monotone"):
            self.checks.append({kind: name, **more})
            found.pop(kind, None)
        elif kind == "values":
            self.checks.append({kind: {"column": name, "values": value}, **more})
        elif kind == "pattern":
            self.checks.append({kind: {"column": name, "regex": value}, **more})
        elif kind == "references":
            self.checks.append({kind: {"column": name, "dataset": value}, **more})
        elif kind in ("sql", "aggregate"):
            self._condition(kind, value, rule, more)
        else:
            self._not_taken(rule)

    def _whole(self, rule: Mapping[str, Any]) -> None:
        kind, value = self._meant(rule)
        more = _consequences(rule)
        named = {"name": str(rule["name"])} if rule.get("name") else {}
        if kind == "row_count" and value:
            self.checks.append({"row_count": value, **named, **more})
        elif kind == "unique" and isinstance(value, list):
            self.checks.append({"unique": value if len(value) > 1 else value[0], **more})
        elif kind in ("sql", "aggregate"):
            self._condition(kind, value, rule, more)
        else:
            self._not_taken(rule)

    def _condition(self, kind: str, value: Any, rule: Mapping[str, Any], more: dict[str, Any]) -> None:
        named = {"name": str(rule["name"])} if rule.get("name") else {}
        over = {"over": "dataset"} if kind == "aggregate" else {}
        self.checks.append({"sql": value, **over, **named, **more})

    def _not_taken(self, rule: Mapping[str, Any]) -> None:
        self.notes.append(f"quality rule {rule.get('name') or rule.get('metric') or rule.get('type')} was not taken")

    def _meant(self, rule: Mapping[str, Any]) -> tuple[str, Any]:
        """(kind of check, its value); an empty kind for what has no check here."""
        none = rule.get("mustBe") == 0
        said = rule.get("arguments")
        arguments: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        match rule.get("type", "library"):
            case "library" if rule.get("metric") == "rowCount":
                return "row_count", _limits(rule)
            case "library" if none and rule.get("metric") == "nullValues":
                return "required", True
            case "library" if none and rule.get("metric") == "duplicateValues":
                return "unique", [_name(str(one)) for one in arguments.get("properties", [])]
            case "library" if none and rule.get("metric") == "invalidValues" and "validValues" in arguments:
                return "values", list(arguments["validValues"])
            case "library" if none and rule.get("metric") == "invalidValues" and "pattern" in arguments:
                return "pattern", re.sub(r"^\^\(\?:(.*)\)\$$", r"\1", str(arguments["pattern"]))
            case "sql" if none:
                query = " ".join(str(rule.get("query", "")).split())
                for kind, form in (("sql", _ROWS), ("aggregate", _WHOLE)):
                    if (found := form.fullmatch(query)) is not None:
                        return kind, found[1]
            case "custom" if rule.get("engine") == ENGINE and isinstance(rule.get("implementation"), Mapping):
                said = rule["implementation"]
                return str(said.get("check")), said.get("dataset", True)
        return "", None

    # --- promises --------------------------------------------------------------------------------------------------

    def _fresh(self) -> dict[str, str]:
        names = {"latency": "fail", "latencyWarning": "warn", "freshness": "newest"}
        found = {}
        for one in _maps(self.document.get("slaProperties")):
            element = str(one.get("element") or self.table["name"]).partition(".")[0]
            if element != self.table["name"]:
                continue
            said = _span(one.get("value"), str(one.get("unit", "")))
            name = names.get(str(one.get("property")))
            if name is None or not said:
                self.notes.append(f"SLA property {one.get('property')} was not taken")
            else:
                found[name] = said
        return found

    def _owner(self) -> str:
        team = self.document.get("team")
        members = _maps(team.get("members") if isinstance(team, Mapping) else team)
        owners = [one for one in members if str(one.get("role", "")).casefold() == "owner"]
        return next((str(one["username"]) for one in [*owners, *members] if one.get("username")), "")


def _maps(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _name(name: str) -> str:
    """A name for SQL, as the file wants one."""
    if _PLAIN.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:60] or "column"
    return plain if plain[0].isalpha() else f"_{plain}"


def _place(one: Mapping[str, Any]) -> int:
    place = one.get("primaryKeyPosition")
    return place if isinstance(place, int) else 0


def _limits(rule: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for word, side, more in (
        ("mustBeGreaterOrEqualTo", "min", 0), ("mustBeGreaterThan", "min", 1), ("mustBeLessOrEqualTo", "max", 0),
        ("mustBeLessThan", "max", -1), ("mustBe", "min", 0), ("mustBe", "max", 0),
    ):  # fmt: skip
        if word in rule:
            found[side] = int(rule[word]) + more
    if "mustBeBetween" in rule:
        found = dict(zip(("min", "max"), map(int, rule["mustBeBetween"]), strict=True))
    return found


def _consequences(rule: Mapping[str, Any]) -> dict[str, Any]:
    """What the rule says of `on_fail` and `max_share`, where it is not the usual."""
    custom = {one.get("property"): one.get("value") for one in _maps(rule.get("customProperties"))}
    soft = str(rule.get("severity", "")).casefold() == "warning"
    on_fail = custom.get("onFail") or ("warn" if soft else "quarantine")
    found = {} if on_fail == "quarantine" else {"on_fail": on_fail}
    return found | ({"max_share": custom["maxShare"]} if "maxShare" in custom else {})


def _span(value: object, unit: str) -> str:
    size = _UNITS.get(unit.casefold()) or _UNITS.get(unit.casefold().removesuffix("s"))
    if size is None or isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        return ""
    duration = int(value * size)
    return next((f"{duration // size}{word}" for size, word in _SPANS if duration % size == 0), "")


def lines(proposal: Proposal) -> Iterator[str]:
    """What stands above the proposal, as comments."""
    yield f"# {proposal.dataset}, from version {proposal.version or 'unknown'} of its contract. Name its source."
    for note in proposal.notes:
        yield f"# - {note}"
