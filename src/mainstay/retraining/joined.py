"""A training set for a model over several feature views: one of each view, joined label by label.

Each view's part is made by the same code as that of a model over one view, point in time, by its own key column of the
label file. A label has a row where every view has one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.errors import StoreError
from mainstay.core.records import FeatureSetState
from mainstay.core.sql import identifier, literal
from mainstay.core.verdicts import Finding
from mainstay.retraining import writing
from mainstay.retraining.labels import LabelFile
from mainstay.retraining.training_set import Facts, Options, Progress, TrainingSet, make
from mainstay.retraining.writing import NUMBER, REASONS

if TYPE_CHECKING:
    import duckdb


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One view: what its rows are made of, and how the label file names them."""

    facts: Facts
    wanted: LabelFile

    @property
    def state(self) -> FeatureSetState:
        """The view's feature set."""
        return self.facts.feature_set


def make_joined(parts: Sequence[Part], options: Options, progress: Progress = lambda _done, _all: None) -> TrainingSet:
    """Makes the training set, or plans it. Raises what `make` raises."""
    writing.check_suffix(options.out)
    if options.out is None:
        return _together(parts, [make(part.facts, part.wanted, options) for part in parts])
    with tempfile.TemporaryDirectory(prefix=".mainstay-training-", dir=options.out.parent) as work:
        made = []
        for place, part in enumerate(parts):
            own = msgspec.structs.replace(options, out=Path(work) / f"view{place}.parquet", numbered=True)
            made.append(make(part.facts, part.wanted, own, progress))
        return _joined(parts, made, options, Path(work))


def _together(parts: Sequence[Part], made: Sequence[TrainingSet]) -> TrainingSet:
    """What there is to say of all parts; the labels that are left out as far as each part alone can tell."""
    first = made[0]
    left = {
        reason: max(one.left_out.get(reason, 0) for one in made)
        for reason in REASONS
        if any(reason in one.left_out for one in made)
    }
    return TrainingSet(
        feature_set=first.feature_set,
        also=tuple(one.feature_set for one in made[1:]),
        labels=first.labels,
        rows=first.labels - sum(left.values()),
        left_out=left,
        lines={reason: next(one.lines[reason] for one in made if reason in one.lines) for reason in left},
        states=sum(one.states for one in made),
        runs=sum(one.runs for one in made),
        features=tuple(feature for one in made for feature in one.features),
        label_columns=first.label_columns,
        findings=_findings(parts, made),
    )


def _findings(parts: Sequence[Part], made: Sequence[TrainingSet]) -> tuple[Finding, ...]:
    """Every view's findings; what each says of the labels alone is said once, by the first."""
    found: dict[str, Finding] = {}
    for part, one in zip(parts, made, strict=True):
        for finding in one.findings:
            if finding.check not in found:
                found[finding.check] = finding
            elif finding.sentence != found[finding.check].sentence:
                check = f"{finding.check}.{part.state.view}"
                sentence = f"{part.state.view}: {finding.sentence}"
                found[check] = msgspec.structs.replace(finding, check=check, sentence=sentence)
    return tuple(found.values())


def _joined(parts: Sequence[Part], made: Sequence[TrainingSet], options: Options, work: Path) -> TrainingSet:
    import duckdb

    out = options.out
    assert out is not None
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": options.memory,
        "threads": options.threads,
        "temp_directory": str(work / "spilled"),
    }
    config |= {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    try:
        with closing(duckdb.connect(str(work / "joined.duckdb"), config=config)) as db:
            db.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            _read(db, made)
            told = _together(parts, made)
            notes = {
                "feature_sets": {part.state.view: part.state.digest for part in parts},
                "made_us": parts[0].facts.now_us,
                "features": told.features,
            }
            writing.write(db, _output_sql(parts, made), out, notes)
            left = writing.left_out_path(out)
            counts, lines = _left_out(db)
            if counts:
                writing.write(db, f"SELECT * EXCLUDE ({identifier(NUMBER)}, rank) FROM missed ORDER BY ALL", left, {})
            else:
                left.unlink(missing_ok=True)
            return msgspec.structs.replace(
                told,
                rows=told.labels - sum(counts.values()),
                left_out=counts,
                lines=lines,
                out=str(out),
                left_out_file=str(left) if counts else "",
            )
    except duckdb.OutOfMemoryException as error:
        raise StoreError(
            f"{options.memory} of memory, and what is free on the disk, did not suffice to join the views",
            where=str(out.parent),
            mend="--memory 1GB, say, or free some space",
        ) from error
    except duckdb.IOException as error:
        raise StoreError(
            "the joined views could not be written",
            where=str(out.parent),
            mend="see that the folder may be written to and that its disk is not full",
        ) from error


def _read(db: duckdb.DuckDBPyConnection, made: Sequence[TrainingSet]) -> None:
    """Makes a view `v0`, `v1`, ... of each part, and `missed`: each label without a row, with its weightiest reason."""
    weight = {reason: place for place, reason in enumerate(REASONS)}
    ranked = " ".join(f"WHEN {literal(reason)} THEN {place}" for reason, place in weight.items())
    missed = []
    for place, one in enumerate(made):
        db.execute(f"CREATE VIEW v{place} AS SELECT * FROM read_parquet({literal(one.out)})")
        if one.left_out_file:
            db.execute(
                f"CREATE VIEW m{place} AS SELECT *, CASE reason {ranked} END AS rank "
                f"FROM read_csv({literal(one.left_out_file)}, header = true, all_varchar = true)"
            )
            own = f"SELECT CAST({identifier(NUMBER)} AS BIGINT) AS n, rank, {place} AS part FROM m{place}"
            missed.append((place, own))
    if not missed:
        db.execute("CREATE TABLE missed (reason VARCHAR, line BIGINT)")
        return
    every = " UNION ALL ".join(sql for _, sql in missed)
    db.execute(f"CREATE TABLE worst AS SELECT n, arg_min(part, (rank, part)) AS part FROM ({every}) GROUP BY n")
    rows = " UNION ALL BY NAME ".join(
        f"SELECT m.* REPLACE (CAST(m.line AS BIGINT) AS line) FROM m{place} m JOIN worst w "
        f"ON w.n = CAST(m.{identifier(NUMBER)} AS BIGINT) AND w.part = {place}"
        for place, _ in missed
    )
    db.execute(f"CREATE TABLE missed AS {rows}")


def _left_out(db: duckdb.DuckDBPyConnection) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    found = db.execute(
        f"SELECT reason, count(*), list(line ORDER BY line)[1:{writing.LINES}] FROM missed GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {reason: count for reason, count, _ in found}, {reason: tuple(lines) for reason, _, lines in found}


def _output_sql(parts: Sequence[Part], made: Sequence[TrainingSet]) -> str:
    """Keys, instant, labels, every view's features, and what there is to say beside them, in the labels' order."""
    taken = {name.lower() for one in made for name, _ in one.features}

    def free(name: str) -> str:
        return f"{name}__label" if name.lower() in taken else name

    columns: dict[str, str] = {}
    for place, part in enumerate(parts):
        own = {name.lower() for name, _ in made[place].features}
        for name, _ in part.wanted.key_columns:
            written = f"{name}__label" if name.lower() in own else name
            columns.setdefault(free(name), f"v{place}.{identifier(written)}")
    own = {name.lower() for name, _ in made[0].features}
    for name in (parts[0].wanted.at, *made[0].label_columns):
        written = f"{name}__label" if name.lower() in own else name
        columns[free(name)] = f"v0.{identifier(written)}"
    for place, one in enumerate(made):
        columns |= {name: f"v{place}.{identifier(name)}" for name, _ in one.features}
    views = range(len(parts))
    passing = " AND ".join(f"v{place}._verdict = 'PASS'" for place in views)
    said = ", ".join(f"{literal(part.state.view + ': ')} || v{place}._sentence" for place, part in enumerate(parts))
    columns |= {
        "_as_of": f"least({', '.join(f'v{place}._as_of' for place in views)})",
        "_event": f"greatest({', '.join(f'v{place}._event' for place in views)})",
        "_known": f"greatest({', '.join(f'v{place}._known' for place in views)})",
        "_verdict": f"CASE WHEN {passing} THEN 'PASS' ELSE 'WARN' END",
        "_sentence": f"nullif(concat_ws('; ', {said}), '')",
        "_positions": _positions(parts),
    }
    shown = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in columns.items())
    joins = " ".join(f"JOIN v{place} USING ({identifier(NUMBER)})" for place in views if place)
    return f"SELECT {shown} FROM v0 {joins} ORDER BY v0.{identifier(NUMBER)}"


def _positions(parts: Sequence[Part]) -> str:
    """The newest position of each dataset, as receipts have them: of all rows together."""
    where: dict[str, list[int]] = {}
    for place, part in enumerate(parts):
        for name in sorted(part.state.mapping):
            where.setdefault(name, []).append(place)
    texts = []
    for name in sorted(where):
        path = literal(f'$."{name}"')
        found = ", ".join(f"json_extract(v{place}._positions, {path})::BIGINT[]" for place in where[name])
        newest = f"greatest({found})" if len(where[name]) > 1 else found
        begin = literal(f'"{name}":[')
        whole = f"{begin} || ({newest})[1] || ',' || ({newest})[2] || ']'"
        texts.append(f"CASE WHEN {newest} IS NOT NULL THEN {whole} END")
    return f"'{{' || concat_ws(',', {', '.join(texts)}) || '}}'"
