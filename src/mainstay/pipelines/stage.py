"""From a source's stream to the versions that are new: the first step of a read, in DuckDB temporary tables.

`stage` holds raw columns by their source names and four of ours: `_ord` (order of reading), `_op` (`u` or `d`), `_k`
(the key as canonical text) and `_digest` (over the raw values). What is left in it after `drop_noops` is what lands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.keys import joined_sql
from mainstay.core.nouns import Column, Dataset
from mainstay.core.ports import SourceKind
from mainstay.core.sql import identifier, literal
from mainstay.pipelines.clean import CleaningSql, cleaning
from mainstay.pipelines.clean_forms import FUNCTIONS, remembering
from mainstay.store.current import Current, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

RAW_TYPES: dict[SourceKind, str] = {"integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "bytes": "BLOB"}
"""DuckDB types of raw columns; every kind that is not here is text."""

DELETED = "(SELECT md5_number('deleted'))"
"""The digest of every tombstone that we make."""

EVENT = "_event_at"

_TIMES = ("date", "timestamp", "timestamptz")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a dataset's raw rows are read, cleaned and ordered: everything SQL is generated from."""

    dataset: Dataset
    kinds: dict[str, SourceKind]
    """Raw column -> kind, in reading order."""
    cleaning: CleaningSql
    raw_keys: tuple[str, ...]
    """The raw columns of the key, in its order."""
    raw_cursor: str | None
    cleaned_with: str
    """Digest of the cleaning, as stored beside what it made."""
    timezone: str | None = None
    """The source's."""
    lost: tuple[str, ...] = ()
    """Raw columns that are gone from the source: their values here are NULL for that reason."""

    @property
    def raw(self) -> tuple[str, ...]:
        """Raw columns in reading order."""
        return tuple(self.kinds)


def source_name(dataset: Dataset, name: str) -> str:
    """The raw name of a contract column, or the name itself where it is read beside the contract."""
    for column in dataset.columns:
        if column.name == name:
            return column.source_name
    return next((column.source_name for column in dataset.columns if name in column.names), name)


def raw_columns(dataset: Dataset) -> tuple[str, ...]:
    """Exactly what is read: the contract's columns, key, cursor, delete, event-time and ordering columns."""
    names = [column.source_name for column in dataset.columns]
    extra = [*dataset.key_names, dataset.event_time, dataset.duplicates.by, dataset.deletes.column or None]
    if dataset.cursor is not None:
        extra.append(dataset.cursor.column)
    names += [source_name(dataset, name) for name in extra if name]
    return tuple(dict.fromkeys(names))


def shape(dataset: Dataset, kinds: Mapping[str, SourceKind], timezone: str | None, lost: tuple[str, ...] = ()) -> Shape:
    """The dataset's shape, given what the source says its columns are (`kinds`: every raw column -> kind)."""
    read = {name: kinds[name] for name in raw_columns(dataset)}
    event = dataset.event_time or (dataset.cursor.column if dataset.cursor else None)
    extended = dataset
    if event is not None and read[source_name(dataset, event)] in _TIMES:
        column = Column(name=EVENT, type="timestamp", source_name=source_name(dataset, event))
        extended = msgspec.structs.replace(dataset, columns=(*dataset.columns, column))
    return Shape(
        dataset=dataset,
        kinds=read,
        cleaning=cleaning(extended, read, timezone),
        raw_keys=tuple(source_name(dataset, name) for name in dataset.key_names),
        raw_cursor=source_name(dataset, dataset.cursor.column) if dataset.cursor else None,
        cleaned_with=cleaning(dataset, read, timezone).digest,
        timezone=timezone,
        lost=lost,
    )


def define_functions(current: Current, form: Shape) -> None:
    """Lets the cleaning's SQL call what it calls."""
    for kind in form.cleaning.functions:
        function = FUNCTIONS[kind]
        current.define(function.name, partial(remembering, function), 2)


def key_sql(form: Shape) -> str:
    """The canonical text of a row's key over raw columns; NULL where it has none."""
    cleaned = {one.name: one for one in form.cleaning.columns}
    parts = (cleaned[name] for name in form.dataset.key_names)
    return joined_sql(
        [f"CAST(CASE WHEN {part.bad_sql} THEN NULL ELSE {part.value_sql} END AS VARCHAR)" for part in parts]
    )


def digest_sql(form: Shape) -> str:
    """128 bits over the raw values, in order: two differently seeded 64-bit hashes."""
    names = ", ".join(identifier(name) for name in form.raw)
    backwards = ", ".join(identifier(name) for name in reversed(form.raw))
    return f"((hash({names})::UHUGEINT << 64) | hash('mainstay', {backwards})::UHUGEINT)"


def deleted_sql(form: Shape) -> str:
    """Whether a raw row is marked as deleted by its delete column."""
    if form.dataset.deletes.kind != "column":
        return "FALSE"
    name = identifier(source_name(form.dataset, form.dataset.deletes.column))
    return f"({name} IS NOT NULL AND lower(CAST({name} AS VARCHAR)) NOT IN ('', '0', 'f', 'false', 'n', 'no'))"


def time_order_sql(name: str, kind: SourceKind) -> str:
    """An expression that orders a raw column as its source would."""
    quoted = identifier(name)
    if kind in ("timestamp", "date"):
        return f"TRY_CAST({quoted} AS TIMESTAMP)"
    if kind == "timestamptz":
        return f"TRY_CAST({quoted} AS TIMESTAMPTZ)"
    if kind == "numeric":
        return f"TRY_CAST({quoted} AS DOUBLE)"
    return quoted


def order_sql(form: Shape) -> str:
    """What orders rows of one key in one read: the declared column, else the cursor, else our order of reading."""
    by = form.dataset.duplicates.by
    name = source_name(form.dataset, by) if by else form.raw_cursor
    if name is None:
        return "_ord"
    value = time_order_sql(name, form.kinds[name])
    return f"row({value} IS NOT NULL, {value}, _ord)"


def winner_sql(form: Shape, value: str) -> str:
    """An aggregate: `value` of the row that wins among rows of one key."""
    pick = "arg_min" if form.dataset.duplicates.keep == "first" else "arg_max"
    return f"{pick}({value}, {order_sql(form)})"


def repeats(current: Current, table: str) -> bool:
    """Whether any key stands in `table` more than once."""
    return bool(current.one(f"SELECT count(*) > count(DISTINCT _k) FROM {table}")[0])


def numbered(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The stream, as its schema and batches, with `_ord`, our order of reading, as its first column."""
    import numpy as np
    import pyarrow as pa

    fields = pa.schema([pa.field("_ord", pa.int64()), *schema])

    def rows() -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in batches:
            order: Any = np.arange(done, done + batch.num_rows, dtype=np.int64)
            done += batch.num_rows
            # Not pa.array: it imports pandas where there is one, which takes longer than a small run.
            column = pa.Array.from_buffers(pa.int64(), batch.num_rows, [None, pa.py_buffer(order)])
            yield pa.RecordBatch.from_arrays([column, *batch.columns], schema=fields)

    return fields, rows()


def fill(current: Current, form: Shape, incoming: pa.RecordBatchReader, *, landed: bool = False) -> int:
    """Makes `stage` out of a stream; returns its rows.

    A fresh read has `_ord` and raw columns; a landed batch (`landed`) has `_op` and `_k` as well, and keeps them.
    """
    current.db.register("incoming", incoming)
    try:
        return _make_stage(current, form, set(incoming.schema.names), landed=landed)
    finally:
        current.db.unregister("incoming")


def fill_kept(current: Current, form: Shape, kept_sql: str) -> int:
    """Makes `stage` out of versions kept with their raw values as a JSON object of texts; returns its rows.

    Args:
        current: The open DuckDB file.
        form: The dataset's shape.
        kept_sql: A query of columns `n` (becomes `_ord`), `op`, `k` and `raw`.
    """
    texts = ", ".join(f"_texts[{place}] AS {identifier(name)}" for place, name in enumerate(form.raw, 1))
    current.sql(
        "CREATE OR REPLACE TEMP VIEW incoming AS "
        f"SELECT n AS _ord, op AS _op, k AS _k, {texts} "
        f"FROM (SELECT n, op, k, {texts_sql(form.raw)} AS _texts FROM ({kept_sql})) ORDER BY n"
    )
    try:
        return _make_stage(current, form, {"_ord", "_op", "_k", *form.raw}, landed=True)
    finally:
        current.sql("DROP VIEW temp.main.incoming")


def texts_sql(names: Sequence[str]) -> str:
    """The values of these names in a JSON object `raw`, as a list of texts: the object is parsed once for all."""
    paths = ", ".join(literal("$." + json.dumps(name)) for name in names)
    return f"json_extract_string(raw, [{paths}])"


def _make_stage(current: Current, form: Shape, there: set[str], *, landed: bool) -> int:
    """Makes `stage` out of `incoming`, which has the columns `there`."""
    define_functions(current, form)
    # An integer key read from text and a wide integer column must come out as one type whatever the driver sent.
    # A batch that landed before the contract gained a column has none of it.
    raw = ", ".join(
        f"CAST({identifier(name) if name in there else 'NULL'} AS {RAW_TYPES.get(kind, 'VARCHAR')}) "
        f"AS {identifier(name)}"
        for name, kind in form.kinds.items()
    )
    marks = "_op, _k AS _landed_k," if landed else f"CASE WHEN {deleted_sql(form)} THEN 'd' ELSE 'u' END AS _op,"
    key = "_landed_k" if landed else f"coalesce({key_sql(form)}, chr(1) || CAST(_digest AS VARCHAR))"
    keyless = " AND ".join(f"{identifier(name)} IS NULL" for name in form.raw_keys)
    digest = f"CASE WHEN _op = 'd' AND {keyless} THEN {DELETED} ELSE {digest_sql(form)} END"
    current.sql(
        "CREATE OR REPLACE TEMP TABLE stage AS "
        f"SELECT * {'EXCLUDE (_landed_k)' if landed else ''}, {key} AS _k FROM ("
        f"SELECT *, {digest} AS _digest FROM (SELECT _ord, {marks} {raw} FROM incoming))"
    )
    return int(current.one("SELECT count(*) FROM stage")[0])


def make_known(current: Current, dataset: str) -> None:
    """Makes the view `known`: position, digest and cursor of the newest landed version of each key."""
    schema = schema_of(dataset)
    current.sql(
        "CREATE OR REPLACE TEMP VIEW known AS "
        f"SELECT _k, _digest, _cursor, _op FROM {schema}.newest "
        f"UNION ALL SELECT _k, _digest, _cursor, CASE WHEN _deleted THEN 'd' ELSE 'u' END FROM {schema}.rows r "
        f"WHERE NOT EXISTS (SELECT 1 FROM {schema}.newest n WHERE n._k = r._k)"
    )


def add_absent(current: Current, form: Shape) -> int:
    """For a complete snapshot in `stage`: adds a tombstone for each known key that it lacks. Returns how many."""
    make_known(current, form.dataset.name)
    return _add_tombstones(current, form, "SELECT _k FROM known WHERE _op = 'u' AND _k NOT IN (SELECT _k FROM stage)")


def _add_tombstones(current: Current, form: Shape, keys_sql: str) -> int:
    nulls = ", ".join(
        f"CAST(NULL AS {RAW_TYPES.get(kind, 'VARCHAR')}) AS {identifier(name)}" for name, kind in form.kinds.items()
    )
    first = int(current.one("SELECT coalesce(max(_ord), -1) + 1 FROM stage")[0])
    before = int(current.one("SELECT count(*) FROM stage")[0])
    current.sql(
        f"INSERT INTO stage SELECT {first} + row_number() OVER () - 1 AS _ord, 'd' AS _op, {nulls}, "
        f"{DELETED} AS _digest, _k FROM ({keys_sql} ORDER BY _k)"
    )
    return int(current.one("SELECT count(*) FROM stage")[0]) - before


def compare_keys(
    current: Current, form: Shape, incoming: pa.RecordBatchReader, *, most: int
) -> tuple[tuple[str, ...] | None, str]:
    """Reconciliation: what the source's (key, cursor) pairs say against what was landed.

    Returns:
        The raw keys, as `joined_key` of their texts, whose rows must be read again, and the SQL of the keys that are
        gone. More than `most` raw keys are not listed: None.
    """
    make_known(current, form.dataset.name)
    define_functions(current, form)
    current.db.register("incoming", incoming)
    cursor = identifier(form.raw_cursor) if form.raw_cursor else "NULL"
    raw_key = joined_sql([f"CAST({identifier(name)} AS VARCHAR)" for name in form.raw_keys])
    try:
        current.sql(
            "CREATE OR REPLACE TEMP TABLE keys_now AS "
            f"SELECT coalesce({key_sql(form)}, '') AS _k, {raw_key} AS raw_key, "
            f"CAST({cursor} AS VARCHAR) AS _cursor FROM incoming"
        )
    finally:
        current.db.unregister("incoming")
    again = current.sql(
        "SELECT DISTINCT n.raw_key FROM keys_now n LEFT JOIN known o USING (_k) "
        "WHERE n.raw_key IS NOT NULL AND (o._k IS NULL OR o._op = 'd' OR n._cursor IS DISTINCT FROM o._cursor "
        "OR n._cursor IS NULL OR n._cursor IN ('infinity', '-infinity')) "
        f"ORDER BY 1 LIMIT {most + 1}"
    )
    gone = "SELECT _k FROM known WHERE _op = 'u' AND _k NOT IN (SELECT _k FROM keys_now) AND _k NOT LIKE chr(1) || '%'"
    return None if len(again) > most else tuple(str(key) for (key,) in again), gone


def add_gone(current: Current, form: Shape, gone_sql: str) -> int:
    """Adds the tombstones that a reconciliation found. Returns how many."""
    return _add_tombstones(current, form, gone_sql)


def drop_noops(current: Current, form: Shape) -> int:
    """Removes from `stage` what was landed before with equal raw values. Returns how many rows that were.

    Where one read returns a key more than once, the key is a no-op when its winning row is.
    """
    make_known(current, form.dataset.name)
    if not current.one("SELECT EXISTS (SELECT 1 FROM known)")[0]:
        return 0
    before = int(current.one("SELECT count(*) FROM stage")[0])
    winners = "stage"
    if repeats(current, "stage"):
        winners = f"(SELECT _k, {winner_sql(form, '_digest')} AS _digest FROM stage GROUP BY _k)"
    current.sql(f"CREATE OR REPLACE TEMP TABLE noop AS SELECT _k FROM {winners} w SEMI JOIN known USING (_k, _digest)")
    current.sql("DELETE FROM stage WHERE _k IN (SELECT _k FROM noop)")
    return before - int(current.one("SELECT count(*) FROM stage")[0])


def landing_reader(current: Current, form: Shape) -> pa.RecordBatchReader:
    """What is left in `stage`, as it lands: in our order of reading, which is the order it was filled in."""
    raw = ", ".join(identifier(name) for name in form.raw)
    return current.reader(f"SELECT _ord, _op, _k, {raw} FROM stage")


def remember(current: Current, form: Shape, batch: int) -> None:
    """Notes `stage`'s versions as the newest landed ones, while their batch waits to be judged."""
    schema = schema_of(form.dataset.name)
    cursor = f"CAST({identifier(form.raw_cursor)} AS VARCHAR)" if form.raw_cursor else "NULL"
    with current.transaction():
        current.sql(f"DELETE FROM {schema}.newest WHERE _k IN (SELECT _k FROM stage)")
        current.sql(
            f"INSERT INTO {schema}.newest SELECT _k, {batch}, _ord, _digest, {cursor}, _op FROM stage "
            f"WHERE _ord IN (SELECT {winner_sql(form, '_ord')} FROM stage GROUP BY _k)"
        )


def suppress(current: Current, keys: set[str]) -> int:
    """Removes rows of erased people from `stage`. Returns how many."""
    if not keys:
        return 0
    current.sql("CREATE OR REPLACE TEMP TABLE suppressed_keys (_k VARCHAR)")
    current.sql("INSERT INTO suppressed_keys VALUES " + ", ".join(f"({literal(key)})" for key in sorted(keys)))
    before = int(current.one("SELECT count(*) FROM stage")[0])
    current.sql("DELETE FROM stage WHERE _k IN (SELECT _k FROM suppressed_keys)")
    return before - int(current.one("SELECT count(*) FROM stage")[0])


def clear(current: Current, *tables: str) -> None:
    """Lets go of temporary tables, where they are."""
    for table in tables:
        current.sql(f"DROP TABLE IF EXISTS temp.main.{table}")
