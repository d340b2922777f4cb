"""The model's inputs -> expressions over the columns that there are. Pure; what has no match is told, never made up."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

import msgspec

from mainstay.app.new.tables import plain, singular
from mainstay.core.nouns import ColumnType, Field
from mainstay.core.sql import DUCKDB_TYPES, identifier

CLOSE = 0.82
"""How alike two names must be (difflib's ratio) to be taken for one another, as a doubt."""


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """A column that an input may be taken from."""

    dataset: str
    column: str
    """Its name in the dataset."""
    source_name: str
    type: ColumnType
    alias: str = ""
    """What its dataset is called in the SQL; empty where there is one dataset only."""

    @property
    def sql(self) -> str:
        return f"{self.alias}.{written(self.column)}" if self.alias else written(self.column)


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """One input and the expression that it is given."""

    field: Field
    expression: str
    offered: Offered | None
    """None: the expression was given by a person, and its columns are looked for in it."""
    evidence: str
    doubt: bool = False

    @property
    def line(self) -> str:
        """The line of the SELECT list."""
        name = written(self.field.name)
        return self.expression if self.expression.split(".")[-1] == name else f"{self.expression} AS {name}"


def match(
    inputs: Sequence[Field], offers: Sequence[Offered], given: Mapping[str, str]
) -> tuple[list[Matched], list[Field]]:
    """Each input with its expression, and the inputs for which there is none.

    Args:
        inputs: What the model takes.
        offers: Columns, those of the likelier dataset first.
        given: input -> column or SQL expression, as a person said.
    """
    found: list[Matched] = []
    missing: list[Field] = []
    for field in inputs:
        if field.name in given:
            found.append(_said(field, given[field.name], offers))
            continue
        offer, evidence, doubt = _find(field, offers)
        if offer is None:
            missing.append(field)
            continue
        given_as = cast(offer.sql, offer.type, field.type)
        found.append(Matched(field=field, expression=given_as, offered=offer, evidence=evidence, doubt=doubt))
    return found, missing


def _said(field: Field, text: str, offers: Sequence[Offered]) -> Matched:
    offer = next((one for one in offers if text in (one.column, one.source_name)), None)
    if offer is None:
        return Matched(field=field, expression=text, offered=None, evidence="as said with --map")
    expression = cast(offer.sql, offer.type, field.type)
    return Matched(field=field, expression=expression, offered=offer, evidence="as said with --map")


def _find(field: Field, offers: Sequence[Offered]) -> tuple[Offered | None, str, bool]:
    for offer in offers:
        if field.name in (offer.column, offer.source_name):
            return offer, "the same name", False
    wanted = plain(field.name)
    for offer in offers:
        if wanted in (plain(offer.column), plain(offer.source_name)):
            return offer, f"{offer.source_name}, but for case and signs", False
    for offer in offers:
        table = plain(offer.dataset)
        if wanted in {f"{one}{plain(offer.column)}" for one in (table, plain(singular(offer.dataset)))}:
            return offer, f"{offer.source_name} of {offer.dataset}", False
    near = difflib.get_close_matches(wanted, [plain(one.source_name) for one in offers], n=1, cutoff=CLOSE)
    if near:
        offer = next(one for one in offers if plain(one.source_name) == near[0])
        return offer, f"{offer.source_name} is the most alike", True
    return None, "", False


def cast(expression: str, have: ColumnType, wanted: ColumnType) -> str:
    """The expression as the type wanted; as it is where the model takes it so."""
    if have == wanted or (have, wanted) == ("integer", "number"):
        return expression
    return f"CAST({expression} AS {DUCKDB_TYPES[wanted]})"


def written(name: str) -> str:
    """A name in SQL, quoted where it must be."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name.upper() not in _RESERVED else identifier(name)


_WORDS = """
    ALL ANALYSE ANALYZE AND ANY ARRAY AS ASC ASYMMETRIC AT BOTH CASE CAST CHECK COLLATE COLUMN CONSTRAINT CREATE DEFAULT
    DEFERRABLE DESC DESCRIBE DISTINCT DO ELSE END EXCEPT FALSE FETCH FOR FOREIGN FROM GROUP HAVING IN INITIALLY
    INTERSECT INTO LAMBDA LATERAL LEADING LIMIT NOT NULL OFFSET ON ONLY OR ORDER PIVOT PIVOT_LONGER PIVOT_WIDER PLACING
    PRIMARY QUALIFY REFERENCES RETURNING SELECT SHOW SOME SUMMARIZE SYMMETRIC TABLE THEN TO TRAILING TRUE UNION UNIQUE
    UNPIVOT USING VARIADIC WHEN WHERE WINDOW WITH
"""
_RESERVED = frozenset(_WORDS.split())
"""DuckDB's reserved words (`duckdb_keywords()`), and AT, which it does not list but reads as one behind a table."""
