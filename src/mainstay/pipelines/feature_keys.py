"""How rows map to the feature key, and whether the SQL looks across keys: read off the qualified query.

The query is walked once, each use of a table or a CTE being a place of its own. Columns made equal by equi-joins and by
passing through subqueries are joined into classes; the class of the key column of the result says which column of each
dataset is the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

ALL = "all"
"""A mapping: a change of any row of the dataset concerns every key."""

Node = tuple[str, str, str]
"""(path of the query's place, alias, column), all in lower case. Alias "" is the place's own output."""


class Place(msgspec.Struct):
    """One use of a subquery, a CTE or the whole query."""

    path: str
    scope: Scope
    outer: Place | None
    """Where a correlated subquery finds the columns that are not its own."""
    datasets: dict[str, str] = {}
    """Alias -> dataset, for the tables that stand right here."""
    subquery: bool = False
    """Whether it stands in a condition or an expression rather than in FROM."""
    beneath: set[str] = set()
    """Every dataset read in here, subqueries in FROM included."""


class Fault(msgspec.Struct, frozen=True):
    """Why the SQL cannot be kept current key by key, and the mend."""

    sentence: str
    mend: str


class Keys:
    """The walked query.

    Args:
        root: The outermost scope of the qualified query.
        key: The key column of the result, lower case.
        tables: Dataset names by their lower-case form.
    """

    def __init__(self, root: Scope, key: str, tables: Mapping[str, str]) -> None:
        self._tables = tables
        self._parent: dict[Node, Node] = {}
        self._direct: dict[Node, list[Node]] = {}
        self._pinned: dict[str, list[Node]] = {}
        self.places: list[Place] = []
        self.uses: list[tuple[str, Node]] = []
        """(dataset, node without column) for each use of a dataset."""
        self._columns: dict[tuple[str, str], set[str]] = {}
        self._root: Node = ("q", "", key)
        self._walk(root, "q", None, ())

    # --- classes of equal columns --------------------------------------------------------------------------------

    def _find(self, node: Node) -> Node:
        while (above := self._parent.get(node, node)) != node:
            node = above
        return node

    def _join(self, left: Node, right: Node) -> None:
        a, b = self._find(left), self._find(right)
        if a != b:
            self._parent[a] = b

    def declare(self, dataset: str, column: str) -> None:
        """The file says that this column of the dataset is the key."""
        for used, (path, alias, _) in self.uses:
            if used == dataset:
                self._join((path, alias, column.lower()), self._root)

    def joined(self, dataset: str, column: str) -> bool:
        """Whether every use of the dataset has this column equal to the key, by what the SQL says."""
        return all(
            self.is_key((path, alias, column.lower())) for used, (path, alias, _) in self.uses if used == dataset
        )

    def is_key(self, node: Node) -> bool:
        return self._find(node) == self._find(self._root)

    def candidates(self, dataset: str, own_key: str) -> tuple[set[str], bool]:
        """The columns that are the key in every use of the dataset, narrowed to the best; whether a use has none."""
        common: set[str] | None = None
        for used, (path, alias, _) in self.uses:
            if used != dataset:
                continue
            equal = {name for name in self._columns.get((path, alias), set()) if self.is_key((path, alias, name))}
            traced = {name for name in equal if (path, alias, name) in self._traced()}
            narrowed = traced or ({own_key} & equal) or equal
            common = narrowed if common is None else common & narrowed
            if not equal:
                return set(), True
        return common or set(), False

    def _traced(self) -> set[Node]:
        seen: set[Node] = set()
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting.extend(self._direct.get(node, ()))
        return seen

    # --- the walk ------------------------------------------------------------------------------------------------

    def _walk(self, scope: Scope, path: str, outer: Place | None, above: tuple[int, ...]) -> Place:
        from sqlglot import exp

        place = Place(path, scope, outer)
        if id(scope) in above:  # a recursive CTE meets itself: nothing is known of its columns
            return place
        above = (*above, id(scope))
        self.places.append(place)
        if isinstance(scope.expression, exp.SetOperation):
            self._walk_sides(place, above)
            return place
        for alias, (_, source) in scope.selected_sources.items():
            self._walk_source(place, alias.lower(), source, above)
        for number, inner in enumerate(scope.subquery_scopes):
            below = self._walk(inner, f"{path}/?{number}", place, above)
            below.subquery = True
            self._join_membership(place, inner, below)
        self._join_conditions(place)
        for projection in scope.expression.selects if isinstance(scope.expression, exp.Select) else []:
            self._join_output(place, projection)
        return place

    def _walk_sides(self, place: Place, above: tuple[int, ...]) -> None:
        names = _names(place.scope)
        for number, side in enumerate(place.scope.set_operation_scopes):
            below = self._walk(side, f"{place.path}/{number}", place.outer, above)
            place.beneath |= below.beneath
            inner = _names(side)
            for name, inside in zip(names, inner, strict=False):
                self._pass_through((place.path, "", name), (below.path, "", inside))

    def _walk_source(self, place: Place, alias: str, source: object, above: tuple[int, ...]) -> None:
        from sqlglot import exp
        from sqlglot.optimizer.scope import Scope

        if isinstance(source, exp.Table):
            dataset = self._tables.get(source.name.lower())
            if dataset is not None:
                place.datasets[alias] = dataset
                place.beneath.add(dataset)
                self.uses.append((dataset, (place.path, alias, "")))
        elif isinstance(source, Scope):
            below = self._walk(source, f"{place.path}/{alias}", place.outer, above)
            place.beneath |= below.beneath
            for name in _names(source):
                self._pass_through((place.path, alias, name), (below.path, "", name))

    def _pass_through(self, upper: Node, lower: Node) -> None:
        self._direct.setdefault(upper, []).append(lower)
        self._join(upper, lower)

    def _join_output(self, place: Place, projection: exp.Expr) -> None:
        output = (place.path, "", projection.alias_or_name.lower())
        for column in self.columns_of(projection.unalias()):
            node = self.node(place, column)
            self._direct.setdefault(output, []).append(node)
            self._join(output, node)

    def _join_membership(self, place: Place, inner: Scope, below: Place) -> None:
        """`x IN (SELECT y ...)` as a condition makes x and y equal."""
        from sqlglot import exp

        test = inner.expression.find_ancestor(exp.In, exp.Select)
        conditions = [condition for _, condition in _conjuncts(place.scope.expression)]
        if isinstance(test, exp.In) and any(test is condition for condition in conditions):
            names = _names(inner)
            if isinstance(column := plain(test.this), exp.Column) and len(names) == 1:
                output = (below.path, "", names[0])
                self._join(self.node(place, column), output)
                self._pinned.setdefault(below.path, []).append(output)

    def _join_conditions(self, place: Place) -> None:
        from sqlglot import exp

        for one_side, condition in _conjuncts(place.scope.expression):
            if not isinstance(condition, exp.EQ):
                continue
            left, right = plain(condition.this), plain(condition.expression)
            if not isinstance(left, exp.Column) or not isinstance(right, exp.Column):
                continue
            if one_side and left.table == right.table:
                continue  # an outer join keeps rows for which this does not hold
            a, b = self.node(place, left), self.node(place, right)
            self._join(a, b)
            for own, other in ((a, b), (b, a)):
                if own[0] == place.path and other[0] != place.path:
                    self._pinned.setdefault(place.path, []).append(own)

    def columns_of(self, expression: exp.Expr) -> Iterator[exp.Column]:
        """The columns that the expression is: itself, or either side of a COALESCE, as USING makes them."""
        from sqlglot import exp

        expression = plain(expression)
        if isinstance(expression, exp.Column):
            yield expression
        elif isinstance(expression, exp.Coalesce):
            for part in (expression.this, *expression.expressions):
                if isinstance(column := plain(part), exp.Column):
                    yield column

    def node(self, place: Place, column: exp.Column) -> Node:
        """Where the column comes from: this place, or the first one outside that has its table."""
        alias, name = column.table.lower(), column.name.lower()
        at: Place | None = place
        while at is not None:
            if alias in {source.lower() for source in at.scope.selected_sources}:
                self._columns.setdefault((at.path, alias), set()).add(name)
                return (at.path, alias, name)
            at = at.outer
        return (place.path, alias, name)

    def pinned(self, place: Place) -> bool:
        """Whether a correlated subquery sees the rows of one key only."""
        return any(self.is_key(node) for node in self._pinned.get(place.path, ()))


def plain(expression: exp.Expr) -> exp.Expr:
    """The expression without brackets and without casts to text, which keep keys apart that are apart."""
    from sqlglot import exp

    while True:
        if isinstance(expression, exp.Paren | exp.Alias) or (
            isinstance(expression, exp.Cast) and expression.to.is_type(*exp.DataType.TEXT_TYPES)
        ):
            expression = expression.this
        else:
            return expression


def _names(scope: Scope) -> list[str]:
    from sqlglot import exp

    query = scope.expression
    return [name.lower() for name in query.named_selects] if isinstance(query, exp.Query) else []


def _conjuncts(select: exp.Expr) -> Iterator[tuple[bool, exp.Expr]]:
    """(from an outer join, condition) for everything that WHERE and ON demand together."""
    from sqlglot import exp

    roots: list[tuple[bool, exp.Expr]] = []
    if isinstance(select, exp.Select):
        if where := select.args.get("where"):
            roots.append((False, where.this))
        joins = [join for join in select.args.get("joins") or () if join.args.get("on")]
        roots += [(join.side in ("LEFT", "RIGHT", "FULL"), join.args["on"]) for join in joins]
    for outer, root in roots:
        waiting = [root]
        while waiting:
            condition = waiting.pop()
            condition = condition.this if isinstance(condition, exp.Paren) else condition
            if isinstance(condition, exp.And):
                waiting += [condition.this, condition.expression]
            else:
                yield outer, condition
