"""The SQL behind feature rows: what it reads, how rows map to its key, whether it can be kept current, what it gives.

Pure, by SQLGlot; only `describe` asks DuckDB, on empty tables in memory. The rules are in docs/features.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import FileError, Problem, Refused
from mainstay.core.ids import digest_text
from mainstay.core.keys import joined_key, key_names, shown_names
from mainstay.core.nouns import ColumnType, Dataset, FeatureView
from mainstay.core.records import FeatureSetState
from mainstay.core.sql import DUCKDB_TYPES
from mainstay.core.verdicts import Finding, Verdict
from mainstay.pipelines import feature_across
from mainstay.pipelines.feature_keys import ALL, Keys
from mainstay.pipelines.feature_rules import forbidden, unstable
from mainstay.quality import sql
from mainstay.quality.conditions import located, row_expression

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp

AS_OF = "as_of"
"""The one parameter of a feature view's SQL, `$as_of`: the instant that it is evaluated at, TIMESTAMP in UTC."""

NAMING_TYPES = ("string", "integer", "boolean", "date", "timestamp")
"""Types whose equal values have one text: what can be a column of a key of several."""

_DIGEST_RULES = "1"


class FeatureAnalysis(msgspec.Struct, frozen=True):
    """What the SQL of a feature view says of itself."""

    tables: tuple[str, ...]
    """Datasets that it reads, sorted."""
    mapping: dict[str, str]
    """Dataset -> column, expression over its row, or `all`; complete when there are no problems of verdict FAIL."""
    uses_as_of: bool
    problems: tuple[Finding, ...]
    """FAIL: it cannot be served. WARN: it can, and somebody should look."""


def analyse(view: FeatureView, datasets: Mapping[str, Dataset]) -> FeatureAnalysis:
    """Reads the SQL of `view` without running it. Never raises for what the user wrote: that becomes a problem."""
    problems: list[Finding] = []
    tree = _parse(view, problems)
    if tree is None:
        return FeatureAnalysis((), dict(view.mapping), False, tuple(problems))
    problems += [_fail(view, sentence, mend) for sentence, mend in forbidden(tree)]
    tables = _tables(view, tree, datasets, problems)
    uses_as_of = _uses_as_of(tree)
    if any(problem.verdict is Verdict.FAIL for problem in problems):
        return FeatureAnalysis(tables, dict(view.mapping), uses_as_of, tuple(problems))
    problems += [_warn(view, sentence, mend) for sentence, mend in unstable(tree)]
    mapping = _declared(view, tables, datasets, problems)
    qualified = _qualified(view, tree, datasets, problems)
    if qualified is not None:
        mapping = _complete(view, qualified, tables, datasets=datasets, declared=mapping, problems=problems)
    return FeatureAnalysis(tables, mapping, uses_as_of, tuple(problems))


def _parse(view: FeatureView, problems: list[Finding]) -> exp.Query | None:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse(view.sql, dialect="duckdb")
    except SqlglotError as error:
        problems.append(_fail(view, "the SQL does not parse", located(error)))
        return None
    statements = [tree for tree in parsed if tree is not None and not isinstance(tree, exp.Semicolon)]
    if len(statements) != 1 or not isinstance(statements[0], exp.Select | exp.SetOperation):
        kinds = ", ".join(type(tree).__name__.upper() for tree in statements) or "nothing"
        problems.append(_fail(view, f"wanted one SELECT, found {kinds}", "write one SELECT; WITH is welcome"))
        return None
    return statements[0]


def _tables(
    view: FeatureView, tree: exp.Query, datasets: Mapping[str, Dataset], problems: list[Finding]
) -> tuple[str, ...]:
    from sqlglot import exp

    known = {name.lower(): name for name in datasets}
    defined = {cte.alias_or_name.lower() for cte in tree.find_all(exp.CTE)}
    used: set[str] = set()
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue  # a table function; `forbidden` names it
        name = table.name.lower()
        if name in defined and not table.db:
            continue
        if table.db or name not in known:
            shown = table.sql(dialect="duckdb", comments=False)
            close = get_close_matches(name, known, n=1)
            mend = f"did you mean {known[close[0]]}?" if close else f"read from {', '.join(sorted(datasets))}"
            problems.append(_fail(view, f"there is no dataset called {shown}", mend))
        else:
            used.add(known[name])
    if not used and not problems:
        problems.append(_fail(view, "the SQL reads no dataset", f"read from {', '.join(sorted(datasets))}"))
    return tuple(sorted(used))


def _uses_as_of(tree: exp.Expr) -> bool:
    from sqlglot import exp

    return any(found.name.lower() == AS_OF for found in tree.find_all(exp.Placeholder))


def _declared(
    view: FeatureView, tables: Sequence[str], datasets: Mapping[str, Dataset], problems: list[Finding]
) -> dict[str, str]:
    """The mapping that the file gives, proved against the datasets."""
    mapping: dict[str, str] = {}
    for name, value in view.mapping.items():
        if name not in tables:
            problems.append(_warn(view, f"`from:` names {name}, which the SQL does not read", f"remove {name}"))
            continue
        if value == ALL:
            mapping[name] = ALL
            continue
        parts = key_names(value)
        columns = {column.name.lower(): column.name for column in datasets[name].columns}
        faults = [_fault(view, datasets[name], part) for part in parts if part.lower() not in columns]
        if len(parts) != len(view.key_names):
            sentence = f"`from: {{{name}: {shown_mapping(value)}}}` has {len(parts)} for {shown_names(view.key)}"
            faults.append(_fail(view, sentence, "write a column or an expression for each column of the key, or `all`"))
        found = [fault for fault in faults if fault is not None]
        problems += found
        if not found:
            mapping[name] = joined_key([columns.get(part.lower(), part) for part in parts])
    return mapping


def _fault(view: FeatureView, dataset: Dataset, expression: str) -> Finding | None:
    """Why an expression of `from:` cannot be asked of a row."""
    try:
        row_expression(dataset, expression, f"from: {dataset.name}")
    except Refused as error:
        return _fail(view, f"`from: {{{dataset.name}: {expression}}}`: {error.sentence}", error.mend)
    return None


def shown_mapping(value: str) -> str:
    """What rows map to, as the file writes it."""
    parts = key_names(value)
    return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"


def _qualified(
    view: FeatureView, tree: exp.Query, datasets: Mapping[str, Dataset], problems: list[Finding]
) -> exp.Query | None:
    """The query with every column carrying its table and every star written out; names in lower case."""
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify

    schema: dict[str, object] = {
        name.lower(): {column.name.lower(): DUCKDB_TYPES[column.type] for column in dataset.columns}
        for name, dataset in datasets.items()
    }
    try:
        qualified: Any = qualify(tree.copy(), dialect="duckdb", schema=schema, quote_identifiers=False)
    except SqlglotError as error:
        sentence = str(error).partition("\n")[0].partition("\x1b")[0].strip().rstrip(".")
        problems.append(
            _fail(view, f"the SQL cannot be resolved: {sentence}", "correct its name, or write its table before it")
        )
        return None
    return qualified  # type: ignore[no-any-return]


def _complete(
    view: FeatureView,
    qualified: exp.Query,
    tables: Sequence[str],
    *,
    datasets: Mapping[str, Dataset],
    declared: Mapping[str, str],
    problems: list[Finding],
) -> dict[str, str]:
    from sqlglot.optimizer.scope import build_scope

    root = build_scope(qualified)
    outputs = [name.lower() for name in qualified.named_selects]
    lacking = [key for key in view.key_names if key.lower() not in outputs]
    if root is None or lacking:
        key = lacking[0] if lacking else shown_names(view.key)
        problems.append(_fail(view, f"the SQL gives no column {key}", f"add the key {key} to its SELECT"))
        return dict(declared)
    keys = [Keys(root, key.lower(), {name.lower(): name for name in tables}) for key in view.key_names]
    mapping = dict(declared)
    for name, value in declared.items():
        problems += _unshown(view, keys, datasets[name], value)
    missing: dict[str, str] = {}
    for name in tables:
        if name not in mapping:
            sure, proposed = _inferred(view, keys, datasets[name])
            (mapping if sure else missing)[name] = proposed
    if missing:
        problems.append(_missing(view, {**mapping, **missing}, missing))
        return mapping
    problems += _mixed(view, mapping, datasets)
    across = feature_across.faults(keys, mapping, ", ".join(view.key_names))
    problems += [_fail(view, fault.sentence, fault.mend) for fault in across]
    return mapping


def _unshown(view: FeatureView, keys: Sequence[Keys], dataset: Dataset, value: str) -> Iterator[Finding]:
    """What `from:` says of columns and the SQL does not show; it is believed."""
    names = {column.name.lower() for column in dataset.columns}
    parts = () if value == ALL else zip(view.key_names, keys, key_names(value), strict=True)
    for key, its, column in parts:
        if column.lower() in names:
            if not its.joined(dataset.name, column):
                sentence = f"`from:` says that {dataset.name}.{column} is {key}, which the SQL's joins do not show"
                yield _warn(view, sentence, f"join {dataset.name} by {column}, or map it to `all`")
            its.declare(dataset.name, column)


def _inferred(view: FeatureView, keys: Sequence[Keys], dataset: Dataset) -> tuple[bool, str]:
    """Whether the SQL says which columns are the key, and these columns; else what to propose."""
    columns = {column.name.lower(): column.name for column in dataset.columns}
    sure, parts = True, []
    for key, its in zip(view.key_names, keys, strict=True):
        own = key.lower() if len(keys) > 1 else dataset.key.lower()
        found, unlinked = its.candidates(dataset.name, own)
        same_name = columns.get(key.lower())
        if len(found) == 1 and not unlinked:
            parts.append(columns[next(iter(found))])
        elif same_name and not unlinked and same_name.lower() in found:
            parts.append(same_name)
            sure = False
        else:
            return False, ALL
    return sure, joined_key(parts)


def _mixed(view: FeatureView, mapping: Mapping[str, str], datasets: Mapping[str, Dataset]) -> list[Finding]:
    """Key columns of two types: 1 and '01' may join, and yet are two keys once they are text."""
    found = []
    for place, key in enumerate(view.key_names):
        types = {
            f"{name}.{column.name}": column.type
            for name, value in mapping.items()
            for column in datasets[name].columns
            if value != ALL and column.name == key_names(value)[place]
        }
        if len(set(types.values())) > 1:
            what = "the key" if len(view.key_names) == 1 else f"the key's {key}"
            shown = ", ".join(f"{column} is {kind}" for column, kind in sorted(types.items()))
            found.append(_fail(view, f"{what} has several types: {shown}", "declare one type for them in `columns:`"))
    return found


def _missing(view: FeatureView, proposed: Mapping[str, str], missing: Mapping[str, str]) -> Finding:
    line = ", ".join(f"{name}: {shown_mapping(value)}" for name, value in sorted(proposed.items()))
    names = " and ".join(sorted(missing))
    return _fail(
        view,
        f"cannot tell how a row of {names} maps to {shown_names(view.key)}: "
        "it is not joined by plain equality with the key",
        f"write `from: {{{line}}}` (a column, an expression over its row, or `all`)",
    )


def _fail(view: FeatureView, sentence: str, mend: str) -> Finding:
    return Finding(check=f"features.{view.name}", verdict=Verdict.FAIL, sentence=sentence, mend=mend)


def _warn(view: FeatureView, sentence: str, mend: str) -> Finding:
    return Finding(check=f"features.{view.name}", verdict=Verdict.WARN, sentence=sentence, mend=mend)


# --- what it reads and gives ---------------------------------------------------------------------------------------


def bound_sql(view: FeatureView) -> str:
    """The SQL as it is executed: `$as_of` left as the named parameter, safe to stand in brackets.

    A closing semicolon is cut off, and a newline ends a trailing comment.
    """
    import sqlglot

    tokens = sqlglot.tokenize(view.sql, read="duckdb")
    end = len(view.sql)
    while tokens and tokens[-1].text == ";":
        end = tokens.pop().start
    return view.sql[:end].rstrip() + "\n"


def resolved(view: FeatureView, datasets: Mapping[str, Dataset]) -> tuple[exp.Query, tuple[str, ...]]:
    """The query with every column carrying its table, and what it reads. Raises Refused; `analyse` says why in full."""
    problems: list[Finding] = []
    tree = _parse(view, problems)
    tables = _tables(view, tree, datasets, problems) if tree is not None else ()
    qualified = _qualified(view, tree, datasets, problems) if tree is not None and not problems else None
    if qualified is None:
        raise Refused(problems[0].sentence, mend=problems[0].mend, where=view.path or f"features.{view.name}")
    return qualified, tables


def read_columns(view: FeatureView, datasets: Mapping[str, Dataset]) -> dict[str, tuple[tuple[str, ColumnType], ...]]:
    """The columns that the SQL reads, per dataset in the dataset's order. `SELECT *` reads them all. Raises Refused."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    qualified, tables = resolved(view, datasets)
    known = {name.lower(): name for name in tables}
    read: dict[str, set[str]] = {name: set() for name in tables}
    for scope in traverse_scope(qualified):
        for alias, source in scope.sources.items():
            if isinstance(source, exp.Table) and source.name.lower() in known:
                read[known[source.name.lower()]] |= {c.name.lower() for c in scope.source_columns(alias)}
    return {
        name: tuple((c.name, c.type) for c in datasets[name].columns if c.name.lower() in read[name]) for name in tables
    }


def filled_columns(state: FeatureSetState, datasets: Mapping[str, Dataset]) -> dict[str, tuple[str, ...]]:
    """The columns with a `fill` that the SQL of a feature set reads, per dataset; all where it cannot be told."""
    may = {name: tuple(c.name for c in one.columns if c.fill is not None) for name, one in datasets.items()}
    may = {name: columns for name, columns in may.items() if columns}
    if not may:
        return {}
    try:
        read = read_columns(FeatureView(name=state.view, key=state.key, sql=state.sql), datasets)
    except Refused:
        return may
    known = {name: {column for column, _ in columns} for name, columns in read.items()}
    return {name: tuple(one for one in columns if one in known.get(name, ())) for name, columns in may.items()}


def describe(
    view: FeatureView, datasets: Mapping[str, Dataset], connection: duckdb.DuckDBPyConnection | None = None
) -> tuple[tuple[ColumnType, ...], tuple[tuple[str, ColumnType], ...]]:
    """The types of the key's columns and the result's columns in order, the key among them, as DuckDB works them out.

    Args:
        view: The feature view.
        datasets: Every dataset by name; each is made as an empty table.
        connection: An empty in-memory database to work in; None opens one that can reach neither files nor network.

    Raises:
        FileError: DuckDB refuses the SQL, located in the SQL's file; or the result has a column twice, lacks the key,
            or has a column of a type that no model eats (a list, a struct).
    """
    import duckdb

    opened = connection is None
    db = connection or duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "enable_external_access": False,
        }
    )
    try:
        for name, dataset in datasets.items():
            columns = ", ".join(f"{sql.name(c.name)} {DUCKDB_TYPES[c.type]}" for c in dataset.columns)
            db.execute(f"CREATE OR REPLACE TEMP TABLE {sql.name(name)} ({columns})")
        found = _describe(view, db)
    finally:
        if opened:
            db.close()
    names = [name for name, _ in found]
    twice = sorted({name for name in names if [other.lower() for other in names].count(name.lower()) > 1})
    if twice:
        raise _problem(view, "each column once", f"{', '.join(twice)} more than once", "give each a name with AS")
    kinds = {name.lower(): kind for name, kind in found}
    for key in view.key_names:
        if key.lower() not in kinds:
            raise _problem(view, f"the key {key} among the columns", ", ".join(names), f"add {key} to the SELECT")
    types = tuple(kinds[key.lower()] for key in view.key_names)
    for key, kind in zip(view.key_names, types, strict=True):
        if kind not in NAMING_TYPES and (len(types) > 1 or kind == "number"):
            wanted = f"a key of columns of type {', '.join(NAMING_TYPES)}"
            raise _problem(view, wanted, f"{key} of type {kind}", f"cast it: CAST({key} AS VARCHAR), or AS BIGINT")
    return types, tuple(found)


def _describe(view: FeatureView, db: duckdb.DuckDBPyConnection) -> list[tuple[str, ColumnType]]:
    import duckdb

    from mainstay.core.clock import naive_utc

    try:
        statements = duckdb.extract_statements(view.sql)
        if len(statements) != 1:
            raise _problem(view, "one SELECT", f"{len(statements)} statements", "write one SELECT; WITH is welcome")
        parameters = {AS_OF: naive_utc(0)} if AS_OF in statements[0].named_parameters else None
        described = db.execute(view.sql, parameters).description or []
    except duckdb.Error as error:
        raise _refused_by_duckdb(view, str(error)) from error
    found: list[tuple[str, ColumnType]] = []
    for name, kind, *_ in described:
        base = str(kind).partition("(")[0] if "[" not in str(kind) else str(kind)
        mapped = _FROM_DUCKDB.get(base)
        if mapped is None:
            raise _problem(
                view,
                "columns that a model can eat",
                f"{name} of type {kind}",
                f"cast {name} to text, a number, a boolean, a date or a timestamp, or leave it out",
            )
        found.append((name, mapped))
    return found


_FROM_DUCKDB: dict[str, ColumnType] = {
    "VARCHAR": "string", "UUID": "string", "ENUM": "string",
    "TINYINT": "integer", "SMALLINT": "integer", "INTEGER": "integer", "BIGINT": "integer",
    "UTINYINT": "integer", "USMALLINT": "integer", "UINTEGER": "integer", "UBIGINT": "number",
    "HUGEINT": "number", "UHUGEINT": "number", "DECIMAL": "number", "FLOAT": "number", "DOUBLE": "number",
    "BOOLEAN": "boolean", "DATE": "date",
    "TIMESTAMP": "timestamp", "TIMESTAMP_S": "timestamp", "TIMESTAMP_MS": "timestamp",
    "JSON": "json", "BLOB": "bytes",
}  # fmt: skip


def _refused_by_duckdb(view: FeatureView, message: str) -> FileError:
    sentence, _, rest = message.partition("\n\nLINE ")
    sentence, _, hint = sentence.partition("\n")
    number, _, shown = rest.partition(": ")
    text, _, caret = shown.partition("\n")
    # The caret stands under the text as shown, which begins behind "LINE 12: ".
    column = len(caret) - len(caret.lstrip()) - len(f"LINE {number}: ") + 1 if "^" in caret else 0
    column = column if "..." not in text else 0
    line = int(number) if number.isdigit() else 0
    return FileError(
        (
            Problem(
                file=view.path or "mainstay.yaml",
                line=line,
                column=max(column, 0),
                path=f"features.{view.name}.sql",
                wanted="SQL that DuckDB can run",
                came=sentence.strip(),
                mend=hint.partition("\n")[0].strip() if hint.startswith(("Candidate bindings", "Did you mean")) else "",
            ),
        )
    )


def _problem(view: FeatureView, wanted: str, came: str, mend: str) -> FileError:
    file = view.path or "mainstay.yaml"
    return FileError((Problem(file, 0, 0, f"features.{view.name}.sql", wanted, came, mend),))


def feature_set_digest(
    view: FeatureView,
    mapping: Mapping[str, str],
    read: Mapping[str, Sequence[tuple[str, ColumnType]]],
    columns: Sequence[tuple[str, ColumnType]],
) -> str:
    """The name of the feature set: over SQL, key, mapping, names and types read, and names and types given.

    White space, comments and the case of keywords do not change it; nor do owner, freshness, checks and cleaning.
    """
    return digest_text(
        _DIGEST_RULES,
        normalised(view.sql),
        view.key,
        json.dumps(dict(sorted(mapping.items()))),
        json.dumps({name: [list(pair) for pair in pairs] for name, pairs in sorted(read.items())}),
        json.dumps([list(pair) for pair in columns]),
    )


def normalised(text: str) -> str:
    """The SQL token by token: one space between, comments gone, keywords in capitals, names and texts as they are."""
    import sqlglot
    from sqlglot.tokenizer_core import TokenType

    words = []
    for token in sqlglot.tokenize(text, read="duckdb"):
        if token.token_type is TokenType.STRING:
            words.append(sql.text(token.text))
        elif token.token_type is TokenType.IDENTIFIER:
            words.append(sql.name(token.text))
        elif token.token_type is TokenType.VAR:
            words.append(token.text)
        else:
            words.append(token.text.upper())
    while words and words[-1] == ";":
        words.pop()
    return " ".join(words)
