"""Whatever happens to the legacy tables and whatever people do: what is published is what a full recomputation gives.

Histories are made by hypothesis: rows come, change, go bad, move, lose or turn back their cursor, stand twice, vanish;
either dataset runs; people replay, discard and release. After each run the promises are looked at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.core.nouns import Check
from mainstay.pipelines import quarantine, settling
from mainstay.pipelines.features import FeatureWriter, Moment
from mainstay.store.current import schema_of
from mainstay.store.memory import MemoryOnline
from tests.pipelines.world import CUSTOMERS, World, with_checks

STOP = Check(name="stop", kind="sql", args={"condition": "tenure <> 13"}, on_fail="block")
STRICT = with_checks(CUSTOMERS, STOP)
LAX = msgspec.structs.replace(STRICT, checks=tuple(one for one in STRICT.checks if one.name != "tenure.max"))
ids = st.integers(1, 4)
tenures = st.sampled_from(["1", "2", "99", "500", "many", None])
customer = st.tuples(
    st.just("customer"), ids, tenures, st.sampled_from(["a", "b", "z", None]), st.sampled_from(["on", "back", "null"])
)
twice = st.tuples(st.just("twice"), ids, tenures)
gone = st.tuples(st.just("gone"), ids)
ticket = st.tuples(
    st.just("ticket"), st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 5, None]), st.sampled_from(["1", "4", "99", "x"])
)
ticket_gone = st.tuples(st.just("ticket gone"), st.integers(1, 3))
run = st.tuples(st.just("run"), st.sampled_from(["customers", "tickets"]))
stop = st.tuples(st.just("customer"), ids, st.just("13"), st.just("a"), st.just("on"))
hands = st.sampled_from([("replay",), ("discard row",), ("release",), ("discard batch",), ("lax",), ("strict",)])
changes = st.one_of(customer, customer, twice, gone, ticket, ticket, ticket_gone)
Act = tuple[Any, ...]


class Play:
    """A world and what is done to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.count = 0

    def do(self, act: Act) -> None:
        world, what = self.world, act[0]
        self.count += 1
        if what == "customer":
            _, key, tenure, plan, way = act
            world.customer(key, tenure, plan, {"on": self.count, "back": -self.count, "null": None}[way])
        elif what == "twice":
            world.customers.append({"id": act[1], "tenure": act[2], "plan": "a", "u": self.count})
        elif what == "gone":
            world.customers[:] = [row for row in world.customers if row["id"] != act[1]]
        elif what == "ticket":
            world.ticket(*act[1:])
        elif what == "ticket gone":
            world.tickets[:] = [row for row in world.tickets if row["ticket"] != act[1]]
        elif what == "run":
            world.run(act[1])
        else:
            self.by_hand(what)

    def by_hand(self, what: str) -> None:
        world = self.world
        if what in ("lax", "strict"):
            world.integration.datasets["customers"] = LAX if what == "lax" else STRICT
            return
        blocked = [one.number for one in world.desk.waiting("customers") if one.status == "blocked"]
        for name in ("customers", "tickets"):
            rows = quarantine.list_rows(world.desk, dataset=name)
            if what == "replay" and rows:
                quarantine.replay(world.desk, dataset=name)
            elif what == "discard row" and rows:
                quarantine.discard_rows(world.desk, dataset=name, ids=[rows[0].id], reason="a test")
        if what == "release" and blocked:
            settling.release_batch(world.desk, dataset="customers", number=blocked[0], reason="a test")
        elif what == "discard batch" and blocked:
            settling.discard_batch(world.desk, dataset="customers", number=blocked[0], reason="a test")

    def look(self) -> None:
        """What must hold after every step."""
        for name in ("customers", "tickets"):
            if self.world.state(name).counts:
                self.world.adds_up(name)
        if all(self.world.state(name).as_of_us is not None for name in ("customers", "tickets")):
            assert published(self.world) == in_full(self.world)


@contextmanager
def playing(world_of: Any = World, **given_: Any) -> Iterator[Play]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="world-") as folder:
        world = world_of(Path(folder), **given_)
        try:
            yield Play(world)
        finally:
            world.close()


def bare(row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in row.__struct_fields__ if name not in ("plan", "positions"))


def published(world: World) -> dict[str, tuple[Any, ...]]:
    digest = world.feature_set.digest
    found = {key: world.desk.online.get(digest, key) for key in world.desk.online.keys(digest)}
    return {key: (*bare(row), sorted_positions(row)) for key, row in found.items() if row is not None}


def in_full(world: World) -> dict[str, tuple[Any, ...]]:
    """The same feature set computed for every key at once, into a store of its own."""
    online, state = MemoryOnline(), world.desk.feature_sets.get(world.feature_set.digest)
    assert state is not None
    moment = Moment(world.clock.now_us(), world.clock.now_us())
    writer = FeatureWriter(world.desk.current, online, world.integration.datasets, state, token=1)
    writer.write(None, plan=1, moment=moment)
    found = {key: online.get(state.digest, key) for key in online.keys(state.digest)}
    return {key: (*bare(row), sorted_positions(row)) for key, row in found.items() if row is not None}


def sorted_positions(row: Any) -> list[tuple[str, list[int]]]:
    return sorted(msgspec.json.decode(row.positions).items())


def no_op(world: World) -> None:
    """Running again over tables that did not change lands nothing and moves nothing but as-of."""
    for name in ("customers", "tickets"):
        world.run(name)
        before = (published(world), world.desk.landing.numbers(name), no_noops(world, name))
        assert world.run(name).landed == 0
        assert (published(world), world.desk.landing.numbers(name), no_noops(world, name)) == before


def no_noops(world: World, name: str) -> dict[str, int]:
    return {part: n for part, n in world.state(name).counts.items() if part != "noop"}


def everything(acts: list[Act]) -> None:
    with playing(customers=STRICT) as play:
        play.world.customer(1, u=0)
        play.world.ticket(1, 1)
        play.world.both()
        for act in acts:
            play.do(act)
            if act[0] not in ("customer", "twice", "gone", "ticket", "ticket gone", "lax", "strict"):
                play.look()
        for name in ("customers", "tickets"):
            play.world.run(name)
        play.look()
        no_op(play.world)


def only_the_source(acts: list[Act]) -> None:
    with playing() as play:
        for act in acts:
            play.do(act)
        play.world.both()
        play.look()
        assert customers_now(play.world) == good_customers(play.world)
        assert tickets_now(play.world) == good_tickets(play.world)


def good_customers(world: World) -> tuple[dict[str, tuple[Any, ...]], set[str]]:
    """(the good rows of the source by key, the keys whose row is bad); of a key that stands twice the last counts."""
    last: dict[int, dict[str, Any]] = {}
    for row in world.customers:
        other = last.get(row["id"])
        if other is None or rank(row) >= rank(other):
            last[row["id"]] = row
    good = {str(key): (number(row["tenure"]), row["plan"]) for key, row in last.items() if fits(row["tenure"], 100)}
    return good, {str(key) for key, row in last.items() if not fits(row["tenure"], 100)}


def customers_now(world: World) -> tuple[dict[str, tuple[Any, ...]], set[str]]:
    schema = schema_of("customers")
    held = {key for (key,) in world.desk.current.sql(f"SELECT _k FROM {schema}.held")}
    rows = world.desk.current.sql(f"SELECT _k, tenure, plan FROM {schema}.rows WHERE NOT _deleted")
    return {key: (tenure, plan) for key, tenure, plan in rows if key not in held}, held


def good_tickets(world: World) -> dict[str, tuple[Any, ...]]:
    return {
        str(row["ticket"]): (row["customer"], int(row["severity"])) for row in world.tickets if fits(row["severity"], 4)
    }


def tickets_now(world: World) -> dict[str, tuple[Any, ...]]:
    schema = schema_of("tickets")
    free = f"NOT _deleted AND _k NOT IN (SELECT _k FROM {schema}.held)"
    rows = world.desk.current.sql(f"SELECT _k, customer, severity FROM {schema}.rows WHERE {free}")
    return {key: (owner, severity) for key, owner, severity in rows}


def rank(row: dict[str, Any]) -> tuple[bool, int]:
    return row["u"] is not None, row["u"] or 0


def number(text: str | None) -> int | None:
    return None if text is None else int(text)


def fits(text: str | None, most: int) -> bool:
    return text is None or (text.isdecimal() and int(text) <= most)


QUICK = settings(max_examples=10, suppress_health_check=list(HealthCheck), derandomize=True)
PARTS = 5
PART = settings(max_examples=300, suppress_health_check=list(HealthCheck))
"""A long property is `PARTS` tests, each with examples of its own: each ends in minutes and can be run alone."""
any_acts = st.lists(st.one_of(changes, changes, changes, run, run, stop, hands), min_size=6, max_size=24)
source_acts = st.lists(st.one_of(changes, changes, run), min_size=4, max_size=16)


@pytest.mark.promise(3)
@given(any_acts)
@QUICK
def test_incremental_equals_full_and_counts_add_up(acts: list[Act]) -> None:
    everything(acts)


@pytest.mark.promise(1)
@given(source_acts)
@QUICK
def test_current_is_the_good_rows_of_the_source(acts: list[Act]) -> None:
    only_the_source(acts)


@pytest.mark.soak
@pytest.mark.promise(3)
@pytest.mark.parametrize("part", range(1, PARTS + 1))
@given(any_acts)
@PART
def test_incremental_equals_full_for_long(part: int, acts: list[Act]) -> None:
    del part
    everything(acts)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(1, PARTS + 1))
@given(source_acts)
@PART
def test_current_is_the_good_rows_of_the_source_for_long(part: int, acts: list[Act]) -> None:
    del part
    only_the_source(acts)
