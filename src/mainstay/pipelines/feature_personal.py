"""Which columns of a feature set tell who a person is: those made of dataset columns that are marked `pii`.

By the SQL alone: an expression with a marked column in it is personal, whatever it makes of it. A condition is not:
rows that were chosen by a marked column do not show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import Refused
from mainstay.core.nouns import Dataset, FeatureView
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.feature_sql import resolved

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope


def personal_columns(view: FeatureView, datasets: Mapping[str, Dataset]) -> tuple[str, ...]:
    """Names of the view's outputs, the key among them, that are personal, in lower case and sorted.

    Where the SQL cannot be read any more, every marked name.
    """
    marked = {
        name.lower(): frozenset(column.name.lower() for column in dataset.columns if column.pii)
        for name, dataset in datasets.items()
    }
    every = frozenset[str]().union(*marked.values())
    if not every:
        return ()
    from sqlglot.optimizer.scope import build_scope

    try:
        query, _ = resolved(view, datasets)
    except Refused:
        return tuple(sorted(every))
    root = build_scope(query)
    told = () if root is None else _Outputs(marked, every).of(root)
    return tuple(sorted({name for name, personal in told if personal}))


def mark(desk: Desk) -> None:
    """Tells every feature set in state which of its columns are personal by the file of the desk."""
    for digest, state in desk.feature_sets.all().items():
        view = FeatureView(name=state.view, key=state.key, sql=state.sql)
        personal = personal_columns(view, desk.integration.datasets)
        if personal != state.personal:
            desk.feature_sets.put(digest, msgspec.structs.replace(state, personal=personal), token=desk.token)


class _Outputs:
    """Walks down from what a query gives to the tables that it reads."""

    def __init__(self, marked: Mapping[str, frozenset[str]], every: frozenset[str]) -> None:
        self._marked = marked
        self._every = every
        self._known: dict[int, tuple[tuple[str, bool], ...]] = {}

    def of(self, scope: Scope) -> tuple[tuple[str, bool], ...]:
        """(name, whether it is personal) of each output, in order."""
        place = id(scope)
        if place not in self._known:
            self._known[place] = ()  # of a query that reads itself
            self._known[place] = self._made(scope)
        return self._known[place]

    def _made(self, scope: Scope) -> tuple[tuple[str, bool], ...]:
        from sqlglot import exp

        outputs: Any = scope.expression
        if scope.set_operation_scopes:
            parts = [self.of(each) for each in scope.set_operation_scopes]
            if outputs.args.get("by_name"):
                names = dict.fromkeys(name for part in parts for name, _ in part)
                return tuple((name, any(dict(part).get(name, False) for part in parts)) for name in names)
            return tuple((same[0][0], any(personal for _, personal in same)) for same in zip(*parts, strict=False))
        return tuple(
            (one.alias_or_name.lower(), any(self._personal(scope, each) for each in one.find_all(exp.Column)))
            for one in outputs.selects
        )

    def _personal(self, scope: Scope, column: exp.Column) -> bool:
        name = column.name.lower()
        sources = list(_sources(scope, column.table))
        return any(self._from(source, name) for source in sources) if sources else name in self._every

    def _from(self, source: exp.Expr | Scope, name: str) -> bool:
        """Whether what a table or a query gives under this name is personal."""
        from sqlglot import exp
        from sqlglot.optimizer.scope import Scope

        if not isinstance(source, Scope):
            return isinstance(source, exp.Table) and name in self._marked.get(source.name.lower(), frozenset())
        if isinstance(source.expression, exp.UDTF):
            # LATERAL, UNNEST: its names may be anything, so all of them are what any part of it is.
            within = (each for inner in source.subquery_scopes for each in self.of(inner))
            columns = source.expression.find_all(exp.Column)
            return any(personal for _, personal in within) or any(self._personal(source, each) for each in columns)
        return dict(self.of(source)).get(name, name in self._every)


def _sources(scope: Scope, table: str) -> Iterator[exp.Expr | Scope]:
    """What the name of a table stands for in a query, and in the queries within its expressions."""
    if table in scope.sources:
        yield scope.sources[table]
    for inner in scope.subquery_scopes:
        yield from _sources(inner, table)
