"""May this row be answered from, now? A pure judgement: a row, the terms that stand, an instant.

`Terms` holds all that is the same for every key of a worker's snapshot; `judge` adds the row and the clock. The age
is computed here, at the moment of answering, so that an expired row is found out even when nothing else runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from mainstay.core.clock import SECOND, span
from mainstay.core.nouns import AnswerPolicy, Dataset, Freshness, Policy
from mainstay.core.ports import OnlineRow
from mainstay.core.records import DatasetState, FeatureSetState
from mainstay.core.verdicts import Verdict, worst

Action = Literal["answer", "flag", "fallback", "refuse"]
Reason = Literal["", "on_warn", "on_stale", "on_held", "on_missing", "on_deleted", "on_error", "beside"]

STATUS: dict[str, int] = {
    "on_warn": 409,
    "on_held": 409,
    "on_missing": 404,
    "on_deleted": 410,
    "on_stale": 503,
    "on_error": 503,
    "beside": 424,
}
"""What each policy refuses with; `beside` is none: another row of a request that is answered whole or not at all."""

_STRICT: dict[str, int] = {"answer": 0, "flag": 1, "fallback": 2, "refuse": 3}
# Between equally strict policies with equally bad verdicts, the one that tells the caller most decides.
_TELLING: dict[str, int] = {"on_error": 0, "on_warn": 1, "on_missing": 2, "on_stale": 3, "on_held": 4, "on_deleted": 5}
_NO_FLAG = frozenset({"on_missing", "on_deleted", "on_error"})
_RETRY_MOST = 60
_NEVER = -1


class DatasetTerms(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset behind a feature row: how far it is published and what was promised."""

    name: str
    as_of_us: int | None = None
    newest_us: int | None = None
    next_us: int = 0
    run_us: int = 0
    freshness: Freshness = Freshness()


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a judgement needs but the row and the instant. Made by `terms`, which fills the derived fields."""

    policy: AnswerPolicy
    has_fallback: bool
    datasets: tuple[DatasetTerms, ...]
    warn: str = ""
    unread: str = ""
    """Why all of this may be out of date; empty while state is read."""
    complete: bool = True
    uses_as_of: bool = False
    refresh_us: int | None = None
    as_of_us: int | None = None
    """The least as-of of the datasets; None when one of them was never published."""
    calm_from_us: int = 0
    calm_until_us: int = _NEVER
    """Between these instants (inclusive) no promise of any dataset is broken and no clock went back: only the row
    itself needs to be looked at."""
    run_us: int = 0


class Judgement(msgspec.Struct, frozen=True):
    """What is to be done for one key, and why."""

    action: Action
    verdict: Verdict
    sentence: str
    reason: Reason
    """The policy that decided; empty when none had to."""
    status: int
    """200, or what the refusal is told with."""
    as_of_us: int | None
    age_us: int | None
    retry_after: int | None
    """Seconds; only for refusals that may pass by themselves."""


class Concern(msgspec.Struct, frozen=True):
    """One thing that is not as promised."""

    reason: Reason
    verdict: Verdict
    sentence: str
    always_refuse: bool = False
    no_row: bool = False
    """There is nothing that could be answered and flagged."""


def terms(
    policy: AnswerPolicy,
    feature_set: FeatureSetState | None,
    states: Mapping[str, DatasetState],
    datasets: Mapping[str, Dataset],
    *,
    has_fallback: bool,
) -> Terms:
    """The terms of a feature set's rows. A dataset without a state was never published."""
    if feature_set is None:
        return Terms(policy=policy, has_fallback=has_fallback, datasets=(), complete=False)
    parts: list[DatasetTerms] = []
    for name in feature_set.mapping:
        state = states.get(name) or DatasetState()
        promised = datasets[name].freshness if name in datasets else Freshness()
        parts.append(
            DatasetTerms(
                name=name,
                as_of_us=state.as_of_us,
                newest_us=state.newest_us,
                next_us=state.next_us,
                run_us=state.run_us,
                freshness=promised,
            )
        )
    return derive(
        Terms(
            policy=policy,
            has_fallback=has_fallback,
            datasets=tuple(parts),
            warn=feature_set.warn,
            complete=feature_set.complete,
            uses_as_of=feature_set.uses_as_of,
            refresh_us=feature_set.refresh_us,
        )
    )


def derive(plain: Terms) -> Terms:
    """The same terms with the fields filled in that follow from the others."""
    instants = [part.as_of_us for part in plain.datasets]
    known = [instant for instant in instants if instant is not None]
    whole = len(known) == len(instants) and bool(known)
    ends: list[int] = []
    for part in plain.datasets:
        promised = part.freshness
        if part.as_of_us is not None:
            ends += [part.as_of_us + limit for limit in (promised.warn_us, promised.fail_us) if limit is not None]
        if promised.newest_us is not None:
            ends.append(_NEVER if part.newest_us is None else part.newest_us + promised.newest_us)
    calm = whole and not plain.warn and not plain.unread
    return msgspec.structs.replace(
        plain,
        as_of_us=min(known) if whole else None,
        calm_from_us=max(known, default=0),
        calm_until_us=min(ends, default=2**62) if calm else _NEVER,
        run_us=max((part.run_us for part in plain.datasets), default=0),
    )


def unread(standing: Terms, sentence: str) -> Terms:
    """The same terms where state cannot be read, and the sentence says so; with an empty one: where it can again."""
    return derive(msgspec.structs.replace(standing, unread=sentence))


def calm(row: OnlineRow | None, standing: Terms, now_us: int) -> bool:
    """Whether nothing at all is wrong, decided by comparisons alone: the road of almost every request."""
    if row is None or row.held or row.deleted or row.values is None or row.verdict is not Verdict.PASS:
        return False
    if not standing.calm_from_us <= now_us <= standing.calm_until_us:
        return False
    if not standing.uses_as_of:
        return True
    return row.evaluated_us is not None and not _overdue(row.evaluated_us, standing, now_us)


def as_of(row: OnlineRow | None, standing: Terms) -> int | None:
    """The least of the datasets' as-of, the row's held as-of and, where the SQL uses it, its `$as_of`."""
    least = standing.as_of_us
    if least is None or row is None:
        return least
    if row.held_as_of_us is not None and row.held_as_of_us < least:
        least = row.held_as_of_us
    if standing.uses_as_of and row.evaluated_us is not None and row.evaluated_us < least:
        least = row.evaluated_us
    return least


def judge(row: OnlineRow | None, standing: Terms, now_us: int) -> Judgement:
    """The verdict on answering from `row` at `now_us`, and which policy decides. Worst wins, strictest decides."""
    instant = as_of(row, standing)
    age = None if instant is None else now_us - instant
    if calm(row, standing, now_us):
        return Judgement("answer", Verdict.PASS, "", "", 200, instant, age, None)
    return decide(_concerns(row, standing, now_us), standing, now_us, instant, age)


def judge_error(before: Judgement, standing: Terms, sentence: str, now_us: int) -> Judgement:
    """The judgement once the model has failed. Nothing can be flagged then: there is no output."""
    after = decide([Concern("on_error", Verdict.ERROR, sentence)], standing, now_us, before.as_of_us, before.age_us)
    joined = "; ".join(part for part in (sentence, before.sentence) if part)
    verdict = worst((before.verdict, Verdict.ERROR))
    return msgspec.structs.replace(after, verdict=verdict, sentence=joined)


def judge_beside(before: Judgement, place: int) -> Judgement:
    """The judgement of a row that was fit to be answered, in a request whose row `place` is refused."""
    sentence = f"row {place} of the same request was refused"
    changes = {"action": "refuse", "reason": "beside", "status": STATUS["beside"], "sentence": sentence}
    return msgspec.structs.replace(before, **changes, retry_after=None)


def judge_given(standing: Terms, now_us: int) -> Judgement:
    """Rows that the caller sends: nothing is known about their data, which is said, and no policy applies to it."""
    if standing.unread:  # which version answers is not known either
        return decide([Concern("on_stale", Verdict.ERROR, standing.unread)], standing, now_us, None, None)
    return Judgement("answer", Verdict.UNKNOWN, "the inputs came with the request", "", 200, None, None, None)


def _concerns(row: OnlineRow | None, standing: Terms, now_us: int) -> list[Concern]:
    found = [*row_concerns(row, standing, now_us), *standing_concerns(standing, now_us)]
    if standing.warn:
        found.append(Concern("on_warn", Verdict.WARN, standing.warn))
    return found


def standing_concerns(standing: Terms, now_us: int) -> list[Concern]:
    """What is not as promised about the datasets, whatever the row."""
    found = [concern for part in standing.datasets for concern in freshness_concerns(part, now_us)]
    if not standing.datasets:
        found.append(Concern("on_stale", Verdict.UNKNOWN, "no feature set is published for this model version"))
    if standing.unread:
        found.append(Concern("on_stale", Verdict.ERROR, standing.unread))
    return found


def row_concerns(row: OnlineRow | None, standing: Terms, now_us: int) -> list[Concern]:
    """What is not as promised about the row itself."""
    if row is not None and row.held:
        return _held(row, standing, now_us)
    if row is not None and row.deleted:
        return [Concern("on_deleted", Verdict.UNKNOWN, "the row with this key was deleted in the source")]
    if row is None or row.values is None:
        if not standing.complete:
            return [Concern("on_stale", Verdict.UNKNOWN, "the feature set is still being built", no_row=True)]
        return [Concern("on_missing", Verdict.UNKNOWN, "there is no row with this key")]
    found: list[Concern] = []
    if row.verdict is not Verdict.PASS:
        found.append(Concern("on_warn", row.verdict, row.sentence or "a check on the source rows warns"))
    if standing.uses_as_of:
        found += _refresh(row, standing, now_us)
    return found


def _held(row: OnlineRow, standing: Terms, now_us: int) -> list[Concern]:
    """A newer version of a row behind this key is in quarantine.

    The row says since when it ages but not whose promise that breaks, so the tightest of the feature set counts.
    """
    text = row.sentence or "a check rejected a newer version of a row behind this key"
    if row.values is None:
        return [Concern("on_held", Verdict.FAIL, f"held, and no good row stands: {text}", always_refuse=True)]
    found = [Concern("on_held", Verdict.FAIL, f"held: {text}")]
    if row.held_as_of_us is None:
        found.append(Concern("on_stale", Verdict.UNKNOWN, "the age of the held row is not known"))
        return found
    tightest = Freshness(
        warn_us=_least(part.freshness.warn_us for part in standing.datasets),
        fail_us=_least(part.freshness.fail_us for part in standing.datasets),
    )
    part = DatasetTerms(name="the held row", as_of_us=row.held_as_of_us, freshness=tightest)
    found += freshness_concerns(part, now_us)
    if standing.uses_as_of:
        found += _refresh(row, standing, now_us)
    return found


def _refresh(row: OnlineRow, standing: Terms, now_us: int) -> list[Concern]:
    if row.evaluated_us is None:
        return [Concern("on_stale", Verdict.UNKNOWN, "it is not known when this row was computed")]
    if not _overdue(row.evaluated_us, standing, now_us):
        return []
    late = span(now_us - row.evaluated_us)
    promised = span(standing.refresh_us or 0)
    return [Concern("on_warn", Verdict.WARN, f"computed {late} ago, refreshed every {promised}")]


def _overdue(evaluated_us: int, standing: Terms, now_us: int) -> bool:
    return standing.refresh_us is not None and now_us - evaluated_us > standing.refresh_us + standing.run_us


def freshness_concerns(part: DatasetTerms, now_us: int) -> list[Concern]:
    """What one dataset's promises on age and newest say at this instant."""
    if part.as_of_us is None:
        return [Concern("on_stale", Verdict.UNKNOWN, f"{part.name} was never published")]
    age = now_us - part.as_of_us
    if age < 0:
        text = f"the age of {part.name} is negative ({span(age)}): this machine's clock went back"
        return [Concern("on_stale", Verdict.UNKNOWN, text)]
    promised = part.freshness
    found: list[Concern] = []
    if promised.fail_us is not None and age > promised.fail_us:
        text = f"{part.name} is {span(age)} old, promised at most {span(promised.fail_us)}"
        found.append(Concern("on_stale", Verdict.FAIL, text))
    elif promised.warn_us is not None and age > promised.warn_us:
        text = f"{part.name} is {span(age)} old, warned above {span(promised.warn_us)}"
        found.append(Concern("on_warn", Verdict.WARN, text))
    if promised.newest_us is not None:
        found += _newest(part, promised.newest_us, now_us)
    return found


def _newest(part: DatasetTerms, promised_us: int, now_us: int) -> list[Concern]:
    if part.newest_us is None:
        text = f"{part.name} promises new rows and no event time is known"
        return [Concern("on_stale", Verdict.UNKNOWN, text)]
    behind = now_us - part.newest_us
    if behind <= promised_us:
        return []
    text = f"the newest row of {part.name} is {span(behind)} old, promised at most {span(promised_us)}"
    return [Concern("on_stale", Verdict.FAIL, text)]


def decide(
    concerns: Sequence[Concern], standing: Terms, now_us: int, instant: int | None, age: int | None
) -> Judgement:
    """What all concerns together come to."""
    if not concerns:
        return Judgement("answer", Verdict.PASS, "", "", 200, instant, age, None)

    def weight(concern: Concern) -> tuple[int, bool, int, int]:
        # A deleted key and a held one without a good row are facts that no younger data would change.
        settled = concern.always_refuse or concern.reason == "on_deleted"
        action = _action(concern, standing)
        return (_STRICT[action], settled, concern.verdict.rank, _TELLING[concern.reason])

    ordered = sorted(concerns, key=weight, reverse=True)
    first = ordered[0]
    action = _action(first, standing)
    refused = action == "refuse"
    return Judgement(
        action,
        worst(concern.verdict for concern in concerns),
        "; ".join(dict.fromkeys(concern.sentence for concern in ordered)),
        first.reason,
        STATUS[first.reason] if refused else 200,
        instant,
        age,
        _retry_after(standing, now_us) if refused and STATUS[first.reason] == 503 else None,
    )


def _action(concern: Concern, standing: Terms) -> Action:
    if concern.always_refuse:
        return "refuse"
    policy: Policy = getattr(standing.policy, concern.reason)
    if policy == "flag" and (concern.no_row or concern.reason in _NO_FLAG):
        return "refuse"
    if policy == "fallback" and not standing.has_fallback:
        return "refuse"
    return policy


def _retry_after(standing: Terms, now_us: int) -> int:
    """Seconds until the next planned read of a dataset, within 1 and 60."""
    waits = [part.next_us - now_us for part in standing.datasets if part.next_us > now_us]
    if not waits:
        return 1 if not standing.datasets else 5
    return max(1, min(_RETRY_MOST, -(-min(waits) // SECOND)))


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)


def judge_unseen(standing: Terms, sentence: str, now_us: int) -> Judgement:
    """When the row could not be looked up: ERROR, handled by `on_stale`."""
    instant = standing.as_of_us
    age = None if instant is None else now_us - instant
    return decide([Concern("on_stale", Verdict.ERROR, sentence, no_row=True)], standing, now_us, instant, age)


def facts(
    row: OnlineRow | None, standing: Terms, now_us: int, *, error: str = "", unseen: str = "", given: bool = False
) -> dict[str, Any]:
    """What a refusal or fallback was judged from, without key or values: enough for `rejudge`.

    Args:
        row: The feature row, if there was one.
        standing: The terms of the snapshot that answered.
        now_us: The instant judged at.
        error: How the model failed; empty when it did not.
        unseen: Why the row could not be looked up; empty when it could.
        given: Whether the inputs came with the request.
    """
    return {
        "now_us": now_us,
        "row": row_facts(row),
        "terms": msgspec.to_builtins(standing),
        "error": error,
        "unseen": unseen,
        "given": given,
    }


def row_facts(row: OnlineRow | None) -> dict[str, Any] | None:
    """What a row was judged by, without key or values."""
    if row is None:
        return None
    return {
        "plan": row.plan,
        "values": row.values is not None,
        "verdict": str(row.verdict),
        "sentence": row.sentence,
        "held": row.held,
        "held_as_of_us": row.held_as_of_us,
        "deleted": row.deleted,
        "evaluated_us": row.evaluated_us,
    }


def row_of_facts(seen: Mapping[str, Any] | None) -> OnlineRow | None:
    """A row that is judged as the recorded one was."""
    if seen is None:
        return None
    return OnlineRow(
        key="",
        plan=seen["plan"],
        values=b"" if seen["values"] else None,
        event_us=None,
        landed_us=0,
        verdict=Verdict(seen["verdict"]),
        sentence=seen["sentence"],
        held=seen["held"],
        held_as_of_us=seen["held_as_of_us"],
        deleted=seen["deleted"],
        evaluated_us=seen["evaluated_us"],
        positions=b"{}",
    )


def rejudge(recorded: Mapping[str, Any]) -> Judgement:
    """Judges again from recorded facts; equal facts give the equal judgement."""
    standing = msgspec.convert(recorded["terms"], Terms)
    row = row_of_facts(recorded["row"])
    now_us = recorded["now_us"]
    if recorded["unseen"]:
        return judge_unseen(standing, recorded["unseen"], now_us)
    judged = judge_given(standing, now_us) if recorded["given"] else judge(row, standing, now_us)
    if recorded["error"] and judged.action in ("answer", "flag"):
        return judge_error(judged, standing, recorded["error"], now_us)
    return judged
