"""Commands on several things: what cannot be done to one of them is found before anything is done to the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.app.commands import COMMANDS, ask, forget_answers, perform_requests
from mainstay.app.wiring import own
from mainstay.core.clock import HOUR
from mainstay.core.errors import MainstayError, NotFound, Refused
from mainstay.core.records import Request, Response
from mainstay.pipelines.desk import batch_name
from mainstay.store.shelf import Shelf
from mainstay.testing.clock import FakeClock
from tests.app.shop import COLUMNS, Shop

BLOCKING = COLUMNS.rstrip() + "\n    checks: [{row_count: {max: 6}, on_fail: block}]\n"


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.begin()
    return shop


def rejected(shop: Shop) -> str:
    """A row that stands in quarantine."""
    shop.exec("INSERT INTO customers VALUES ('person-0007', 999, 'Bonn', 'gold')")
    shop.run()
    (row,) = ask(shop.place, "quarantine.list", {})["rows"]
    return str(row["id"])


def test_a_run_of_several_reads_none_where_one_is_unknown(world: Shop) -> None:
    world.exec("INSERT INTO customers VALUES ('person-0007', 7, 'Bonn', 'gold')")
    before = world.dataset()
    with pytest.raises(NotFound, match="no dataset nope"):
        ask(world.place, "run", {"datasets": ["customers", "nope"]})
    assert world.dataset() == before


@pytest.mark.parametrize("other", ["nope/1/1", "x", "customers/²/1"])
@pytest.mark.parametrize("command", ["quarantine.discard", "quarantine.replay"])
def test_rows_of_several_datasets_stay_where_one_is_unknown(world: Shop, command: str, other: str) -> None:
    mine = rejected(world)
    with pytest.raises(NotFound):
        ask(world.place, command, {"ids": [mine, other], "reason": "a test account"})
    (row,) = ask(world.place, "quarantine.list", {})["rows"]
    assert (row["id"], row["state"]) == (mine, "quarantined")


def blocked(shop: Shop, batches: int) -> list[int]:
    """Numbers of batches that wait, the first of them blocked."""
    shop.apply(columns=BLOCKING)
    for n in range(batches):
        shop.exec(f"INSERT INTO customers VALUES ('more-{n}', 5, 'Bonn', 'gold')")
        shop.run()
    with own(shop.place, "a test") as works:
        return [one.number for one in works.desk.waiting("customers")]


def release(shop: Shop, number: int, *, dataset: str = "customers", through: int | None = None) -> list[dict[str, Any]]:
    args = {"dataset": dataset, "number": number, "through": through, "reason": "a new branch"}
    found: list[dict[str, Any]] = ask(shop.place, "batch.release", args)["batches"]
    return found


def test_every_batch_through_one_is_released(world: Shop) -> None:
    numbers = blocked(world, 3)
    assert len(numbers) == 3
    done = release(world, numbers[0], through=numbers[1])
    assert [(one["number"], one["status"]) for one in done] == [(one, "published") for one in numbers[:2]]
    assert len(ask(world.place, "run", {"datasets": []})["results"]) == 1
    with own(world.place, "a test") as works:
        assert [one.number for one in works.desk.waiting("customers")] == numbers[2:]


def test_none_is_released_where_a_later_one_cannot_be(world: Shop) -> None:
    numbers = blocked(world, 2)
    with own(world.place, "a test") as works:
        name = batch_name("customers", numbers[1])
        later = works.desk.batches.get(name)
        assert later is not None
        works.desk.commit([works.desk.batches.write(name, msgspec.structs.replace(later, status="error"))])
        args = {"dataset": "customers", "number": numbers[0], "through": numbers[1], "reason": "a new branch"}
        with pytest.raises(Refused, match=f"customers/{numbers[1]} is error, not blocked"):
            COMMANDS["batch.release"](works, args)
        first = works.desk.batches.get(batch_name("customers", numbers[0]))
        assert first is not None
        assert first.status == "blocked"


def test_a_release_that_releases_nothing_is_refused(world: Shop) -> None:
    (number,) = blocked(world, 1)
    for through in (None, 5):
        with pytest.raises(NotFound, match="no dataset nope"):
            release(world, 1, dataset="nope", through=through)
        with pytest.raises(NotFound, match="no batch customers/99"):
            release(world, 99, through=through and 100)
        with pytest.raises(Refused, match="is published already"):
            release(world, 1, through=through)
    with pytest.raises(Refused, match="is before batch"):
        release(world, number, through=1)
    ask(world.place, "batch.discard", {"dataset": "customers", "number": number, "reason": "x"})
    with pytest.raises(Refused, match="is discarded already"):
        release(world, number)


@pytest.mark.parametrize("command", ["slow", "slow and fails"])
def test_an_answer_is_kept_from_when_it_was_given(world: Shop, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    with own(world.place, "a test") as works:
        clock = FakeClock(works.clock.now_us())

        def slowly(*_: object) -> dict[str, Any]:
            clock.advance(2 * HOUR)
            if command == "slow":
                return {}
            raise MainstayError("no")

        monkeypatch.setitem(COMMANDS, command, slowly)
        works.clock = clock
        Shelf(works.state, "request", Request).put("req-1", Request(id="req-1", command=command, args={}, at_us=0))
        assert perform_requests(works) == 1
        assert forget_answers(works) == 0
        answer = Shelf(works.state, "response", Response).get("req-1")
        assert answer is not None
        assert answer.at_us == clock.now_us()
