"""A damaged online store: what callers get, what `status` says, and that its mend mends it."""

from __future__ import annotations

from pathlib import Path

from mainstay.app.status import read_status
from mainstay.app.wiring import own
from mainstay.core.clock import MINUTE, SECOND
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import sets
from mainstay.serving.reply import Answer, Refusal
from mainstay.testing.clock import FakeClock
from tests.app.shop import RULE, Shop
from tests.app.test_clock_said import asked, said

PAGE = 8192


def test_a_damaged_online_store_is_said_and_comes_back_as_the_mend_says(tmp_path: Path) -> None:
    shop, clock = Shop(tmp_path), FakeClock()
    shop.begin(model=RULE)
    clock.set_wall(shop.dataset().as_of_us or 0)
    assert isinstance(asked(shop, clock), Answer)
    assert said(read_status(shop.place, clock), "online") == []

    file = shop.place.home.online
    whole = file.read_bytes()
    file.write_bytes(whole[:PAGE] + b"\xa5" * (len(whole) - PAGE))
    refused = asked(shop, clock)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.reason, refused.verdict) == (503, "on_stale", Verdict.ERROR)
    clock.advance(SECOND)
    ((verdict, sentence),) = said(read_status(shop.place, clock), "online")
    assert verdict is Verdict.FAIL
    assert sentence.startswith("feature rows could not be read, 1 so far, the last 1 s ago: the file is damaged")
    clock.advance(2 * MINUTE)
    assert [verdict for verdict, _ in said(read_status(shop.place, clock), "online")] == [Verdict.WARN]
    clock.advance(4 * MINUTE)
    assert said(read_status(shop.place, clock), "online") == []

    for one in file.parent.glob("online.sqlite*"):
        one.unlink()
    with own(shop.place, "a test") as works:
        assert any("6 rows computed again" in done for done in sets.recover(works.desk))
    assert isinstance(asked(shop, clock), Answer)
