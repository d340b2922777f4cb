"""May these rows be answered from, together? The judgement of one key over several feature views.

Each row is looked at under its own view's terms; the worst of them counts, and each sentence about a row names its
view. Datasets are judged once, however many views read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.nouns import AnswerPolicy
from mainstay.core.ports import OnlineRow
from mainstay.core.verdicts import Verdict, worst
from mainstay.serving.judge import (
    Concern,
    DatasetTerms,
    Judgement,
    Terms,
    as_of,
    calm,
    decide,
    derive,
    freshness_concerns,
    judge_error,
    judge_unseen,
    row_concerns,
    row_facts,
    row_of_facts,
    standing_concerns,
    unread,
)

_NEVER = -1


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A view's row, and what it is judged by."""

    view: str
    asked: str
    """Its key columns, for sentences."""
    terms: Terms
    row: OnlineRow | None


def joint_terms(policy: AnswerPolicy, parts: Sequence[Terms], *, has_fallback: bool) -> Terms:
    """The terms of all views together: their datasets, each once. No row is calm by these alone."""
    datasets: dict[str, DatasetTerms] = {}
    for part in parts:
        for dataset in part.datasets:
            datasets.setdefault(dataset.name, dataset)
    whole = Terms(
        policy=policy,
        has_fallback=has_fallback,
        datasets=tuple(datasets.values()),
        complete=all(part.complete for part in parts),
    )
    return msgspec.structs.replace(derive(whole), calm_until_us=_NEVER)


def joint_unread(standing: Terms, sentence: str) -> Terms:
    """The joint terms while state cannot be asked, as the sentence says, or can be again where it is empty."""
    return msgspec.structs.replace(unread(standing, sentence), calm_until_us=_NEVER)


def judge_views(seen: Sequence[Seen], standing: Terms, now_us: int) -> Judgement:
    """The verdict on answering from these rows at `now_us`. Worst wins, strictest decides, the least as-of stands."""
    instant = least_as_of(seen)
    age = None if instant is None else now_us - instant
    if not standing.unread and all(calm(one.row, one.terms, now_us) for one in seen):
        return Judgement("answer", Verdict.PASS, "", "", 200, instant, age, None)
    found = [concern for one in seen for concern in _own(one, now_us)]
    return decide([*found, *standing_concerns(standing, now_us)], standing, now_us, instant, age)


def least_as_of(seen: Sequence[Seen]) -> int | None:
    """The least as-of of the rows; None where one of them has none."""
    instants = [as_of(one.row, one.terms) for one in seen]
    known = [instant for instant in instants if instant is not None]
    return min(known) if len(known) == len(instants) and known else None


def view_verdict(one: Seen, now_us: int) -> tuple[Verdict, str]:
    """The verdict on one view's row and what it was made of, by itself, with its evidence."""
    if calm(one.row, one.terms, now_us):
        return Verdict.PASS, ""
    found = [*_own(one, now_us), *(each for part in one.terms.datasets for each in freshness_concerns(part, now_us))]
    return worst(each.verdict for each in found), "; ".join(dict.fromkeys(each.sentence for each in found))


def _own(one: Seen, now_us: int) -> list[Concern]:
    """What is wrong with this view's row, naming the view; the key is called by its columns, never by its value."""
    found = row_concerns(one.row, one.terms, now_us)
    if one.terms.warn:
        found.append(Concern("on_warn", Verdict.WARN, one.terms.warn))
    return [
        msgspec.structs.replace(each, sentence=f"{one.view}: {each.sentence.replace('this key', f'this {one.asked}')}")
        for each in found
    ]


def view_facts(seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """What the rows were judged from, without keys or values: enough for `rejudge_views`."""
    return [
        {
            "view": one.view,
            "asked": one.asked,
            "terms": msgspec.to_builtins(one.terms),
            "row": row_facts(one.row),
        }
        for one in seen
    ]


def rejudge_views(recorded: Mapping[str, Any]) -> Judgement:
    """Judges again from recorded facts; equal facts give the equal judgement."""
    standing = msgspec.convert(recorded["terms"], Terms)
    seen = [
        Seen(
            view=one["view"],
            asked=one["asked"],
            terms=msgspec.convert(one["terms"], Terms),
            row=row_of_facts(one["row"]),
        )
        for one in recorded["views"]
    ]
    now_us = recorded["now_us"]
    if recorded["unseen"]:
        return judge_unseen(standing, recorded["unseen"], now_us)
    judged = judge_views(seen, standing, now_us)
    if recorded["error"] and judged.action in ("answer", "flag"):
        return judge_error(judged, standing, recorded["error"], now_us)
    return judged
