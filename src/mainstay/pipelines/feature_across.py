"""What in the SQL of a feature view looks across keys, so that recomputing the changed keys alone would be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mainstay.core.keys import key_names
from mainstay.pipelines.feature_keys import ALL, Fault, Keys, Place, plain
from mainstay.quality.conditions import is_aggregate

if TYPE_CHECKING:
    from sqlglot import exp

KeyTest = Callable[["exp.Expr"], bool]
"""Whether an expression is one column of the key."""


def faults(keys: Sequence[Keys], mapping: Mapping[str, str], key: str) -> Iterator[Fault]:
    """Every aggregate, window, DISTINCT ON, LIMIT and NOT IN that sees rows of other keys.

    A place that reads only datasets mapped to `all` may: any change of theirs recomputes every key.

    Args:
        keys: The query as walked for each column of the key. Whatever keeps to one key keeps to all of them.
        mapping: Dataset -> what its rows map to.
        key: The key's columns, for sentences.
    """
    from sqlglot import exp

    for place in keys[0].places:
        expression = place.scope.expression
        everything = all(mapping.get(dataset) == ALL for dataset in place.beneath)
        if expression.args.get("limit") and not expression.args.get("order"):
            yield Fault("LIMIT without ORDER BY keeps any rows", "add ORDER BY with a column that decides")
        if everything or all(one.pinned(place) for one in keys):
            continue
        mend_all = f"or map what it reads to `all` in `from:` ({', '.join(sorted(place.beneath))})"
        if (expression.args.get("limit") or expression.args.get("offset")) and expression.args.get("order"):
            yield Fault(
                "LIMIT chooses among the rows of all keys",
                f"use QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY ...), {mend_all}",
            )
        if place.subquery and not any(True for _ in expression.find_all(exp.AggFunc)):
            yield Fault("a subquery sees the rows of all keys", f"tie it to the key in its WHERE, {mend_all}")
        if not isinstance(expression, exp.Select):
            continue
        is_key = [_key_test(one, place, mapping, number) for number, one in enumerate(keys)]
        yield from _grouping(expression, is_key, key, mend_all)
        yield from _windows(expression, is_key, key, mend_all)
        yield from _not_in(place, mapping, mend_all)


def _grouping(select: exp.Select, is_key: Sequence[KeyTest], key: str, mend_all: str) -> Iterator[Fault]:

    own = [node for node in _own(select) if is_aggregate(node) and not _windowed(node)]
    group = select.args.get("group")
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is not None:
        on = distinct.args["on"]
        if not _all_named(is_key, on.expressions or [on]):
            yield Fault("DISTINCT ON chooses among the rows of all keys", f"add {key} to its columns, {mend_all}")
    if not own and group is None:
        return
    parts: list[exp.Expr] = list(group.expressions) if group is not None else []
    if group is not None and group.args.get("all"):
        parts += [part.unalias() for part in select.selects if not any(is_aggregate(node) for node in part.walk())]
    if not _all_named(is_key, parts):
        shown = own[0].sql(dialect="duckdb", comments=False) if own else "GROUP BY"
        yield Fault(f"{_short(shown)} goes over the rows of all keys", f"add {key} to GROUP BY, {mend_all}")


def _windows(select: exp.Select, is_key: Sequence[KeyTest], key: str, mend_all: str) -> Iterator[Fault]:
    from sqlglot import exp

    named = {window.name.lower(): window for window in select.args.get("windows") or ()}
    for window in _own(select):
        if not isinstance(window, exp.Window):
            continue
        if window.parent is select and window.arg_key == "windows":
            continue
        parts = list(window.args.get("partition_by") or ())
        base = named.get(str(window.alias or "").lower())
        if base is not None:
            parts += base.args.get("partition_by") or ()
        if not _all_named(is_key, parts):
            shown = _short(window.sql(dialect="duckdb", comments=False))
            yield Fault(f"{shown} goes over the rows of all keys", f"add PARTITION BY {key}, {mend_all}")


def _not_in(place: Place, mapping: Mapping[str, str], mend_all: str) -> Iterator[Fault]:
    from sqlglot import exp

    for test in _own(place.scope.expression):
        if not isinstance(test, exp.In) or test.args.get("query") is None or not isinstance(test.parent, exp.Not):
            continue
        read = {table.name.lower() for table in test.args["query"].find_all(exp.Table)}
        if any(dataset.lower() in read and to != ALL for dataset, to in mapping.items()):
            yield Fault(
                "NOT IN (SELECT ...) turns to nothing as soon as any row of any key is NULL",
                f"write NOT EXISTS (SELECT ... WHERE ... = ...), {mend_all}",
            )


def _all_named(tests: Sequence[KeyTest], parts: Sequence[exp.Expr]) -> bool:
    """Whether every column of the key is among the parts."""
    return all(any(is_key(part) for part in parts) for is_key in tests)


def _key_test(keys: Keys, place: Place, mapping: Mapping[str, str], number: int) -> KeyTest:
    """Whether an expression is the key's column of this number."""
    from sqlglot import exp

    expressions = {
        _unqualified(key_names(mapping[dataset])[number])
        for dataset in place.datasets.values()
        if mapping.get(dataset, ALL) != ALL
    }

    def is_key(expression: exp.Expr) -> bool:
        columns = list(keys.columns_of(expression))
        if columns and all(keys.is_key(keys.node(place, column)) for column in columns):
            return True
        bare = plain(expression).copy()
        for column in bare.find_all(exp.Column):
            column.set("table", None)
        return _unqualified(bare.sql(dialect="duckdb")) in expressions

    return is_key


def _unqualified(expression: str) -> str:
    import sqlglot

    return sqlglot.parse_one(expression, dialect="duckdb").sql(dialect="duckdb", identify=True, comments=False).lower()


def _own(select: exp.Expr) -> list[exp.Expr]:
    """Nodes of the query itself, not of its subqueries."""
    from sqlglot import exp

    return list(select.walk(prune=lambda node: node is not select and isinstance(node, exp.Query)))


def _windowed(aggregate: exp.Expr) -> bool:
    """Whether it is the function of a window, which has rules of its own."""
    from sqlglot import exp

    node = aggregate
    while isinstance(node.parent, exp.IgnoreNulls | exp.RespectNulls | exp.Filter | exp.WithinGroup):
        node = node.parent
    return isinstance(node.parent, exp.Window) and node.arg_key == "this"


def _short(text: str) -> str:
    text = text.replace('"', "")
    return text if len(text) <= 80 else text[:77] + "..."
