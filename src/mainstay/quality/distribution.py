"""`distribution`: a column as current would be against a pinned profile. Pure; the rules are in docs/checks.md.

The distance is the population stability index, the sum over bins of (a - e) ln(a / e), where e is a bin's pinned share
and a its share now: N. Siddiqi, Credit Risk Scorecards (2006), system stability report; as a divergence it is Jeffreys'
(1946). An empty bin would make it infinite, so a share below 0.0001 counts as that much. Above 0.1 a population is
commonly said to have moved a little, above 0.25 a lot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from mainstay.core.counts import counted
from mainstay.core.ids import digest_text
from mainstay.core.nouns import Check, Column
from mainstay.core.sql import identifier, literal
from mainstay.core.verdicts import Finding, Verdict

FORM = 1
"""Of the file that a profile is pinned in."""
EMPTY_SHARE = 0.0001
ENOUGH = 100
"""Rows below which shares say little: each of ten bins would have fewer than ten."""
MOST_VALUES = 50
"""Distinct values up to which a column is taken for categories. Text with more may be names: it is not written down."""
_TENTHS = tuple(n / 10 for n in range(1, 10))
_NUMBERS = ("integer", "number")
_WORDS = ("string", "boolean")
_SHOWN = 3
_WIDE = 24

Execute = Callable[[str], Sequence[tuple[Any, ...]]]
"""Runs one statement of DuckDB's SQL and gives its rows."""


class PinnedColumn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of a pinned profile. Shares are of all rows, empty ones among them."""

    contract: str
    """Digest of its type, cleaning and fill: under another contract the same source gives other values."""
    empty: float
    edges: tuple[float, ...] = ()
    """Of numbers: upper limits of the bins, themselves within; one more bin is above the last."""
    shares: tuple[float, ...] = ()
    """Of the bins, in order."""
    values: dict[str, float] = {}
    """Of categories: value -> share. What else comes is a bin of its own."""
    left_out: str = ""
    """Why there are no bins and only the share of empty ones is pinned; empty where there are."""


class PinnedProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The file beside mainstay.yaml, meant for git."""

    mainstay_profile: int = FORM
    dataset: str
    pinned_at: str
    rows: int
    columns: dict[str, PinnedColumn]


class Bin(msgspec.Struct, frozen=True):
    """A bin with its two shares."""

    name: str
    before: float
    now: float

    @property
    def psi(self) -> float:
        """What it adds to the index."""
        before, now = max(self.before, EMPTY_SHARE), max(self.now, EMPTY_SHARE)
        return (now - before) * math.log(now / before)


def contract_of(column: Column) -> str:
    """What a pinned column hangs on, as 12 hexadecimal digits."""
    said = msgspec.json.encode((column.type, column.clean, column.fill)).decode()
    return digest_text(said).removeprefix("sha256:")[:12]


def pin(execute: Execute, relation: str, column: Column, *, left_out: str = "") -> PinnedColumn:
    """The column as it is now.

    Args:
        execute: Asks the connection where the relation is.
        relation: Name or bracketed query of rows, at least one.
        column: One of the contract.
        left_out: Why none of its values may be written down; empty: they may.
    """
    name = identifier(column.name)
    rows, there = execute(f"SELECT count(*), count({name}) FROM {relation}")[0]
    pinned = PinnedColumn(contract=contract_of(column), empty=_share(rows - there, rows), left_out=left_out)
    if left_out:
        return pinned
    if column.type in _NUMBERS and there:
        found = f"isfinite(CAST({name} AS DOUBLE))"
        tenths = f"quantile_disc({name}, {list(_TENTHS)}) FILTER ({found})"
        edges = tuple(dict.fromkeys(execute(f"SELECT {tenths} FROM {relation}")[0][0] or ()))
        if not edges:
            return msgspec.structs.replace(pinned, left_out="no finite value")
        pinned = msgspec.structs.replace(pinned, edges=edges, shares=(0.0,) * (len(edges) + 1))
        counts = in_bins(execute, relation, column.name, pinned)
        return msgspec.structs.replace(pinned, shares=tuple(_share(n, rows) for n in counts[1:]))
    if column.type in _WORDS:
        value = f"CAST({name} AS VARCHAR)"
        values = execute(
            f"SELECT {value}, count(*) AS n FROM {relation} WHERE {name} IS NOT NULL "
            f"GROUP BY 1 ORDER BY n DESC, 1 LIMIT {MOST_VALUES + 1}"
        )
        if any("@" in str(value) for value, _ in values):
            return msgspec.structs.replace(pinned, left_out="looks personal")
        if len(values) <= MOST_VALUES:
            return msgspec.structs.replace(pinned, values={str(one): _share(n, rows) for one, n in values})
        return msgspec.structs.replace(pinned, left_out=f"more than {MOST_VALUES} values")
    return msgspec.structs.replace(pinned, left_out="no value" if column.type in _NUMBERS else f"type {column.type}")


def _share(count: int, rows: int) -> float:
    return round(count / rows, 6) if rows else 0.0


def in_bins(execute: Execute, relation: str, column: str, pinned: PinnedColumn) -> tuple[int, ...]:
    """Rows in each bin, the empty ones first."""
    name = identifier(column)
    when = [f"WHEN {name} IS NULL THEN 0"]
    if pinned.edges:
        when += [f"WHEN {name} <= {edge!r} THEN {n}" for n, edge in enumerate(pinned.edges, 1)]
    elif pinned.values:
        when += [
            f"WHEN CAST({name} AS VARCHAR) = {literal(value)} THEN {n}" for n, value in enumerate(pinned.values, 1)
        ]
    last = 1 + (len(pinned.edges) or len(pinned.values))
    found: dict[int, int] = dict(
        execute(f"SELECT CASE {' '.join(when)} ELSE {last} END AS bin, count(*) FROM {relation} GROUP BY bin")
    )
    return tuple(int(found.get(n, 0)) for n in range(last + 1))


def bins(pinned: PinnedColumn, counts: Sequence[int]) -> tuple[Bin, ...]:
    """Each bin as it was pinned and as it is: `counts` as `in_bins` gives them, not all of them 0."""
    if pinned.edges:
        edges = [_number(edge) for edge in pinned.edges]
        between = [f"{low} to {high}" for low, high in pairwise(edges)]
        names, before = [f"up to {edges[0]}", *between, f"above {edges[-1]}"], [*pinned.shares]
    elif pinned.values:
        names, before = [*map(_short, pinned.values), "values not pinned"], [*pinned.values.values(), 0.0]
    else:
        names, before = ["not empty"], [1 - pinned.empty]
    rows = sum(counts)
    return tuple(
        Bin(name, share, count / rows)
        for name, share, count in zip(["empty", *names], [pinned.empty, *before], counts, strict=True)
    )


def psi(found: Sequence[Bin]) -> float:
    """The population stability index over all bins: 0 where nothing moved, never below."""
    return sum(one.psi for one in found)


def outdated(check: Check, column: Column) -> str:
    """Why the pinned profile says nothing of the column as it is declared; empty when it does."""
    if pinned_of(check).contract == contract_of(column):
        return ""
    return f"{check.args['profile']} is older than the contract: type, cleaning or fill of {column.name} changed since"


def pinned_of(check: Check) -> PinnedColumn:
    """The pinned column that the check compares with."""
    return msgspec.convert(check.args["pinned"], PinnedColumn)


def judge_distribution(check: Check, column: Column, counts: Sequence[int]) -> Finding:
    """The finding of a `distribution` check, given rows in each bin of its pinned column as `in_bins` gives them."""
    rows, most = sum(counts), float(check.args["psi"])
    if why := outdated(check, column):
        return _said(check, Verdict.ERROR, why, rows, mend=again(check))
    if rows < ENOUGH:
        sentence = f"cannot tell from {counted(rows, 'row')} how {column.name} is distributed; it takes {ENOUGH}"
        return _said(check, Verdict.UNKNOWN, sentence, rows)
    found = bins(pinned_of(check), counts)
    index = psi(found)
    moved = sorted(found, key=lambda one: -one.psi)[:_SHOWN]
    told = ", ".join(f"{one.name} from {_percent(one.before)} to {_percent(one.now)}" for one in moved if one.psi > 0)
    told = f"; most moved: {told}" if told else ""
    where = "above" if index > most else "within"
    sentence = f"{column.name} has a PSI of {index:.3f} over {counted(rows, 'row')}, {where} {most:g}{told}"
    if index <= most:
        return _said(check, Verdict.PASS, sentence, rows)
    verdict = Verdict.WARN if check.on_fail == "warn" else Verdict.FAIL
    mend = f"ask the source's owner what changed; if it is right so, {again(check)}"
    return _said(check, verdict, sentence, rows, failed=1, mend=mend)


def again(check: Check) -> str:
    """What to type for a new profile."""
    return f"`mainstay profile {check.args['dataset']} --pin`, then `mainstay apply`"


def _number(edge: float) -> str:
    return f"{edge:g}" if abs(edge) < 1e6 else f"{edge:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _short(value: str) -> str:
    return value if len(value) <= _WIDE else value[: _WIDE - 1] + "…"


def _said(check: Check, verdict: Verdict, sentence: str, total: int, *, failed: int = 0, mend: str = "") -> Finding:
    return Finding(
        check=check.name, verdict=verdict, sentence=sentence, column=check.column, on_fail=check.on_fail,
        failed=failed, total=total, mend=mend,
    )  # fmt: skip
