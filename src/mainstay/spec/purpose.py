"""Findings about a purpose that is not, or not wholly, stated."""

from __future__ import annotations

from mainstay.core.nouns import Purpose
from mainstay.core.verdicts import Finding, Verdict


def purpose_findings(purpose: Purpose) -> tuple[Finding, ...]:
    """A WARN for each absent part. Integrations fail on these more often than on models."""
    parts = (
        ("problem", bool(purpose.problem), "No problem is stated.", "problem: WHAT GOES WRONG TODAY"),
        ("workflow", bool(purpose.workflow), "No workflow is stated.", "workflow: WHERE THE ANSWER STANDS, WHO ACTS"),
        ("users.who", bool(purpose.users_who), "No users are named.", "users: {who: account managers, seats: 40}"),
        ("users.seats", purpose.users_seats is not None, "The number of users is not said.", "users: {seats: 40}"),
        ("kpis", bool(purpose.kpis), "No KPI is named.", "kpis: [{name: N, unit: U, baseline: 31, target: 45}]"),
        ("agreed_by", bool(purpose.agreed_by), "Nobody agreed to it.", "agreed_by: [{role: R, on: 2026-11-01}]"),
        ("review", purpose.review_after_us is not None, "No review is set.", "review: {after: 90d}"),
    )
    absent = [
        Finding(check=f"purpose.{name}", verdict=Verdict.WARN, sentence=sentence, mend=f"under `purpose:` add `{mend}`")
        for name, there, sentence, mend in parts
        if not there
    ]
    unmeasured = [
        Finding(
            check=f"purpose.kpis.{kpi.name}",
            verdict=Verdict.WARN,
            sentence=f"The KPI {kpi.name} has no {' and no '.join(missing)}.",
            mend="say what it was before and what it shall become: `baseline: 31, target: 45`",
        )
        for kpi in purpose.kpis
        if (missing := [name for name in ("baseline", "target") if getattr(kpi, name) is None])
    ]
    return (*absent, *unmeasured)


def purpose_summary(purpose: Purpose) -> Finding | None:
    """All that is absent in one WARN; None when the purpose is stated in full."""
    found = [one.check.removeprefix("purpose.") for one in purpose_findings(purpose)]
    if not found:
        return None
    return Finding(
        check="purpose",
        verdict=Verdict.WARN,
        sentence=f"The purpose is not stated in full; what is missing: {', '.join(found)}.",
        mend="mainstay check says for each what to write under `purpose:`",
    )
