"""What `mainstay check` makes of a feature view: its SQL, and whether a key's row needs the rows of other keys."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mainstay.core.counts import counted
from mainstay.core.errors import FileError, MainstayError, Refused
from mainstay.core.keys import shown_names
from mainstay.core.nouns import Dataset, FeatureView
from mainstay.core.records import FeatureSetState
from mainstay.core.verdicts import Finding, Verdict
from mainstay.pipelines import feature_sql, sets
from mainstay.pipelines.feature_sql import shown_mapping
from mainstay.pipelines.features import FeatureWriter, Moment
from mainstay.store.memory import MemoryOnline

if TYPE_CHECKING:
    from mainstay.app.check_sample import Rehearsal

ALONE = 3
"""How many keys are computed each by itself, spread evenly; and every second key of the sample in one go."""


@dataclass
class ViewFacts:
    """A feature view as far as it could be understood."""

    view: FeatureView
    findings: list[Finding] = field(default_factory=list)
    state: FeatureSetState | None = None
    """None: its SQL cannot be served, and the findings say why."""
    rows: list[list[Any]] = field(default_factory=list)
    """Feature rows of the sample, values in the order of the columns."""
    by_key: dict[str, list[Any]] = field(default_factory=dict)
    """The same by key."""


def read_view(view: FeatureView, datasets: Mapping[str, Dataset]) -> ViewFacts:
    """The view's SQL: every problem, or what it gives."""
    facts = ViewFacts(view, list(feature_sql.analyse(view, datasets).problems))
    if any(problem.verdict is Verdict.FAIL for problem in facts.findings):
        return facts
    check = f"features.{view.name}"
    try:
        facts.state = sets.describe_set(view, datasets)
    except FileError as error:
        for problem in error.problems:
            sentence = f"wanted {problem.wanted}, found {problem.came}"
            facts.findings.append(
                _finding(check, Verdict.FAIL, f"{_place(view, problem.line)}{sentence}", problem.mend)
            )
    except Refused as error:
        facts.findings.append(_finding(check, Verdict.FAIL, error.sentence, error.mend))
    else:
        mapping = ", ".join(f"{name} by {shown_mapping(to)}" for name, to in sorted(facts.state.mapping.items()))
        columns = counted(len(facts.state.columns), "column")
        sentence = f"{columns}, one row per {shown_names(view.key)}; rows map to it: {mapping}"
        facts.findings.append(_finding(check, Verdict.PASS, sentence))
    return facts


def _place(view: FeatureView, line: int) -> str:
    if not view.path:
        return ""
    return f"{view.path}:{line}: " if line else f"{view.path}: "


def compare(facts: ViewFacts, rehearsal: Rehearsal) -> Iterator[Finding]:
    """Rows of single keys, computed from their own source rows alone, against the same computed with all rows.

    Fills `facts.rows`.
    """
    import duckdb

    state = facts.state
    if state is None:
        return
    check = f"features.{facts.view.name}.across_keys"
    lacking = sorted(name for name in state.mapping if name not in rehearsal.samples)
    if lacking:
        sentence = f"could not be tried: no rows of {', '.join(lacking)} were read"
        yield _finding(check, Verdict.UNKNOWN, sentence, "see the findings of the dataset")
        return
    try:
        yield _compared(check, facts, state, rehearsal)
    except MainstayError as error:
        yield _finding(check, Verdict.FAIL, error.sentence, error.mend)
    except duckdb.Error as error:
        # DuckDB's sentence may quote a value.
        sentence = f"the SQL fails on the sample's rows ({type(error).__name__})"
        mend = "run it on the source's own rows; TRY_CAST gives NULL where a value does not fit"
        yield _finding(check, Verdict.FAIL, sentence, mend)


def _compared(check: str, facts: ViewFacts, state: FeatureSetState, rehearsal: Rehearsal) -> Finding:
    full = _computed(rehearsal, state, None)
    facts.by_key = {key: values for key, values in full.items() if values is not None}
    facts.rows = list(facts.by_key.values())
    keys = sorted(full)
    if len(keys) < 2:
        sentence = f"cannot be told from the {counted(len(keys), 'key')} of the sample"
        return _finding(check, Verdict.UNKNOWN, sentence, "check again when its tables hold more rows")
    names = [name for name, _ in state.columns]
    groups = [keys[::2], *([key] for key in keys[1 :: max(1, len(keys) // ALONE)][:ALONE])]
    differing: dict[str, None] = {}
    wrong: set[str] = set()
    for group in groups:
        alone = _computed(rehearsal, state, group)
        for key in group:
            columns = different(full[key], alone.get(key), names)
            differing.update(dict.fromkeys(columns))
            wrong |= {key} if columns else set()
    tried = len({key for group in groups for key in group})
    if not wrong:
        sentence = f"{tried:,} of {counted(len(keys), 'key')} give the same row without the others as with them"
        return _finding(check, Verdict.PASS, sentence)
    sentence = f"{len(wrong):,} of {counted(tried, 'key')} give another row without the others: {', '.join(differing)}"
    mend = "let the SQL look at rows of one key only, correct `from:`, or map what it reads across keys to `all`"
    return _finding(check, Verdict.FAIL, sentence, mend)


def _computed(rehearsal: Rehearsal, state: FeatureSetState, keys: list[str] | None) -> dict[str, list[Any] | None]:
    """Key -> values, of some keys or (None) of all, through the code that publishes."""
    import pyarrow as pa

    desk, online = rehearsal.desk, MemoryOnline()
    moment = Moment(rehearsal.at_us, rehearsal.at_us)
    given = None if keys is None else pa.table({"k": pa.array(keys, pa.string())})
    FeatureWriter(desk.current, online, desk.integration.datasets, state, token=1).write(given, plan=1, moment=moment)
    rows = online.get_many(state.digest, list(online.keys(state.digest)))
    return {key: None if row.values is None else json.loads(row.values) for key, row in rows.items()}


def different(full: Sequence[Any] | None, alone: Sequence[Any] | None, names: Sequence[str]) -> list[str]:
    """Names of the columns in which the two rows differ; `the whole row` where only one of them is there.

    Sums of floats may come out in another order of addition, so numbers may differ by a part in 10^9.
    """
    if full is None or alone is None:
        return [] if full is alone else ["the whole row"]
    return [name for name, one, other in zip(names, full, alone, strict=True) if not _same(one, other)]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def _finding(check: str, verdict: Verdict, sentence: str, mend: str = "") -> Finding:
    return Finding(check=check, verdict=verdict, sentence=sentence, mend=mend)
