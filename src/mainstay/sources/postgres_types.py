"""PostgreSQL's types: which kind each is, how it is written into COPY, and which have no exact form here."""

from __future__ import annotations

import msgspec

from mainstay.core.ports import SourceColumn, SourceKind

_LIST = "s.typcategory = 'A' AND s.typelem <> 0 AND s.typname NOT IN ('int2vector', 'oidvector')"
"""Those two have no dimensions, and cannot be turned into JSON."""

COLUMNS_SQL = f"""
WITH RECURSIVE step AS (
  SELECT a.attnum, t.oid, t.typname, t.typtype, t.typcategory, t.typelem, t.typbasetype, false AS listed
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
   WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT s.attnum, t.oid, t.typname, t.typtype, t.typcategory, t.typelem, t.typbasetype,
         s.listed OR s.typtype <> 'd'
    FROM step s JOIN pg_catalog.pg_type t
      ON t.oid = CASE WHEN s.typtype = 'd' THEN s.typbasetype ELSE s.typelem END
   WHERE s.typtype = 'd' OR ({_LIST})
)
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull::int::text,
       s.typname, s.typtype, s.listed::int::text, pg_catalog.format_type(s.oid, -1)
  FROM pg_catalog.pg_attribute a JOIN step s ON s.attnum = a.attnum
 WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
   AND s.typtype <> 'd' AND NOT ({_LIST})
 ORDER BY a.attnum
"""
"""One row a column. Domains are followed to their base type, arrays to their element."""

_KINDS: dict[str, SourceKind] = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "float4": "float",
    "float8": "float",
    "bool": "boolean",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "char": "text",
    "name": "text",
    "citext": "text",
    "bit": "text",
    "varbit": "text",
    "inet": "text",
    "cidr": "text",
    "macaddr": "text",
    "macaddr8": "text",
    "bytea": "bytes",
    "numeric": "numeric",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "time": "time",
    "timetz": "time",
    "interval": "interval",
    "uuid": "uuid",
    "json": "json",
    "jsonb": "json",
}

_REFUSED_FORMS = {
    "c": "a composite type has no exact text form here",
    "r": "a range has no exact text form here",
    "m": "a multirange has no exact text form here",
    "p": "a pseudo-type holds no values",
}
_REFUSED_NAMES = {
    "money": "its text depends on the server's locale",
    "xml": "XML is not read",
    "int2vector": "it is one of PostgreSQL's internal types",
    "oidvector": "it is one of PostgreSQL's internal types",
}
_INTERNAL = ("oid", "reg", "xid", "cid", "tid", "pg_")
_GEOMETRIC = frozenset({"point", "line", "lseg", "box", "path", "polygon", "circle"})


class NativeColumn(msgspec.Struct, frozen=True):
    """A column with what is needed to ask for it."""

    column: SourceColumn
    leaf: str
    """The name of the type beneath domains and arrays, as in pg_type."""
    cast: str
    """The same as SQL, without a length: a cast to `character` would cut to one."""


def native_column(row: tuple[str | None, ...]) -> NativeColumn:
    """A row of COLUMNS_SQL as a column."""
    name, native, not_null, leaf, form, listed, cast = (value or "" for value in row)
    kind, refused = kind_of(leaf, form)
    if not refused and listed == "1":
        # Bytes in an array come as PostgreSQL's own hexadecimal text inside the JSON: exact, and said to be JSON.
        kind = "array"
    column = SourceColumn(name=name, native=native, kind=kind, nullable=not_null != "1", refused=refused)
    return NativeColumn(column, leaf, cast)


def kind_of(leaf: str, form: str) -> tuple[SourceKind, str]:
    """The kind of a type by its name and form (pg_type.typname, typtype), and why it is refused, or empty."""
    if form == "e":
        return "text", ""
    if form in _REFUSED_FORMS:
        return "text", _REFUSED_FORMS[form]
    if leaf in _KINDS:
        return _KINDS[leaf], ""
    if leaf in _REFUSED_NAMES:
        return "text", _REFUSED_NAMES[leaf]
    if leaf in _GEOMETRIC:
        return "text", "a geometric type has no exact text form here"
    if leaf.startswith(_INTERNAL):
        return "text", "it is one of PostgreSQL's internal types"
    return "text", "this type is not known here"


def expression(native: NativeColumn, quoted: str) -> str:
    """The SQL that gives the column (`quoted`: its identifier) in the form that is landed."""
    if native.column.kind == "array":
        return f"pg_catalog.to_json({quoted})::text"
    if native.column.kind == "bytes":
        return f"pg_catalog.encode({quoted}, 'hex')"
    if native.leaf == "bpchar":
        return f"{quoted}::text"  # the padding is not part of the value
    return quoted
