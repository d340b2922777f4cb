"""The queue before a model of another process, with calls that end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from mainstay.core.clock import SECOND
from mainstay.core.records import Cost
from mainstay.serving.model_queue import Costs, ModelQueue, Overloaded, TooLate
from mainstay.serving.work import Call, Work
from mainstay.testing.clock import FakeClock

MS = SECOND // 1000
SLOW = (Cost(rows=1, us=10 * MS), Cost(rows=2, us=20 * MS))
"""Rows cost alike, however many are asked at once."""
FLAT = tuple(Cost(rows=rows, us=MS) for rows in (1, 8, 64))
"""A call costs the same for one row and for many."""


class Bench:
    """A queue whose calls are made by nobody: `land` ends the oldest of them after its time."""

    def __init__(self, curve: Sequence[Cost] = SLOW, **options: Any) -> None:
        self.clock = FakeClock(0)
        self.costs = Costs(curve)
        self.calls: list[list[str]] = []
        self.flying: list[tuple[int, asyncio.Future[None]]] = []
        self.queue = ModelQueue(lambda _groups: None, self._run, self.costs, self.clock, **options)
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def _run(self, _ask: Any, groups: Sequence[Sequence[Work]]) -> asyncio.Future[None]:
        self.calls.append([str(work.key) for group in groups for work in group])
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flying.append((sum(map(len, groups)), ended))
        return ended

    async def asks(self, name: str, *, caller: str = "one", rows: int = 1, **more: Any) -> asyncio.Task[None]:
        async def through() -> None:
            call = Call(caller, name, 0, deadline_us=more.pop("deadline_us", None))
            await self.queue.through([Work(name) for _ in range(rows)], call, **more)
            self.served.append(name)

        task = asyncio.ensure_future(through())
        self.tasks.append(task)
        await turn()
        return task

    async def land(self, error: Exception | None = None) -> None:
        rows, ended = self.flying.pop(0)
        self.clock.advance(self.costs.us(rows))
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)
        await turn()


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(act: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(act(), 20)

    asyncio.run(whole())


def test_one_call_works_and_one_is_on_its_way() -> None:
    async def act() -> None:
        bench = Bench()
        for name in "abc":
            await bench.asks(name)
        assert bench.calls == [["a"], ["b"]]
        await bench.land()
        assert (bench.served, bench.calls[2:]) == (["a"], [["c"]])
        await bench.land()
        await bench.land()
        assert bench.served == ["a", "b", "c"]

    run(act)


def test_a_model_that_does_several_things_at_once_is_given_as_many_and_no_more() -> None:
    async def act() -> None:
        bench = Bench(at_once=3)
        for name in "abcde":
            await bench.asks(name)
        assert bench.calls == [["a"], ["b"], ["c"]]
        await bench.land()
        assert bench.calls[3:] == [["d"]]
        while bench.flying:
            await bench.land()
        assert bench.served == list("abcde")

    run(act)


def test_rows_of_several_requests_are_asked_together_only_where_it_pays() -> None:
    async def act() -> None:
        for together, calls in ((1, list("abcde")), (2, ["a", "bc", "de"]), (64, ["a", "bcde"])):
            bench = Bench(FLAT, together=together)
            for name in "abcde":
                await bench.asks(name, caller=name)
            while bench.flying:
                await bench.land()
            assert ["".join(call) for call in bench.calls] == calls
            assert sorted(bench.served) == list("abcde")

    run(act)


def test_a_request_with_many_rows_is_asked_whole() -> None:
    async def act() -> None:
        bench = Bench(FLAT, together=4)
        for name, rows in (("a", 1), ("b", 1), ("c", 9), ("d", 1), ("e", 3), ("f", 1)):
            await bench.asks(name, caller=name, rows=rows)
        while bench.flying:
            await bench.land()
        assert ["".join(sorted(set(call))) for call in bench.calls] == ["a", "b", "c", "de", "f"]

    run(act)


def test_a_request_with_more_rows_than_a_call_takes_is_asked_in_several_side_by_side() -> None:
    async def act() -> None:
        bench = Bench(most=2, at_once=2)
        many = await bench.asks("a", rows=7)
        other = await bench.asks("b", caller="two")
        assert bench.calls == [["a", "a"], ["a", "a"]]
        await bench.land()
        assert bench.calls[2:] == [["a", "a"]], "it stands in the line since before"
        await bench.land()
        assert bench.calls[3:] == [["b"]], "callers take turns between its calls too"
        assert not many.done()
        for _ in range(3):
            await bench.land()
        assert (many.done(), other.done()) == (True, True)
        assert bench.calls[4:] == [["a"]]
        assert sum(len(one) for one in bench.calls) == 8

    run(act)


def test_a_call_that_fails_takes_the_rest_of_its_request_along() -> None:
    async def act() -> None:
        bench = Bench(most=1, at_once=2)
        many = await bench.asks("a", rows=9)
        await bench.land(ValueError("a defect"))
        assert isinstance(many.exception(), ValueError)
        after = await bench.asks("b")
        for _ in range(3):
            await bench.land()
        assert after.done()
        assert bench.calls == [["a"], ["a"], ["a"], ["b"]]

    run(act)


def test_a_burst_waits_and_what_would_wait_too_long_is_told_at_once() -> None:
    async def act() -> None:
        bench = Bench()
        for number in range(6):
            await bench.asks(f"{number}")
        late = await bench.asks("late")
        assert isinstance(late.exception(), Overloaded), "60 ms are before it"
        assert late.exception().retry_after == 1  # type: ignore[union-attr]
        assert not any(task.done() for task in bench.tasks[:6])
        while bench.flying:
            await bench.land()
        assert bench.served == list("012345")

    run(act)


@pytest.mark.parametrize("together", [1, 4])
def test_under_overload_nobody_who_is_taken_waits_longer_than_until_the_next_one_comes(together: int) -> None:
    """An open loop at ten times what the model can do, for two seconds of its time."""

    async def act() -> None:
        bench = Bench(
            SLOW if together == 1 else tuple(Cost(rows=rows, us=10 * MS) for rows in (1, 64)), together=together
        )
        came: dict[str, int] = {}
        took: list[tuple[int, int]] = []
        ends_us: int | None = None

        async def until(now_us: int) -> None:
            nonlocal ends_us
            while ends_us is not None and ends_us <= now_us:
                bench.clock.advance(ends_us - bench.clock.monotonic_us())
                done = len(bench.served)
                bench.flying.pop(0)[1].set_result(None)
                await turn()
                took.extend((came[name], ends_us - came[name]) for name in bench.served[done:])
                ends_us = ends_us + 10 * MS if bench.flying else None
            bench.clock.advance(now_us - bench.clock.monotonic_us())

        for number in range(10 * 200 * together):
            now_us = number * MS // together
            await until(now_us)
            came[str(number)] = now_us
            await bench.asks(str(number))
            if bench.flying and ends_us is None:
                ends_us = now_us + 10 * MS
        refused = [isinstance(task.exception(), Overloaded) for task in bench.tasks if task.done()]
        assert max(span for at, span in took if at > SECOND) <= 14 * MS
        assert len(took) >= 0.95 * 200 * together, "the model has been busy all the time"
        assert sum(refused) >= 8.5 * 200 * together
        for task in bench.tasks:
            task.cancel()

    run(act)


def test_a_setting_says_how_long_may_be_waited() -> None:
    async def act() -> None:
        bench = Bench(patience_us=500 * MS)
        for number in range(60):
            await bench.asks(f"{number}")
        found = [task.exception() if task.done() else None for task in bench.tasks]
        assert sum(one is not None for one in found) == 9
        assert not any(found[:51])
        for task in bench.tasks:
            task.cancel()

    run(act)


def test_callers_take_turns_whatever_each_of_them_sends() -> None:
    async def act() -> None:
        bench = Bench(patience_us=SECOND)
        for number in range(20):
            await bench.asks(f"a{number}", caller="greedy")
        await bench.asks("b0", caller="modest")
        await bench.asks("b1", caller="modest")
        while bench.flying:
            await bench.land()
        assert [place for place, name in enumerate(bench.served) if name[0] == "b"] == [3, 5]

    run(act)


def test_the_modest_are_taken_where_the_greedy_are_refused() -> None:
    async def act() -> None:
        bench = Bench()
        for number in range(40):
            await bench.asks(f"a{number}", caller="greedy")
        assert sum(task.done() for task in bench.tasks) >= 30
        modest = await bench.asks("b", caller="modest")
        assert not modest.done()
        for task in bench.tasks:
            task.cancel()

    run(act)


def test_the_modest_are_taken_also_where_the_greedy_never_pause() -> None:
    """One caller asks for ten times what the model can do, a second one for a fifth of it, for two seconds."""

    async def act() -> None:
        bench = Bench()
        for number in range(2_000):
            await bench.asks(f"{number}", caller="greedy")
            if number % 50 == 25:
                await bench.asks(f"b{number}", caller="modest")
            bench.clock.advance(MS)
            if number % 10 == 9:
                bench.flying.pop(0)[1].set_result(None)
                await turn()
        modest = [name for name in bench.served if name[0] == "b"]
        assert len(modest) >= 38
        assert len(bench.served) >= 190
        assert all(
            task.exception() is None or isinstance(task.exception(), Overloaded) for task in bench.tasks if task.done()
        )
        for task in bench.tasks:
            task.cancel()

    run(act)


def test_who_is_gone_is_not_asked_for_and_delays_nobody() -> None:
    async def act() -> None:
        bench = Bench(FLAT, together=64)
        tasks = [await bench.asks(name, caller=name) for name in "abcd"]
        tasks[0].cancel()  # in a call
        tasks[2].cancel()  # in the queue
        await turn()
        while bench.flying:
            await bench.land()
        assert bench.calls == [["a"], ["b", "d"]]
        assert bench.served == ["b", "d"]
        last = await bench.asks("e")
        await bench.land()
        assert last.done()
        assert bench.served[-1] == "e"

    run(act)


def test_a_callers_deadline_is_its_own() -> None:
    async def act() -> None:
        bench = Bench()
        first = await bench.asks("a", deadline_us=50 * MS)
        hopeless = await bench.asks("b", deadline_us=15 * MS)
        assert isinstance(hopeless.exception(), TooLate), "it would be answered after 20 ms"
        patient = await bench.asks("c", deadline_us=60 * MS)
        await asyncio.wait({first, patient}, timeout=10)
        assert isinstance(first.exception(), TooLate), "the model hangs, and its caller is told in time"
        assert isinstance(patient.exception(), TooLate)
        assert bench.calls == [["a"], ["c"]]
        other = await bench.asks("d")
        for _ in range(3):
            await bench.land()
        assert other.done()
        assert bench.served == ["d"]

    run(act)


def test_a_request_that_has_begun_is_not_refused_in_its_middle() -> None:
    async def act() -> None:
        bench = Bench()
        for number in range(6):
            await bench.asks(f"{number}")
        assert isinstance((await bench.asks("new")).exception(), Overloaded)
        assert not (await bench.asks("old", begun=True)).done()
        alone = Bench()
        assert not (await alone.asks("first", rows=2, more=98)).done(), "there is nobody before it"
        for task in (*bench.tasks, *alone.tasks):
            task.cancel()

    run(act)


def test_a_call_that_fails_is_told_to_its_own_requests() -> None:
    async def act() -> None:
        bench = Bench()
        first, second = await bench.asks("a"), await bench.asks("b")
        await bench.land(ValueError("a defect"))
        assert isinstance(first.exception(), ValueError)
        await bench.land()
        assert second.exception() is None

    run(act)


def test_costs_are_learnt_from_what_calls_take() -> None:
    costs = Costs(FLAT[:2])
    assert [costs.us(rows) for rows in (1, 4, 8, 16)] == [MS, MS, MS, 2 * MS]
    for _ in range(50):
        costs.learn(1, 3 * MS)
    assert costs.us(8) == pytest.approx(3 * MS, rel=0.01)
    unknown = Costs(())
    unknown.learn(10, 10 * MS)
    assert unknown.us(1) == MS
