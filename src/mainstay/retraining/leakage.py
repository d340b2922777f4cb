"""What a training set may betray: knowledge of the future in its labels and features, each finding with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mainstay.core.clock import iso
from mainstay.core.counts import counted
from mainstay.core.nouns import ColumnType
from mainstay.core.sql import identifier
from mainstay.core.verdicts import Finding, Verdict
from mainstay.retraining.known import FOREVER, Versions, first
from mainstay.retraining.labels import Labels

if TYPE_CHECKING:
    import duckdb

SEPARATES = 0.99
"""A single feature with this area under the ROC curve, or this correlation, all but says the label."""
FEWEST = 20
"""Labels, and a quarter of it of each class, below which no feature is accused."""
LOOKED_AT = 50_000
"""Labels that are looked at for separation."""

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "FLOAT", "DOUBLE")


@dataclass(frozen=True)
class Seen:
    """What is looked at."""

    labels: Labels
    features: Sequence[tuple[str, ColumnType]]
    now_us: int
    versions: Sequence[Versions]


def look(db: duckdb.DuckDBPyConnection, seen: Seen) -> tuple[Finding, ...]:
    """Every finding, the quiet ones too."""
    return (
        *_instants(db, seen),
        *_changed_after(db, seen),
        *_doubtful(db, seen),
        *_names(seen),
        *_separating(db, seen),
    )


def _one(db: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    return tuple(int(value or 0) for value in first(db, sql))


def _finding(
    check: str, failed: int, total: int, sentence: str, *, bad: Verdict = Verdict.WARN, mend: str = ""
) -> Finding:
    verdict = bad if failed else Verdict.PASS
    return Finding(
        check=check, verdict=verdict, sentence=sentence, failed=failed, total=total, mend=mend if failed else ""
    )


def _instants(db: duckdb.DuckDBPyConnection, seen: Seen) -> Iterator[Finding]:
    total = seen.labels.rows
    missed = dict(db.execute("SELECT reason, count(*) FROM training.missed GROUP BY reason").fetchall())
    future = missed.get("future", 0)
    yield _finding(
        "leak.future",
        future,
        total,
        f"{future} of {counted(total, 'instant')} lie after {iso(seen.now_us)}, when nothing was known yet",
        mend="give the instant at which the answer was needed, not the one at which the label came true",
    )
    early = missed.get("not_yet_known", 0)
    yield _finding(
        "leak.before_known",
        early,
        total,
        f"{early} of {counted(total, 'label')} lie before their key was first known here; "
        "a join by event time may fill them",
        mend="leave them out, as is done: no model could have been asked then",
    )
    if seen.labels.ambiguous:
        n = seen.labels.ambiguous
        yield _finding(
            "labels.ambiguous",
            n,
            total,
            f"{counted(n, 'instant happens', 'instants happen')} twice in the zone; the earlier was taken",
        )


def _changed_after(db: duckdb.DuckDBPyConnection, seen: Seen) -> Iterator[Finding]:
    """Rows that changed later: the features of a join on today's tables would come from after the instant."""
    for one in seen.versions:
        at = f"s.e{one.place}" if one.everywhere else "s.sid"
        total, changed, ahead = _one(
            db,
            f"SELECT count(*), count(*) FILTER (q.until_us < {FOREVER}), count(*) FILTER (q.event > l.at_us) "
            "FROM training.seen l JOIN training.placed p USING (n) JOIN training.states s USING (sid) "
            f"JOIN training.facts{one.place} q ON q.id = {at}",
        )
        name = one.dataset.name
        yield Finding(
            check=f"leak.changed_after.{name}",
            verdict=Verdict.PASS,
            failed=changed,
            total=total,
            sentence=f"{changed} of {counted(total, 'label')} used rows of {name} that changed after the instant; "
            "what was known then was taken",
        )
        yield _finding(
            f"leak.event_after.{name}",
            ahead,
            total,
            f"{ahead} of {counted(total, 'label')} have a row of {name} whose event time lies after the instant, "
            "though it was known before",
            mend="see whether the instants are in the right zone, and whether the source's clock is ahead",
        )


def _doubtful(db: duckdb.DuckDBPyConnection, seen: Seen) -> Iterator[Finding]:
    """Where what was served may differ from what is given here, counted."""
    about, between, again = 0, 0, 0
    for one in seen.versions:
        at = f"s.e{one.place}" if one.everywhere else "s.sid"
        about += _one(
            db,
            "SELECT count(*) FROM training.placed p JOIN training.states s USING (sid) "
            f"JOIN training.facts{one.place} q ON q.id = {at} WHERE q.about",
        )[0]
        matches = "TRUE" if one.everywhere else "v.fk = l.k"
        between += _one(
            db,
            f"SELECT count(DISTINCT l.n) FROM training.seen l JOIN training.v{one.place} v ON {matches} "
            "AND v._landed <= l.at_us AND l.at_us < v.published_us WHERE v._state = 'published' AND v.warn IS NULL",
        )[0]
        again += one.recleaned
    total = seen.labels.rows
    if about:
        sentence = (
            f"{counted(about, 'row rests', 'rows rest')} on versions kept before history said when they were "
            "published: landed was taken"
        )
        yield _finding("known.about", about, total, sentence)
    if between:
        sentence = (
            f"{between} of {counted(total, 'label')} lie between the landing and the publishing of a version of their "
            "key: the row before it was taken"
        )
        yield _finding("known.between", between, total, sentence)
    if again:
        yield Finding(
            check="known.cleaned_again",
            verdict=Verdict.PASS,
            failed=again,
            sentence=f"{counted(again, 'version was', 'versions were')} cleaned by an earlier contract; "
            "the raw values were cleaned by today's",
        )


def _names(seen: Seen) -> Iterator[Finding]:
    features = {name.lower() for name, _ in seen.features}
    columns = {column.name.lower() for one in seen.versions for column in one.dataset.columns}
    for name in seen.labels.columns:
        if name.lower() in features:
            yield Finding(
                check=f"leak.label_is_feature.{name}",
                verdict=Verdict.FAIL,
                sentence=f"{name} is a label and a feature: the model would be given what it is to tell",
                mend=f"take {name} out of the feature SQL, or out of the label file (here it is {name}__label)",
            )
        elif name.lower() in columns:
            yield Finding(
                check=f"leak.label_is_column.{name}",
                verdict=Verdict.WARN,
                sentence=f"{name} is a label, and a column of a dataset that the features come from",
                mend="see that no feature is made of it",
            )


# --- one feature that says the label ---------------------------------------------------------------------------------


def _separating(db: duckdb.DuckDBPyConnection, seen: Seen) -> Iterator[Finding]:
    """Each label column against each feature alone."""
    if not seen.labels.columns or not seen.features:
        return
    labels = ", ".join(f"l.l{place}" for place in range(len(seen.labels.columns)))
    db.execute(
        f"CREATE TABLE training.looked AS SELECT {labels}, r.* EXCLUDE (sid) FROM training.labels l "
        f"JOIN training.placed p USING (n) JOIN training.results r USING (sid) ORDER BY hash(l.n) LIMIT {LOOKED_AT}"
    )
    kinds = {name: kind for name, kind, *_ in db.execute("DESCRIBE training.looked").fetchall()}
    for place, label in enumerate(seen.labels.columns):
        target = _target(db, f"l{place}", kinds[f"l{place}"])
        if target is None:
            continue
        how, number = target
        worst: tuple[float, str] | None = None
        for f, (feature, kind) in enumerate(seen.features):
            found = _strength(db, how, number, f"f{f}", kind)
            if found is not None and (worst is None or found > worst[0]):
                worst = (found, feature)
            if found is not None and found > SEPARATES:
                yield Finding(
                    check=f"leak.separates.{label}.{feature}",
                    verdict=Verdict.FAIL,
                    column=feature,
                    sentence=f"{feature} alone all but says {label}: {how} {found:.4f}",
                    mend=f"see how {feature} is made: it may come from what {label} comes from",
                )
        if worst is not None and worst[0] <= SEPARATES:
            sentence = f"no feature alone says {label}; the strongest is {worst[1]}: {how} {worst[0]:.4f}"
            yield Finding(check=f"leak.separates.{label}", verdict=Verdict.PASS, sentence=sentence)


def _target(db: duckdb.DuckDBPyConnection, name: str, kind: str) -> tuple[str, str] | None:
    """(measure, number) of a label column: 0 and 1 for two classes, its value for a number; None where neither is."""
    column = identifier(name)
    classes = db.execute(
        f"SELECT {column}, count(*) FROM training.looked WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 1 LIMIT 3"
    ).fetchall()
    counts = [count for _, count in classes]
    if len(classes) == 2 and sum(counts) >= FEWEST and min(counts) >= FEWEST // 4:
        larger = f"(SELECT max({column}) FROM training.looked)" if kind != "BOOLEAN" else "TRUE"
        return "AUC", f"CASE WHEN {column} IS NOT NULL THEN ({column} = {larger})::INTEGER END"
    if len(classes) > 2 and kind in _NUMBERS:
        many = _one(db, f"SELECT count({column}) FROM training.looked")[0]
        return ("correlation", f"{column}::DOUBLE") if many >= FEWEST else None
    return None


def _strength(db: duckdb.DuckDBPyConnection, how: str, target: str, name: str, kind: ColumnType) -> float | None:
    """How far the feature alone says the label, 0.5 or 0 to 1; None where it cannot be told."""
    column = identifier(name)
    score = column
    if kind in ("string", "json", "boolean", "bytes"):
        classes, rows = _one(db, f"SELECT count(DISTINCT {column}), count({column}) FROM training.looked")
        if classes < 2 or classes > rows // 20:
            return None  # as many words as rows say anything
        score = f"avg({target}) OVER (PARTITION BY {column})"
    elif kind == "number":
        score = f"CASE WHEN isfinite({column}) THEN {column} END"
    elif kind == "date":
        score = f"epoch({column})"
    elif kind == "timestamp":
        score = f"epoch_us({column})"
    scored = f"SELECT {target} AS y, ({score})::DOUBLE AS x FROM training.looked WHERE {column} IS NOT NULL"
    given = f"(SELECT * FROM ({scored}) WHERE x IS NOT NULL AND y IS NOT NULL)"
    found = [_auc(db, given) if how == "AUC" else _correlation(db, given)]
    nulls, there = _one(db, f"SELECT count(*) FILTER ({column} IS NULL), count(*) FROM training.looked")
    if how == "AUC" and 0 < nulls < there:  # that a value is missing may say it too
        missing = f"SELECT {target} AS y, ({column} IS NULL)::INTEGER::DOUBLE AS x FROM training.looked"
        found.append(_auc(db, f"(SELECT * FROM ({missing}) WHERE y IS NOT NULL)"))
    return max((one for one in found if one is not None), default=None)


def _auc(db: duckdb.DuckDBPyConnection, given: str) -> float | None:
    """The area under the ROC curve, the better of both directions, by ranks (ties halved)."""
    ones, rows, places = first(
        db,
        "SELECT sum(y), count(*), sum(y * place) FROM (SELECT y, rank() OVER (ORDER BY x) + "
        f"(count(*) OVER (PARTITION BY x) - 1) / 2.0 AS place FROM {given})",
    )
    if not ones or rows < FEWEST or min(ones, rows - ones) < FEWEST // 4:
        return None
    area = (float(places) - ones * (ones + 1) / 2) / (ones * (rows - ones))
    return float(max(area, 1 - area))


def _correlation(db: duckdb.DuckDBPyConnection, given: str) -> float | None:
    rows, found = first(
        db,
        f"SELECT count(*), CASE WHEN stddev_pop(x) > 0 AND stddev_pop(y) > 0 THEN abs(corr(x, y)) END FROM {given}",
    )
    return None if rows < FEWEST or found is None else float(found)
