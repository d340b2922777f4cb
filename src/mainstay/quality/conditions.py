"""What makes a row fail, as SQL: one function per kind of check.

Each returns a condition that is TRUE for a failing row, written in DuckDB's SQL with plain comparisons only, so that
SQLGlot carries it to any engine. NULL means "not failed": absence is the business of `required` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from mainstay.core.errors import Refused
from mainstay.core.nouns import Check, ColumnType, Dataset
from mainstay.core.sql import DUCKDB_TYPES
from mainstay.quality import sql

if TYPE_CHECKING:
    from sqlglot import exp

Literal = Callable[[Any], str]
"""A value of the file -> its SQL literal, for the column at hand."""

Condition = Callable[[str, Mapping[str, Any], Literal], str]
"""(column, args, literal) -> TRUE where the row fails. Columns come quoted."""


def _required(column: str, _args: Mapping[str, Any], _literal: Literal) -> str:
    return f"{column} IS NULL"


def _minimum(column: str, args: Mapping[str, Any], literal: Literal) -> str:
    return f"{column} < {literal(args['value'])}"


def _maximum(column: str, args: Mapping[str, Any], literal: Literal) -> str:
    return f"{column} > {literal(args['value'])}"


def _length(column: str, args: Mapping[str, Any], _literal: Literal) -> str:
    limits = [f"length({column}) {sign} {args[bound]}" for bound, sign in (("min", "<"), ("max", ">")) if bound in args]
    return sql.any_of(limits)


def _pattern(column: str, args: Mapping[str, Any], _literal: Literal) -> str:
    return f"NOT regexp_full_match({column}, {sql.text(str(args['regex']))})"


def _values(column: str, args: Mapping[str, Any], literal: Literal) -> str:
    values = [literal(value) for value in args["values"] if value is not None]
    if not values:
        return f"{column} IS NOT NULL"
    if len(values) > _FEW:
        return f"{column} NOT IN ({', '.join(values)})"
    return " AND ".join(f"{column} <> {value}" for value in values)


_FEW = 8
"""Up to so many values are faster compared one by one than looked up: three times with five texts."""


def _condition(_column: str, args: Mapping[str, Any], _literal: Literal) -> str:
    return f"NOT ({args['condition']})"


CONDITIONS: dict[str, Condition] = {
    "required": _required,
    "min": _minimum,
    "max": _maximum,
    "length": _length,
    "pattern": _pattern,
    "values": _values,
    "sql": _condition,
}
"""Kind -> its condition. `type` is judged by cleaning, `unique` and `row_count` over the whole dataset."""


def literals_for(type: ColumnType, where: str) -> Literal:
    """How the file's values are written for a column of this type.

    The returned function raises Refused for a value that no such column can hold: comparing a text column with 1 would
    otherwise make the engine parse the text, and fail on the first row that is no number.
    """

    def literal(value: Any) -> str:
        if type in ("string", "json"):
            return sql.text(str(value).lower() if isinstance(value, bool) else str(value))
        if type in ("integer", "number") and sql.is_number(value):
            return sql.literal(value)
        if type == "boolean" and isinstance(value, bool):
            return sql.literal(value)
        if type in ("date", "timestamp") and (instant := _instant(value)) is not None:
            return f"CAST({sql.text(instant)} AS {DUCKDB_TYPES[type]})"
        raise Refused(f"{value!r} is not a value of a {type} column", mend=f"write a {type}", where=where)

    return literal


def _instant(value: Any) -> str | None:
    if isinstance(value, datetime | date):
        return value.isoformat()
    try:
        return datetime.fromisoformat(str(value)).isoformat(sep=" ")
    except ValueError:
        return None


def refuse_unknown_pattern(regex: str, where: str) -> None:
    """Raises Refused when RE2, whose regular expressions `pattern` speaks, does not know this one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern=regex)
    except pa.ArrowInvalid as error:
        raise Refused(
            f"{regex!r} is no regular expression of RE2: {str(error).rpartition(': ')[2]}",
            mend="RE2 has no look-ahead, look-behind and back references",
            where=where,
        ) from error


def checked_condition(dataset: Dataset, check: Check) -> str:
    """The user's condition of a `sql` check, proved to be one boolean expression over the dataset's columns.

    Column names are matched without case, as DuckDB does.

    Raises:
        Refused: it does not parse, is not a condition, reads anything but this dataset's columns, looks across rows
            (aggregates, windows, subqueries) or calls a function whose answer is not decided by its arguments.
    """
    where = f"dataset {dataset.name}, check {check.name}"
    condition = str(check.args.get("condition", ""))
    _refuse_other_than_boolean(dataset, row_expression(dataset, condition, where), where)
    # The user's own text, since a round trip through a parser may say something else. Lines of its own, since it may
    # end in a comment.
    return f"\n{condition}\n"


def _refuse_other_than_boolean(dataset: Dataset, tree: exp.Expr, where: str) -> None:
    from sqlglot import exp
    from sqlglot.optimizer.annotate_types import annotate_types
    from sqlglot.schema import MappingSchema

    names = {column.name.lower(): column for column in dataset.columns}
    schema = {column.name: DUCKDB_TYPES[column.type] for column in dataset.columns}
    asked = exp.paren(tree)
    for found in list(asked.find_all(exp.Column)):
        found.replace(exp.column(names[found.name.lower()].name, "t", quoted=True))
    select = exp.select(asked).from_("t")
    typed = annotate_types(select, schema=MappingSchema({"t": schema}, dialect="duckdb"), dialect="duckdb").selects[0]
    if typed.type is not None and not typed.is_type(exp.DType.BOOLEAN, exp.DType.UNKNOWN, exp.DType.NULL):
        raise Refused(
            f"the condition is a {typed.type.sql(dialect='duckdb').lower()}, not true or false",
            mend="compare it with something",
            where=where,
        )


def aggregate_condition(dataset: Dataset, check: Check) -> str:
    """The user's condition of an `aggregate` check, proved to be one boolean over aggregates of the dataset's columns.

    Raises:
        Refused: it does not parse, is no condition, has a column outside of an aggregate or none at all, or would give
            another answer for the same rows.
    """
    from sqlglot import exp

    where = f"dataset {dataset.name}, check {check.name}"
    condition = str(check.args.get("condition", ""))
    tree = _one_expression(condition, where)
    if tree.find(exp.Query, exp.Window, exp.Exists):
        raise Refused("it looks beyond its dataset", mend="no subqueries or windows here", where=where)
    calls = [node for node in tree.walk() if is_aggregate(node)]
    if not calls:
        raise Refused("it has no aggregate", mend="write sum(...), count(*) or the like, or remove `over`", where=where)
    for call in calls:
        name = called(call)
        if name.startswith("approx") or name in sql.ORDER_DECIDES:
            mend = "use min(), max(), or the exact function"
            raise Refused(f"{name}() may give another answer for the same rows", mend=mend, where=where)
    inside = {
        id(node) for call in calls for node in (call.parent if isinstance(call.parent, exp.Filter) else call).walk()
    }
    for star in tree.find_all(exp.Star):
        if isinstance(star.parent, exp.Count):
            star.pop()  # count(*), which the rest need not know
    _refuse_unknown(tree, {column.name.lower(): column for column in dataset.columns}, where)
    for column in tree.find_all(exp.Column):
        if id(column) not in inside:
            mend = f"write it within an aggregate, e.g. max({column.name})"
            raise Refused(f"{column.name} stands outside of an aggregate", mend=mend, where=where)
    _refuse_other_than_boolean(dataset, tree, where)
    return f"\n{condition}\n"


def _one_expression(text: str, where: str) -> exp.Expr:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse(text, dialect="duckdb")
    except SqlglotError as error:
        raise Refused("it does not parse", mend=located(error), where=where) from error
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Expr) or isinstance(parsed[0], exp.Query | exp.Command):
        raise Refused("it is not one expression", mend="write it as after WHERE, without a semicolon", where=where)
    return parsed[0]


def row_expression(dataset: Dataset, text: str, where: str) -> exp.Expr:
    """The text as one expression over a row of the dataset; `where` is for errors.

    Raises:
        Refused: it does not parse, reads anything but the row, or is not decided by it.
    """
    tree = _one_expression(text, where)
    _refuse_beyond_the_row(tree, {column.name.lower(): column for column in dataset.columns}, where)
    return tree


def _refuse_beyond_the_row(tree: exp.Expr, names: Mapping[str, Any], where: str) -> None:
    from sqlglot import exp

    if tree.find(exp.Query, exp.Window, exp.Exists) or any(is_aggregate(node) for node in tree.walk()):
        raise Refused("it looks beyond its row", mend="no subqueries, aggregates or windows here", where=where)
    _refuse_unknown(tree, names, where)


def _refuse_unknown(tree: exp.Expr, names: Mapping[str, Any], where: str) -> None:
    from sqlglot import exp

    if tree.find(exp.Placeholder, exp.Parameter, exp.Star, exp.Columns, exp.PositionalColumn):
        raise Refused("it has a placeholder", mend="name columns and constants only", where=where)
    if name := next(unrepeatable(tree), None):
        raise Refused(
            f"{name}() gives another answer each time",
            mend="compare columns with columns or constants; age is the business of `freshness:`",
            where=where,
        )
    for column in tree.find_all(exp.Column):
        if column.table or column.name.lower() not in names:
            raise Refused(
                f"the dataset has no column {column.sql(dialect='duckdb')}",
                mend=f"use one of {', '.join(found.name for found in names.values())}",
                where=where,
            )


def is_aggregate(node: exp.Expr) -> bool:
    """Whether the node is a call of an aggregate function."""
    from sqlglot import exp

    return isinstance(node, exp.AggFunc) or (
        isinstance(node, exp.Anonymous) and str(node.name).lower() in sql.AGGREGATES
    )


def unrepeatable(tree: exp.Expr) -> Iterator[str]:
    """Names of the functions called in the tree whose answer is not decided by their arguments."""
    from sqlglot import exp

    for call in tree.find_all(exp.Func):
        names = {str(call.name)} if isinstance(call, exp.Anonymous) else set(call.sql_names())
        if not sql.UNREPEATABLE.isdisjoint(name.lower() for name in names):
            yield called(call)


def called(call: exp.Expr) -> str:
    """The function's name as DuckDB writes it, in lower case."""
    return call.sql(dialect="duckdb", comments=False).partition("(")[0].lower()


def engine_condition(check: Check, dialect: str) -> str:
    """The condition of a row check in another engine's SQL: TRUE where the row fails.

    Over columns of the engine's own table called as the check calls them. NULL-safe: NULL never fails.

    Args:
        check: A row check other than `type`, whose rule is cleaning's.
        dialect: SQLGlot's name of the engine: `postgres`, `sqlite`, `mysql`, ...

    Raises:
        Refused: the engine has no exact counterpart (`pattern` outside DuckDB and PostgreSQL), or the kind is no row
            condition.
    """
    import sqlglot
    from sqlglot import exp

    if check.kind not in CONDITIONS:
        raise Refused(f"a {check.kind} check is not a condition on one row", where=f"check {check.name}")
    condition = CONDITIONS[check.kind](sql.name(check.column or ""), check.args, sql.literal)
    tree = sqlglot.parse_one(f"COALESCE({condition}, FALSE)", dialect="duckdb")
    for match in list(tree.find_all(exp.RegexpFullMatch)):
        if dialect == "duckdb":
            continue
        if dialect != "postgres":
            raise Refused(f"{dialect} has no regular expressions", where=f"check {check.name}")
        # (?p): a dot is no line break, as with RE2.
        anchored = exp.Literal.string(f"(?p)^(?:{match.expression.name})$")
        match.replace(exp.RegexpLike(this=match.this.copy(), expression=anchored))
    return tree.sql(dialect=dialect)


def located(error: Exception) -> str:
    """Where SQLGlot lost its way, in a sentence."""
    details = getattr(error, "errors", None)
    if not details:
        return "look for an unclosed quote or bracket"
    line, column, at = details[0].get("line"), details[0].get("col"), details[0].get("highlight")
    return f"look at line {line}, character {column}" + (f", near {at!r}" if at else "")
