"""A training set: for each label the feature row as it was known at the label's instant, by the SQL that serves.

Planned in `placing` and `plan`, performed here, over history alone. All work is done in a database of its own in a
folder that goes when it is done; memory is bounded, what does not fit is spilled beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.clock import naive_utc
from mainstay.core.errors import MainstayError, Refused, StoreError
from mainstay.core.keys import joined_sql, shown_names
from mainstay.core.nouns import ColumnType, Dataset, FeatureView
from mainstay.core.ports import History
from mainstay.core.records import BatchRecord, FeatureSetState
from mainstay.core.sql import DUCKDB_TYPES, identifier
from mainstay.core.verdicts import Finding
from mainstay.pipelines import feature_sql
from mainstay.pipelines.history import fates_of
from mainstay.pipelines.stage import Shape
from mainstay.retraining import leakage, writing
from mainstay.retraining.known import Versions, first, rates_in
from mainstay.retraining.labels import LabelFile, Labels, read_labels
from mainstay.retraining.placing import Evaluation, erased_keys, place_labels
from mainstay.retraining.plan import KEYS_PER_RUN, Group, Run, plan_runs

if TYPE_CHECKING:
    import duckdb

TRIES = 3
"""An erasure or a compaction may take files away between listing and reading them."""

Progress = Callable[[int, int], None]
"""Called with runs done and runs in all."""


@dataclass(frozen=True)
class Facts:
    """What a training set is made of."""

    history: History
    datasets: Mapping[str, Dataset]
    """Every dataset by name; those that the feature set reads are used."""
    feature_set: FeatureSetState
    forms: Mapping[str, Shape]
    """How raw values are read and cleaned today, for datasets of which landing has anything."""
    settled: Mapping[str, Mapping[int, BatchRecord]]
    """Batches that state still knows, for history that was written before it said when they settled."""
    evaluations: Sequence[Evaluation]
    now_us: int
    kept_since_us: int
    """History has let go of what was replaced before this instant."""
    numbers: frozenset[str] = frozenset()
    """Integer features that the model eats as numbers."""
    erased: Callable[[str], bool] | None = None
    """Whether a key is that of an erased person; None: nobody was erased."""


class TrainingSet(msgspec.Struct, frozen=True, kw_only=True):
    """What was made. labels = rows + the sum of `left_out`."""

    feature_set: str
    """Of several feature views, the first one's."""
    labels: int
    rows: int
    left_out: dict[str, int]
    """Reason -> labels without a feature row."""
    lines: dict[str, tuple[int, ...]]
    """Reason -> the first lines of the label file that it concerns."""
    states: int
    """Distinct feature rows."""
    runs: int
    """Runs of the SQL."""
    features: tuple[tuple[str, ColumnType], ...]
    label_columns: tuple[str, ...]
    also: tuple[str, ...] = ()
    """The feature sets of the other views."""
    findings: tuple[Finding, ...] = ()
    out: str = ""
    left_out_file: str = ""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How it is made."""

    out: Path | None
    """Where to; Parquet or CSV by its suffix. None: only planned."""
    memory: str = "512MB"
    """What DuckDB may hold before it spills."""
    threads: int = 2
    numbered: bool = False
    """Whether each row tells the number of its label, for a join."""
    keys_per_run: int = KEYS_PER_RUN


def make(
    facts: Facts, wanted: LabelFile, options: Options, progress: Progress = lambda _done, _all: None
) -> TrainingSet:
    """Makes the training set, or plans it.

    Raises:
        FileError: the label file has faults, each with its line.
        Refused: the feature set's SQL gives more than one row for a key, or cannot be evaluated.
    """
    import duckdb

    writing.check_suffix(options.out)
    folder = options.out.parent if options.out is not None else wanted.path.parent
    for _ in range(TRIES):
        try:
            with tempfile.TemporaryDirectory(prefix=".mainstay-training-", dir=folder) as work:
                return _make(facts, wanted, options, progress, Path(work))
        except duckdb.IOException as error:
            last = type(error).__name__
        except duckdb.OutOfMemoryException as error:
            mend = f"give it more than {options.memory} by `--memory`, ask for fewer labels at once, or free some space"
            raise StoreError("memory and disk did not suffice", where=str(folder), mend=mend) from error
        except OSError as error:
            where = str(error.filename or folder)
            raise StoreError(
                f"cannot be used: {error.strerror}", where=where, mend="see that its folder is there, with space on it"
            ) from error
    raise StoreError(
        f"history was rewritten while it was read, or {folder} is full ({last})",
        mend="try again; an erasure may be running",
    )


def _make(facts: Facts, wanted: LabelFile, options: Options, progress: Progress, work: Path) -> TrainingSet:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": options.memory,
        "threads": options.threads,
        "temp_directory": str(work / "spilled"),
    }
    config |= {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    try:
        connection = duckdb.connect(str(work / "work.duckdb"), config=config)
    except duckdb.ParserException:
        raise Refused(f"{options.memory} is no amount of memory", mend="--memory 1GB") from None
    with closing(connection) as db:
        db.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        db.execute("CREATE SCHEMA training")
        labels = read_labels(db, wanted)
        maker = _Maker(db, facts, labels)
        maker.look()
        runs = plan_runs(maker.groups, keys=options.keys_per_run)
        if options.out is None:
            return maker.told(runs, performed=False)
        maker.perform(runs, progress)
        maker.settle()
        findings = leakage.look(db, leakage.Seen(labels, maker.features, facts.now_us, maker.versions))
        left = writing.left_out_path(options.out)
        output = writing.output_sql(
            wanted, labels, maker.state, maker.features, maker.versions, numbered=options.numbered
        )
        notes = {"feature_set": maker.state.digest, "made_us": facts.now_us, "features": maker.features}
        writing.write(db, output, options.out, notes)
        told = maker.told(runs, performed=True)
        if told.left_out:
            writing.write(db, writing.left_out_sql(wanted, numbered=options.numbered), left, {})
        else:
            left.unlink(missing_ok=True)
        return msgspec.structs.replace(
            told, findings=findings, out=str(options.out), left_out_file=str(left) if told.left_out else ""
        )


class _Maker:
    """One training set in the making, in a working database."""

    def __init__(self, db: duckdb.DuckDBPyConnection, facts: Facts, labels: Labels) -> None:
        self.db = db
        self.facts = facts
        self.labels = labels
        self.state = facts.feature_set
        self.groups: tuple[Group, ...] = ()
        self.versions: list[Versions] = []
        self.features: tuple[tuple[str, ColumnType], ...] = tuple(
            (name, "number" if kind == "integer" and name in facts.numbers else kind)
            for name, kind in self.state.columns
        )

    # --- what was known ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Finds the state that each label saw."""
        erased_keys(self.db, self.facts.erased)
        self.db.execute(
            "CREATE TABLE training.seen AS SELECT n, k, at_us FROM training.labels "
            f"WHERE at_us <= {self.facts.now_us} AND k NOT IN (SELECT k FROM training.erased)"
        )
        self.db.execute("CREATE TABLE training.wanted AS SELECT DISTINCT k FROM training.seen")
        for place, (name, mapping) in enumerate(sorted(self.state.mapping.items())):
            history = self.facts.history
            one = Versions(
                self.db,
                place,
                self.facts.datasets[name],
                mapping,
                files=history.files(name),
                fates=history.files(fates_of(name)),
                form=self.facts.forms.get(name),
                rates=lambda other: rates_in(self.facts.history.files(other)),
            )
            one.load(self.facts.settled.get(name, {}))
            self.versions.append(one)
        self.groups = place_labels(self.db, self.state, self.versions, self.facts.evaluations)

    # --- the feature rows ------------------------------------------------------------------------------------------

    def perform(self, runs: Sequence[Run], progress: Progress) -> None:
        """Makes `training.results`: a line per state for which the SQL gives a row, features as `f0`, `f1`, ..."""
        for one in self.versions:
            self._pick(one)
        typed = ", ".join(f"f{place} {DUCKDB_TYPES[kind]}" for place, (_, kind) in enumerate(self.features))
        self.db.execute(f"CREATE TABLE training.results (sid BIGINT{', ' + typed if typed else ''})")
        progress(0, len(runs))
        for done, run in enumerate(runs, 1):
            for one in self.versions:
                self._show(one, run)
            self._compute(run)
            progress(done, len(runs))
        rows, different = first(self.db, "SELECT count(*), count(DISTINCT sid) FROM training.results")
        if rows > different:
            key = shown_names(self.state.key)
            raise Refused(
                f"the SQL of feature view {self.state.view} gives more than one row for a {key}",
                mend=f"aggregate or filter so that each {key} has one row",
            )

    def _read_columns(self, one: Versions) -> list[str]:
        """The contract's columns that the SQL reads; all of them where it can no longer be told."""
        view = FeatureView(name=self.state.view, key=self.state.key, mapping=self.state.mapping, sql=self.state.sql)
        try:
            read = feature_sql.read_columns(view, self.facts.datasets)[one.dataset.name]
        except (MainstayError, KeyError):
            return [column.name for column in one.dataset.columns]
        return [name for name, _ in read] or [one.dataset.key_names[0]]  # a table has at least one column

    def _pick(self, one: Versions) -> None:
        """Makes `pickedN`, the versions that each state is shown, and `rowsN`, their columns."""
        n, v = one.place, f"training.v{one.place}"
        if one.everywhere:
            self.db.execute(
                f"CREATE TABLE training.picked{n} AS SELECT DISTINCT e.e{n} AS epoch, v._batch, v._ord "
                f"FROM (SELECT DISTINCT e{n} FROM training.states) e JOIN {v} v "
                f"ON v.from_us <= e.e{n} AND e.e{n} < v.until_us WHERE v._op = 'u'"
            )
        else:
            self.db.execute(
                f"CREATE TABLE training.picked{n} AS SELECT s.sid, s.grp, s.place, v._batch, v._ord "
                f"FROM training.states s JOIN {v} v ON v.fk = s.k AND v.from_us <= s.since AND s.since < v.until_us "
                "WHERE v._op = 'u' ORDER BY s.grp, s.place"
            )
        names = self._read_columns(one)
        columns = ", ".join(identifier(name) for name in names)
        self.db.execute(
            f"CREATE TABLE training.rows{n} AS SELECT _batch, _ord{', ' + columns if columns else ''} "
            f"FROM {one.relation(names)} SEMI JOIN training.picked{n} USING (_batch, _ord)"
        )

    def _show(self, one: Versions, run: Run) -> None:
        """Makes a table of the dataset's name that holds what the run's keys are shown of it.

        In the order of positions, as in current: a sum of floats then adds up in the same order.
        """
        n = one.place
        if one.everywhere:
            shared = [other.place for other in self.versions if other.everywhere]
            which = f"p.epoch = {run.epochs[shared.index(n)]}"
        else:
            which = f"p.grp = {run.group} AND p.place >= {run.first} AND p.place < {run.end}"
        self.db.execute(
            f"CREATE OR REPLACE TEMP TABLE {identifier(one.dataset.name)} AS SELECT r.* EXCLUDE (_batch, _ord) "
            f"FROM training.picked{n} p JOIN training.rows{n} r USING (_batch, _ord) WHERE {which} "
            "ORDER BY _batch, _ord"
        )

    def _compute(self, run: Run) -> None:
        import duckdb

        parameters = {feature_sql.AS_OF: naive_utc(run.as_of_us)} if self.state.uses_as_of else None
        key = joined_sql([f"CAST(q.{identifier(name)} AS VARCHAR)" for name in self.state.key_names])
        typed = "".join(f", {_typed_sql(name, kind)}" for name, kind in self.features)
        try:
            self.db.execute(
                f"INSERT INTO training.results SELECT s.sid{typed} FROM ({self.state.sql}) q "
                f"JOIN training.states s ON s.k = {key} "
                f"WHERE s.grp = {run.group} AND s.place >= {run.first} AND s.place < {run.end}",
                parameters,
            )
        except (duckdb.IOException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error as error:  # its text may quote a value, which may be a person's
            raise Refused(
                f"the SQL of feature view {self.state.view} cannot be evaluated on these rows: {type(error).__name__}",
                mend="let it give NULL where it cannot compute (TRY_CAST, CASE)",
            ) from error

    # --- what came of each label -------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Makes `training.missed` (label, reason), and what there is to say of the rows beside their features."""
        writing.gather(self.db, self.versions)
        writing.reasons(self.db, self.versions, self.facts.now_us, self.facts.kept_since_us)

    def told(self, runs: Sequence[Run], *, performed: bool) -> TrainingSet:
        """What there is to say of it; before it is performed, of the plan."""
        left: dict[str, int] = {}
        lines: dict[str, tuple[int, ...]] = {}
        source = "training.missed" if performed else f"({writing.early_sql(self.facts.now_us)})"
        for reason, count, some in self.db.execute(
            f"SELECT reason, count(*), list(line ORDER BY line)[1:{writing.LINES}] FROM {source} "
            "GROUP BY ALL ORDER BY 1"
        ).fetchall():
            left[reason], lines[reason] = count, tuple(some)
        return TrainingSet(
            feature_set=self.state.digest,
            labels=self.labels.rows,
            rows=self.labels.rows - sum(left.values()),
            left_out=left,
            lines=lines,
            states=sum(group.states for group in self.groups),
            runs=len(runs),
            features=self.features,
            label_columns=self.labels.columns,
        )


def _typed_sql(name: str, kind: ColumnType) -> str:
    """A feature as it is served, in the type that it is written with."""
    column = f"q.{identifier(name)}"
    if kind in ("timestamp", "date"):
        return f"CASE WHEN isfinite({column}) THEN {column} END::{DUCKDB_TYPES[kind]}"
    return f"{column}::{DUCKDB_TYPES[kind]}"
