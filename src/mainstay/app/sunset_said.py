"""What `status` says of an API version that ends, and of who still calls it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mainstay.app.callers import CallerLine
from mainstay.core.clock import DAY, iso
from mainstay.core.nouns import Integration
from mainstay.core.verdicts import Finding, Verdict

SOON_US = 14 * DAY
"""How long before the sunset it is said, and how long ago the last call of a caller may be."""
_NAMED = 5


def findings(integration: Integration, callers: Sequence[CallerLine], now_us: int) -> Iterator[Finding]:
    """A warning from two weeks before the sunset on while the version is called; after it in any case."""
    retired = integration.retired
    if retired is None or retired.sunset_us is None or now_us < retired.sunset_us - SOON_US:
        return
    names = [one.caller or one.key for one in callers if one.api == integration.api and now_us - one.last_us <= SOON_US]
    over = now_us >= retired.sunset_us
    if not names and not over:
        return
    named = list(dict.fromkeys(names))
    more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
    called = f"is still called by {', '.join(named[:_NAMED])}{more}" if named else "answers nobody any more"
    version = f"version {integration.api} of the API"
    yield Finding(
        check="api.sunset", verdict=Verdict.WARN,
        sentence=f"{version} {'ended' if over else 'ends'} on {iso(retired.sunset_us)[:10]} and {called}",
        mend=f"mainstay callers, and tell them of {retired.successor}" if named else "take it down, or raise `api:`",
    )  # fmt: skip
