"""The wall clock is set, back and forward: what callers get, and what `status` says."""

from __future__ import annotations

from pathlib import Path

from mainstay.app.loop import Loop
from mainstay.app.status import Status, read_status
from mainstay.app.wiring import own
from mainstay.app.worker import open_worker
from mainstay.core.clock import HOUR, SECOND
from mainstay.core.verdicts import Verdict
from mainstay.serving.reply import Answer, Batch, Refusal
from mainstay.serving.request import PredictRequest
from mainstay.serving.work import Call
from mainstay.testing.clock import FakeClock
from tests.app.shop import RULE, Shop


def asked(shop: Shop, clock: FakeClock) -> Answer | Refusal | Batch:
    worker = open_worker(shop.home, "churn", slot="api-1", clock=clock, env={})
    try:
        snap = worker.desk.view.now
        assert snap is not None
        return worker.desk.answering.predict_now(snap, PredictRequest(key="person-0003"), Call("cli", "cli", 0))
    finally:
        worker.close()


def said(status: Status, check: str) -> list[tuple[Verdict, str]]:
    return [(one.verdict, one.sentence) for one in status.wrong if one.check == check]


def test_a_clock_set_back_makes_ages_unknown_and_is_said_until_the_next_read(tmp_path: Path) -> None:
    shop, clock = Shop(tmp_path), FakeClock()
    shop.apply(model=RULE)
    with own(shop.place, "a test", clock=clock) as works:
        loop = Loop(works)
        loop.start()
        while loop.beat():
            pass
        assert isinstance(asked(shop, clock), Answer)
        assert said(read_status(shop.place, clock), "clock") == []
        clock.set_wall(clock.now_us() - HOUR)
        refused = asked(shop, clock)
        assert isinstance(refused, Refusal)
        assert (refused.status, refused.reason, refused.verdict) == (503, "on_stale", Verdict.UNKNOWN)
        assert refused.receipt
        ((verdict, sentence),) = said(read_status(shop.place, clock), "clock")
        assert verdict is Verdict.WARN
        assert "was set back by" in sentence
        assert "the age of customers is UNKNOWN until the next read" in sentence
        for _ in range(3):
            loop.beat()
            clock.advance(SECOND)
        assert isinstance(asked(shop, clock), Answer)
        assert said(read_status(shop.place, clock), "clock") == []


def test_a_clock_set_forward_makes_rows_expire_and_the_next_read_brings_them_back(tmp_path: Path) -> None:
    shop, clock = Shop(tmp_path), FakeClock()
    shop.apply(model=RULE)
    with own(shop.place, "a test", clock=clock) as works:
        loop = Loop(works)
        loop.start()
        while loop.beat():
            pass
        clock.set_wall(clock.now_us() + 3 * HOUR)
        refused = asked(shop, clock)
        assert isinstance(refused, Refusal)
        assert (refused.status, refused.reason, refused.verdict) == (503, "on_stale", Verdict.FAIL)
        ((verdict, _),) = said(read_status(shop.place, clock), "customers.freshness")
        assert verdict is Verdict.FAIL
        for _ in range(3):
            loop.beat()
            clock.advance(SECOND)
        assert isinstance(asked(shop, clock), Answer)
