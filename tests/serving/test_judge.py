from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.clock import HOUR, MINUTE, SECOND
from mainstay.core.nouns import AnswerPolicy, Freshness, Policy
from mainstay.core.ports import OnlineRow
from mainstay.core.verdicts import Verdict
from mainstay.serving import judge as judging
from mainstay.serving.judge import DatasetTerms, Terms, calm, derive, facts, judge, judge_error, judge_unseen, rejudge
from mainstay.serving.judge_views import Seen, joint_terms, joint_unread, judge_views
from tests.serving.toy import NOW, online_row

DEFAULT = AnswerPolicy()


def standing(*parts: DatasetTerms, policy: AnswerPolicy = DEFAULT, **more: Any) -> Terms:
    fields: dict[str, Any] = {"has_fallback": True, **more}
    return derive(Terms(policy=policy, datasets=parts or (customers(),), **fields))


def customers(age_us: int | None = 10 * SECOND, **more: Any) -> DatasetTerms:
    promised = more.pop("freshness", Freshness(warn_us=5 * MINUTE, fail_us=HOUR))
    as_of = None if age_us is None else NOW - age_us
    return DatasetTerms(name="customers", as_of_us=as_of, freshness=promised, **more)


def test_a_good_row_is_answered_with_its_age() -> None:
    judged = judge(online_row("A"), standing(), NOW)
    assert (judged.action, judged.verdict, judged.age_us) == ("answer", Verdict.PASS, 10 * SECOND)
    assert judge(online_row("A"), standing(), NOW + SECOND).age_us == 11 * SECOND


def test_a_row_unchanged_for_years_is_not_stale() -> None:
    assert judge(online_row("A", event_us=0, landed_us=0), standing(), NOW).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("part", "verdict", "reason", "status"),
    [
        (customers(6 * MINUTE), Verdict.WARN, "on_warn", 200),
        (customers(5 * MINUTE), Verdict.PASS, "", 200),
        (customers(HOUR + 1), Verdict.FAIL, "on_stale", 503),
        (customers(None), Verdict.UNKNOWN, "on_stale", 503),
        (customers(-SECOND), Verdict.UNKNOWN, "on_stale", 503),
        (customers(freshness=Freshness(newest_us=HOUR), newest_us=NOW - 2 * HOUR), Verdict.FAIL, "on_stale", 503),
        (customers(freshness=Freshness(newest_us=HOUR)), Verdict.UNKNOWN, "on_stale", 503),
        (customers(freshness=Freshness(newest_us=HOUR), newest_us=NOW - MINUTE), Verdict.PASS, "", 200),
    ],
)
def test_promises_on_age_are_kept_at_the_moment_of_answering(
    part: DatasetTerms, verdict: Verdict, reason: str, status: int
) -> None:
    judged = judge(online_row("A"), standing(part), NOW)
    assert (judged.verdict, judged.reason, judged.status) == (verdict, reason, status)
    assert (judged.retry_after is not None) == (status == 503)


@pytest.mark.parametrize(
    ("row", "reason", "status", "words"),
    [
        (None, "on_missing", 404, "no row"),
        (online_row("A", values=None), "on_missing", 404, "no row"),
        (online_row("A", values=None, deleted=True), "on_deleted", 410, "deleted"),
        (online_row("A", held=True, held_as_of_us=NOW - SECOND, sentence="tenure.max"), "on_held", 409, "tenure.max"),
        (online_row("A", values=None, held=True, sentence="tenure.max"), "on_held", 409, "tenure.max"),
    ],
)
def test_each_state_of_a_row_has_its_policy(row: OnlineRow | None, reason: str, status: int, words: str) -> None:
    judged = judge(row, standing(), NOW)
    assert (judged.action, judged.reason, judged.status) == ("refuse", reason, status)
    assert words in judged.sentence


def test_held_without_a_good_row_is_refused_whatever_the_file_says() -> None:
    held = online_row("A", values=None, held=True, sentence="tenure.max")
    for policy in ("flag", "fallback"):
        judged = judge(held, standing(policy=AnswerPolicy(on_held=policy)), NOW)
        assert (judged.action, judged.status) == ("refuse", 409)


def test_a_held_row_ages_from_before_its_rejected_version() -> None:
    policy = AnswerPolicy(on_held="flag")
    held = online_row("A", held=True, held_as_of_us=NOW - 2 * HOUR, sentence="tenure.max")
    judged = judge(held, standing(policy=policy), NOW)
    assert (judged.reason, judged.status, judged.age_us) == ("on_stale", 503, 2 * HOUR)
    younger = msgspec.structs.replace(held, held_as_of_us=NOW - MINUTE)
    judged = judge(younger, standing(policy=policy), NOW)
    assert (judged.action, judged.age_us) == ("flag", MINUTE)


def test_a_warned_row_is_flagged_with_its_evidence() -> None:
    judged = judge(online_row("A", verdict=Verdict.WARN, sentence="tenure is unusual"), standing(), NOW)
    assert (judged.action, judged.verdict, judged.sentence) == ("flag", Verdict.WARN, "tenure is unusual")
    refused = judge(online_row("A", verdict=Verdict.WARN), standing(policy=AnswerPolicy(on_warn="refuse")), NOW)
    assert refused.status == 409


def test_a_feature_set_with_an_unmappable_quarantined_version_warns_every_row() -> None:
    assert judge(online_row("A"), standing(warn="a quarantined version maps nowhere"), NOW).verdict is Verdict.WARN


def test_a_row_computed_too_long_ago_warns_and_ages_from_its_as_of() -> None:
    terms = standing(customers(run_us=SECOND), uses_as_of=True, refresh_us=MINUTE)
    fresh = judge(online_row("A", evaluated_us=NOW - MINUTE), terms, NOW)
    assert (fresh.verdict, fresh.age_us) == (Verdict.PASS, MINUTE)
    late = judge(online_row("A", evaluated_us=NOW - 2 * MINUTE), terms, NOW)
    assert (late.verdict, late.reason, late.age_us) == (Verdict.WARN, "on_warn", 2 * MINUTE)


def test_the_as_of_is_the_least_of_the_datasets() -> None:
    tickets = DatasetTerms(name="tickets", as_of_us=NOW - 20 * SECOND)
    judged = judge(online_row("A"), standing(customers(), tickets), NOW)
    assert judged.as_of_us == NOW - 20 * SECOND


def test_a_dataset_never_published_makes_the_age_unknown() -> None:
    judged = judge(online_row("A"), standing(customers(), DatasetTerms(name="tickets")), NOW)
    assert (judged.verdict, judged.age_us) == (Verdict.UNKNOWN, None)


def test_a_missing_key_is_not_told_from_data_that_is_too_old_to_know() -> None:
    judged = judge(None, standing(customers(2 * HOUR)), NOW)
    assert (judged.reason, judged.status) == ("on_stale", 503)
    assert "no row" in judged.sentence


def test_a_key_of_a_set_that_is_still_built_is_unknown_not_missing() -> None:
    judged = judge(None, standing(complete=False), NOW)
    assert (judged.verdict, judged.status) == (Verdict.UNKNOWN, 503)


@pytest.mark.parametrize("reason", ["on_missing", "on_deleted"])
def test_nothing_is_flagged_where_there_is_nothing_to_show(reason: str) -> None:
    policy = msgspec.convert({reason: "flag"}, AnswerPolicy)
    row = online_row("A", values=None, deleted=reason == "on_deleted")
    assert judge(row, standing(policy=policy), NOW).action == "refuse"


def test_a_fallback_that_the_file_does_not_have_refuses() -> None:
    policy = AnswerPolicy(on_missing="fallback")
    assert judge(None, standing(policy=policy), NOW).action == "fallback"
    assert judge(None, standing(policy=policy, has_fallback=False), NOW).status == 404


def test_a_failing_model_is_told_as_an_error() -> None:
    before = judge(online_row("A"), standing(), NOW)
    assert judge_error(before, standing(), "away", NOW).action == "fallback"
    refused = judge_error(before, standing(policy=AnswerPolicy(on_error="refuse")), "away", NOW)
    assert (refused.status, refused.verdict, refused.sentence) == (503, Verdict.ERROR, "away")


def test_several_views_are_not_answered_from_while_state_cannot_be_asked() -> None:
    part = standing()
    seen = [Seen(view=name, asked=f"{name}_id", terms=part, row=online_row("A")) for name in ("customer", "product")]
    joint = joint_terms(DEFAULT, [part, part], has_fallback=False)
    assert judge_views(seen, joint, NOW).action == "answer"
    blind = joint_unread(joint, "state does not answer")
    judged = judge_views(seen, blind, NOW)
    assert (judged.action, judged.verdict, judged.reason) == ("refuse", Verdict.ERROR, "on_stale")
    again = joint_unread(blind, "")
    assert judge_views(seen, again, NOW).action == "answer"
    assert not calm(online_row("A"), again, NOW), "each row is looked at under its own view's terms, as before"


def test_a_retry_is_asked_for_when_the_next_read_is_planned() -> None:
    assert judge(online_row("A"), standing(customers(HOUR + 1, next_us=NOW + 7 * SECOND)), NOW).retry_after == 7
    assert judge(online_row("A"), standing(customers(HOUR + 1, next_us=NOW + HOUR)), NOW).retry_after == 60


spans = st.one_of(st.none(), st.integers(0, 2 * HOUR))
policies: st.SearchStrategy[Policy] = st.sampled_from(("refuse", "flag", "fallback"))
parts = st.builds(
    DatasetTerms,
    name=st.sampled_from(("customers", "tickets")),
    as_of_us=st.one_of(st.none(), st.integers(NOW - 3 * HOUR, NOW + HOUR)),
    newest_us=st.one_of(st.none(), st.integers(NOW - 3 * HOUR, NOW + HOUR)),
    next_us=st.integers(NOW - HOUR, NOW + HOUR),
    run_us=st.integers(0, MINUTE),
    freshness=st.builds(Freshness, warn_us=spans, fail_us=spans, newest_us=spans),
)
all_terms = st.builds(
    lambda **fields: derive(Terms(**fields)),
    policy=st.builds(
        AnswerPolicy,
        on_warn=policies,
        on_stale=policies,
        on_held=policies,
        on_missing=policies,
        on_deleted=policies,
        on_error=policies,
    ),
    has_fallback=st.booleans(),
    datasets=st.lists(parts, min_size=1, max_size=3).map(tuple),
    warn=st.sampled_from(("", "unmappable")),
    unread=st.sampled_from(("", "", "state could not be read")),
    complete=st.booleans(),
    uses_as_of=st.booleans(),
    refresh_us=spans,
)
rows = st.one_of(
    st.none(),
    st.builds(
        lambda **fields: online_row("A", **fields),
        values=st.one_of(st.none(), st.just(b"[]")),
        verdict=st.sampled_from((Verdict.PASS, Verdict.WARN)),
        held=st.booleans(),
        held_as_of_us=st.one_of(st.none(), st.integers(NOW - 3 * HOUR, NOW)),
        deleted=st.booleans(),
        evaluated_us=st.one_of(st.none(), st.integers(NOW - 3 * HOUR, NOW)),
    ),
)


def expired(part: DatasetTerms) -> bool:
    promised = part.freshness
    if part.as_of_us is None or part.as_of_us > NOW:
        return True
    if promised.fail_us is not None and NOW - part.as_of_us > promised.fail_us:
        return True
    return promised.newest_us is not None and (part.newest_us is None or NOW - part.newest_us > promised.newest_us)


@pytest.mark.promise(5)
@given(rows, all_terms)
def test_an_expired_row_never_passes(row: OnlineRow | None, terms: Terms) -> None:
    judged = judge(row, terms, NOW)
    if any(map(expired, terms.datasets)):
        assert judged.verdict is not Verdict.PASS
        assert judged.action != "answer"
        if terms.policy.on_stale == "refuse":
            assert judged.action == "refuse"


@given(rows, all_terms)
def test_the_short_road_says_what_the_long_one_says(row: OnlineRow | None, terms: Terms) -> None:
    long = msgspec.structs.replace(terms, calm_until_us=-1)
    assert judge(row, terms, NOW) == judge(row, long, NOW)


@given(rows, all_terms)
def test_only_a_row_with_values_is_answered_from(row: OnlineRow | None, terms: Terms) -> None:
    judged = judge(row, terms, NOW)
    if judged.action in ("answer", "flag"):
        assert row is not None
        assert row.values is not None
    assert (judged.action == "refuse") == (judged.status != 200)


@given(rows, all_terms, st.sampled_from(("", "the model is away")), st.sampled_from(("", "unreadable")))
def test_recorded_facts_judge_to_the_same(row: OnlineRow | None, terms: Terms, error: str, unseen: str) -> None:
    if unseen:
        judged = judge_unseen(terms, unseen, NOW)
    else:
        judged = judge(row, terms, NOW)
        if error and judged.action in ("answer", "flag"):
            judged = judge_error(judged, terms, error, NOW)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(facts(row, terms, NOW, error=error, unseen=unseen)))
    assert rejudge(stored) == judged


def test_rows_of_the_caller_are_unknown_and_answered() -> None:
    judged = judging.judge_given(standing(), NOW)
    assert (judged.action, judged.verdict) == ("answer", Verdict.UNKNOWN)


@pytest.mark.parametrize(("policy", "action"), [("refuse", "refuse"), ("flag", "flag"), ("fallback", "fallback")])
def test_state_that_cannot_be_read_is_an_error_for_rows_of_any_kind(policy: Policy, action: str) -> None:
    plain = msgspec.structs.replace(standing(), policy=AnswerPolicy(on_stale=policy), has_fallback=True)
    terms = judging.unread(plain, "state could not be read")
    for judged in (judge(online_row("A"), terms, NOW), judging.judge_given(terms, NOW)):
        assert (judged.action, judged.verdict, judged.reason) == (action, Verdict.ERROR, "on_stale")
        assert "state could not be read" in judged.sentence
    assert judging.unread(terms, "") == plain
