"""What came of each label, and the files that say it: the training set, and the labels that were left out of it.

| column of the training set | what                                                                              |
|----------------------------|-----------------------------------------------------------------------------------|
| key, instant, labels       | as in the label file; the instant in UTC                                          |
| features                   | in the model's types                                                              |
| `_as_of`                   | the `$as_of` of the row; without one, the least as-of that its datasets then had  |
| `_event`                   | the newest event time behind the row                                              |
| `_known`                   | since when the newest version behind the row was shown                            |
| `_verdict`, `_sentence`    | of the source rows: PASS, or WARN and why                                         |
| `_positions`               | dataset -> [batch, ordinal] of its newest row in here, as receipts have it        |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import Refused
from mainstay.core.nouns import ColumnType
from mainstay.core.records import FeatureSetState
from mainstay.core.sql import identifier, literal
from mainstay.retraining.known import Versions
from mainstay.retraining.labels import LabelFile, Labels
from mainstay.store.durable import translated

if TYPE_CHECKING:
    import duckdb

SUFFIXES = (".parquet", ".csv")
LINES = 5
"""Lines of the label file that are named for each reason."""
ROWS = 20_000
NUMBER = "_label_number"
"""The column of a label's number, where parts are to be joined."""

REASONS = {
    "future": "the instant lies in the future",
    "erased": "the key was erased",
    "deleted": "the key was deleted at the instant",
    "held": "every version known at the instant was rejected",
    "not_yet_known": "the key was first known later",
    "past_retention": "history has let go of what was known then",
    "never_known": "the key was never known",
    "no_row": "the feature SQL gave no row for what was known",
}
"""Why a label has no feature row, in the order in which it is asked."""


def check_suffix(out: Path | None) -> None:
    """Raises Refused when `out` is neither Parquet nor CSV."""
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise Refused("the suffix says how to write: .parquet or .csv", where=str(out), mend="--out FILE.parquet")


def left_out_path(out: Path) -> Path:
    """Where the labels without a feature row go."""
    return out.with_name(f"{out.stem}.left-out.csv")


# --- what came of each label -----------------------------------------------------------------------------------------


def early_sql(now_us: int) -> str:
    """A query of (`n`, `line`, `reason`): labels that are left out without looking at history."""
    return (
        f"SELECT n, line, CASE WHEN at_us > {now_us} THEN 'future' ELSE 'erased' END AS reason FROM training.labels "
        f"WHERE at_us > {now_us} OR k IN (SELECT k FROM training.erased)"
    )


def gather(db: duckdb.DuckDBPyConnection, versions: Sequence[Versions]) -> None:
    """Makes `factsN` (per state, or per epoch), `notedN` (per held or warned label) and `agedN` (per label)."""
    for one in versions:
        n = one.place
        by = "p.epoch" if one.everywhere else "p.sid"
        db.execute(
            f"CREATE TABLE training.facts{n} AS SELECT {by} AS id, max(v._event) AS event, max(v.from_us) AS known, "
            f"min(v.warn) AS warn, max(row(v._batch, v._ord)) AS position, bool_or(v.about) AS about, "
            f"min(v.until_us) AS until_us FROM training.picked{n} p JOIN training.v{n} v "
            f"USING (_batch, _ord) GROUP BY {by}"
        )
        matches = "TRUE" if one.everywhere else "h.k = l.k"
        db.execute(
            f"CREATE TABLE training.noted{n} AS SELECT l.n, min(h.sentence) AS sentence, bool_or(h.held) AS held, "
            f"min(h.from_us) FILTER (h.held) AS held_us FROM training.seen l JOIN training.notes{n} h "
            f"ON {matches} AND h.from_us <= l.at_us AND l.at_us < h.until_us GROUP BY l.n"
        )
        db.execute(f"CREATE TABLE training.batches{n} AS {one.batches_sql()}")
        db.execute(
            f"CREATE TABLE training.aged{n} AS SELECT l.n, b.began_us AS as_of FROM (SELECT s.n, "
            f"coalesce(h.held_us - 1, s.at_us) AS at_us FROM training.seen s "
            f"LEFT JOIN training.noted{n} h USING (n)) l "
            f"ASOF LEFT JOIN training.batches{n} b ON l.at_us >= b.published_us"
        )


def reasons(db: duckdb.DuckDBPyConnection, versions: Sequence[Versions], now_us: int, kept_since_us: int) -> None:
    """Makes `training.missed`: (`n`, `line`, `reason`) of every label without a feature row."""
    firsts, gone, held = [], ["SELECT NULL::BIGINT AS n LIMIT 0"], []
    for one in versions:
        v = f"training.v{one.place}"
        firsts.append(f"SELECT fk AS k, min(coalesce(from_us, published_us)) AS at_us FROM {v} GROUP BY fk")
        held.append(f"SELECT n FROM training.noted{one.place} WHERE held")
        if one.mapping == one.dataset.key:
            gone.append(
                f"SELECT l.n FROM training.seen l JOIN {v} v ON v._k = l.k AND v.from_us <= l.at_us "
                "AND l.at_us < v.until_us WHERE v._op = 'd'"
            )
    db.execute(f"""
        CREATE TABLE training.missed AS
        WITH first AS (SELECT k, min(at_us) AS at_us FROM ({" UNION ALL ".join(firsts)})
            WHERE k IS NOT NULL GROUP BY k),
        early AS ({early_sql(now_us)}),
        late AS (
            SELECT l.n, l.line, CASE
                WHEN l.n IN ({" UNION ALL ".join(f"({one})" for one in gone)}) THEN 'deleted'
                WHEN l.n IN ({" UNION ALL ".join(f"({one})" for one in held)}) THEN 'held'
                WHEN f.at_us > l.at_us THEN 'not_yet_known'
                WHEN l.at_us < {kept_since_us} THEN 'past_retention'
                WHEN f.at_us IS NULL THEN 'never_known' ELSE 'no_row' END AS reason
            FROM training.labels l LEFT JOIN first f ON f.k = l.k
            WHERE l.n NOT IN (SELECT n FROM early)
            AND l.n NOT IN (SELECT p.n FROM training.placed p SEMI JOIN training.results USING (sid)))
        SELECT * FROM early UNION ALL SELECT * FROM late""")


# --- the files -----------------------------------------------------------------------------------------------------


def output_sql(
    wanted: LabelFile,
    labels: Labels,
    state: FeatureSetState,
    features: Sequence[tuple[str, ColumnType]],
    versions: Sequence[Versions],
    *,
    numbered: bool = False,
) -> str:
    """The training set, in the order of the label file."""
    taken = {name.lower() for name, _ in features}

    def free(name: str) -> str:
        return identifier(f"{name}__label" if name.lower() in taken else name)

    parts = [f"{part} AS {free(name)}" for name, part in _key_columns(wanted)]
    parts += [f"make_timestamp(l.at_us) AS {free(wanted.at)}"]
    parts += [f"l.l{place} AS {free(name)}" for place, name in enumerate(labels.columns)]
    parts += [f"r.f{place} AS {identifier(name)}" for place, (name, _) in enumerate(features)]
    joins, told = [], _Told()
    for one in versions:
        n = one.place
        joins += [
            f"LEFT JOIN training.facts{n} q{n} ON q{n}.id = {f's.e{n}' if one.everywhere else 's.sid'}",
            f"LEFT JOIN training.noted{n} h{n} ON h{n}.n = l.n",
            f"LEFT JOIN training.aged{n} a{n} ON a{n}.n = l.n",
        ]
        told.add(n, one.dataset.name)
    parts += told.columns(uses_as_of=state.uses_as_of)
    parts += [f"l.n AS {NUMBER}"] if numbered else []
    return (
        f"SELECT {', '.join(parts)} FROM training.labels l JOIN training.placed p USING (n) "
        f"JOIN training.states s USING (sid) JOIN training.results r USING (sid) {' '.join(joins)} ORDER BY l.n"
    )


def _key_columns(wanted: LabelFile, *, typed: bool = True) -> Iterator[tuple[str, str]]:
    """The label file's key columns, each with its SQL."""
    for place, (name, kind) in enumerate(wanted.key_columns):
        part = f"json_extract_string(l.k, '$[{place}]')" if len(wanted.key_columns) > 1 else "l.k"
        yield name, f"TRY_CAST({part} AS BIGINT)" if typed and kind == "integer" else part


class _Told:
    """The columns beside the features, over every dataset's part."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._positions: list[str] = []

    def add(self, number: int, dataset: str) -> None:
        self._numbers.append(number)
        name = literal(f'"{dataset}":[')
        at = f"q{number}.position"
        self._positions.append(f"CASE WHEN {at} IS NOT NULL THEN {name} || {at}[1] || ',' || {at}[2] || ']' END")

    def columns(self, *, uses_as_of: bool) -> list[str]:
        def over(function: str, pattern: str) -> str:
            return f"{function}({', '.join(pattern.format(n) for n in self._numbers)})"

        as_of = "s.as_of" if uses_as_of else over("least", "a{0}.as_of")
        sentence = f"coalesce({over('coalesce', 'h{0}.sentence')}, {over('coalesce', 'q{0}.warn')})"
        return [
            f"make_timestamp({as_of}) AS _as_of",
            f"make_timestamp({over('greatest', 'q{0}.event')}) AS _event",
            f"make_timestamp({over('greatest', 'q{0}.known')}) AS _known",
            f"CASE WHEN {sentence} IS NULL THEN 'PASS' ELSE 'WARN' END AS _verdict",
            f"{sentence} AS _sentence",
            f"'{{' || concat_ws(',', {', '.join(self._positions)}) || '}}' AS _positions",
        ]


def left_out_sql(wanted: LabelFile, *, numbered: bool = False) -> str:
    """The labels without a feature row, each with its reason."""
    number = f", l.n AS {NUMBER}" if numbered else ""
    told = " ".join(f"WHEN {literal(reason)} THEN {literal(sentence)}" for reason, sentence in REASONS.items())
    keys = ", ".join(f"{part} AS {identifier(name)}" for name, part in _key_columns(wanted, typed=False))
    return (
        f"SELECT m.line, {keys}, make_timestamp(l.at_us) AS {identifier(wanted.at)}, "
        f"m.reason, CASE m.reason {told} END AS sentence{number} FROM training.missed m "
        "JOIN training.labels l USING (n) ORDER BY n"
    )


def write(db: duckdb.DuckDBPyConnection, sql: str, path: Path, notes: Mapping[str, Any]) -> None:
    """Streams the query into `path`, which appears whole or not at all. Instants are written as such, in UTC."""
    import pyarrow as pa

    reader = db.sql(sql).to_arrow_reader(ROWS)
    fields = [_utc(field) for field in reader.schema]
    csv = path.suffix.lower() == ".csv"
    if csv:
        fields = [pa.field(field.name, pa.string()) if pa.types.is_binary(field.type) else field for field in fields]
    schema = pa.schema(fields, {b"mainstay": msgspec.json.encode(notes)} if notes else None)
    part = path.with_name(f".{path.name}.part")
    try:
        with translated(path), _writer(part, schema, csv=csv) as writer:
            for batch in reader:
                columns = [_base64(column) if csv else column for column in batch.columns]
                parts = [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]
                writer.write_batch(pa.RecordBatch.from_arrays(parts, schema=schema))
        with translated(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _utc(field: Any) -> Any:
    import pyarrow as pa

    naive = pa.types.is_timestamp(field.type) and field.type.tz is None
    return pa.field(field.name, pa.timestamp("us", "UTC")) if naive else field


def _base64(column: Any) -> Any:
    import base64

    import pyarrow as pa

    if not pa.types.is_binary(column.type):
        return column
    texts = [None if one is None else base64.b64encode(one).decode() for one in column.to_pylist()]
    return pa.array(texts, pa.string())


def _writer(path: Path, schema: Any, *, csv: bool) -> Any:
    import pyarrow.csv
    import pyarrow.parquet

    if csv:
        return pyarrow.csv.CSVWriter(str(path), schema)
    return pyarrow.parquet.ParquetWriter(str(path), schema, compression="zstd")
