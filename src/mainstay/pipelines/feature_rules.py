"""What the SQL of a feature view may not contain: whatever would give another row for the same data and `$as_of`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mainstay.quality.conditions import called, unrepeatable
from mainstay.quality.sql import ORDER_DECIDES

if TYPE_CHECKING:
    from sqlglot import exp

_TIMES = frozenset(
    {"now", "today", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "ago",
     "get_current_timestamp", "get_current_time", "transaction_timestamp", "current_datetime", "getdate", "sysdate"}
)  # fmt: skip

_APPROXIMATE = "approx"


def forbidden(tree: exp.Expr) -> Iterator[tuple[str, str]]:
    """(sentence, mend) for everything that is refused."""
    from sqlglot import exp

    for name in dict.fromkeys(unrepeatable(tree)):
        if name in _TIMES:
            yield f"{name}() moves while nothing changes", "use $as_of, and `refresh:` to re-evaluate it"
        else:
            yield f"{name}() is not decided by the data", "remove it"
    for call in tree.find_all(exp.Anonymous):
        if call.name.lower() == "age" and len(call.expressions) == 1:
            yield "age() of one argument measures from today", "write age($as_of, ...)"
    for holder in tree.find_all(exp.Placeholder, exp.Parameter, exp.SessionParameter):
        if not (isinstance(holder, exp.Placeholder) and holder.name.lower() == "as_of"):
            yield "$as_of is the only parameter", "write the value itself"
    yield from _beyond_tables(tree)
    for column in tree.find_all(exp.Column):
        if column.name.lower() == "rowid":
            yield "rowid is our order of storing", "order by a column of the data"


def _beyond_tables(tree: exp.Expr) -> Iterator[tuple[str, str]]:
    from sqlglot import exp

    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            shown = table.this.sql(dialect="duckdb", comments=False)
            yield f"{shown} is a table function", "read datasets only"
        if table.args.get("when") is not None or table.args.get("version") is not None:
            yield "a table AT a time is not kept", "read the dataset as it is"
    makers = tree.find_all(exp.Unnest, exp.Explode, exp.GenerateSeries)
    if any(not isinstance(maker.parent, exp.Table) for maker in makers):
        yield "unnest() and the like make rows of their own", "make it a dataset with a key"
    if tree.find(exp.TableSample):
        yield "a sample is another one each time", "remove it"
    if any(join.args.get("method") == "POSITIONAL" for join in tree.find_all(exp.Join)):
        yield "a POSITIONAL JOIN depends on the order of storing", "join by a column"
    if tree.find(exp.Columns, exp.PositionalColumn):
        yield "columns are not named", "name each column"
    if tree.find(exp.Pivot):
        yield "PIVOT names its columns by the data", "write sum(...) FILTER (WHERE ...) for each column"


def unstable(tree: exp.Expr) -> Iterator[tuple[str, str]]:
    """(sentence, mend) for what may differ between two evaluations of equal data, and mostly does not."""
    from sqlglot import exp

    for call in tree.find_all(exp.AggFunc, exp.Anonymous):
        name = called(call)
        if name.startswith(_APPROXIMATE):
            yield f"{name}() is approximate", "use the exact function"
        elif name in ORDER_DECIDES and call.find(exp.Order) is None and call.find_ancestor(exp.Window) is None:
            yield f"{name}() takes rows in any order", f"write {name}(... ORDER BY ...), max() or min()"
