"""A training set gives what was served: online's own rows, remembered at many instants, are the oracle."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.clock import HOUR, SECOND, iso
from mainstay.core.errors import Refused, StoreError
from mainstay.core.nouns import Cleaning, FeatureView
from mainstay.core.verdicts import Finding, Verdict
from mainstay.pipelines import erase, quarantine, sets, settling
from mainstay.retraining.labels import LabelFile
from mainstay.retraining.placing import Evaluation
from mainstay.retraining.training_set import Options, TrainingSet, make
from tests.pipelines.test_properties import PART, PARTS, QUICK, STRICT, Act, changes, hands, playing, run, stop
from tests.pipelines.world import World
from tests.retraining.past import Seen, facts_of, labels_of, look, remember, train, write_labels

acts_over_time = st.lists(st.one_of(changes, changes, run, run, stop, hands), min_size=6, max_size=24)

MOVING = FeatureView(
    name="customer",
    key="id",
    mapping={"customers": "id", "tickets": "customer"},
    sql="SELECT c.id, c.tenure, count(t.ticket) AS tickets, epoch_us($as_of) AS computed "
    "FROM customers c LEFT JOIN tickets t ON t.customer = c.id GROUP BY c.id, c.tenure",
    refresh_us=HOUR,
)
SHARED = FeatureView(
    name="customer",
    key="id",
    mapping={"customers": "id", "tickets": "all"},
    sql="SELECT c.id, c.tenure, c.plan, (SELECT count(*) FROM tickets) AS tickets FROM customers c",
)


def agrees(seen: Seen, made: TrainingSet, rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    """Every label with a row then has that very row; every other is left out."""
    assert made.labels == len(seen) == made.rows + sum(made.left_out.values())
    assert made.rows == len(rows)
    given = iter(rows)
    for key, at in seen:
        served = seen[key, at]
        if served is None:
            continue
        row = next(given)
        assert (str(row["id"]), row["at"].timestamp()) == (key, pytest.approx(at / SECOND))
        values, positions = served
        assert tuple(row[name] for name in names) == tuple(values), (key, at)
        assert json.loads(row["_positions"]) == positions
    assert next(given, None) is None


def the_same(acts: list[Act], names: tuple[str, ...], **options: Any) -> None:
    with playing(customers=STRICT, **options) as play:
        world = play.world
        tell = world.desk.tell
        world.desk.tell = lambda kind, body: tell(kind, {**body, "told_us": world.clock.now_us()})
        world.customer(1, u=0)
        world.ticket(1, 1)
        world.both()
        seen = look(world)
        for act in acts:
            world.clock.advance(SECOND)
            if act[0] == "refresh":
                sets.refresh(world.desk, world.feature_set.digest)
            elif act[0] not in ("lax", "strict"):
                play.do(act)
            world.clock.advance(SECOND)
            seen |= look(world)
        labels = write_labels(world.folder / "labels.csv", labels_of(seen))
        made, rows = train(world, labels)
        agrees(seen, made, rows, names)


moving_acts = st.lists(
    st.one_of(changes, changes, run, run, stop, hands, st.just(("refresh",))), min_size=6, max_size=20
)


@given(acts_over_time)
@QUICK
def test_every_row_that_was_served_comes_out_of_history(acts: list[Act]) -> None:
    the_same(acts, ("tenure", "plan", "tickets", "severity"))


@given(acts_over_time)
@QUICK
def test_it_does_where_a_dataset_is_shown_to_every_key(acts: list[Act]) -> None:
    the_same(acts, ("tenure", "plan", "tickets"), view=SHARED)


@given(moving_acts)
@QUICK
def test_it_does_where_features_move_with_time(acts: list[Act]) -> None:
    the_same(acts, ("tenure", "tickets", "computed"), view=MOVING)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(1, PARTS + 1))
@given(acts_over_time)
@PART
def test_every_row_that_was_served_comes_out_of_history_for_long(part: int, acts: list[Act]) -> None:
    del part
    the_same(acts, ("tenure", "plan", "tickets", "severity"))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(1, PARTS + 1))
@given(moving_acts)
@PART
def test_it_does_for_long_where_features_move_with_time(part: int, acts: list[Act]) -> None:
    del part
    the_same(acts, ("tenure", "tickets", "computed"), view=MOVING)


# --- one case each ---------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def ask(world: World, *rows: tuple[Any, ...], header: tuple[str, ...] = ("id", "at"), **more: Any) -> Any:
    return train(world, write_labels(world.folder / "labels.csv", rows, header), **more)


def found(made: TrainingSet, check: str) -> Finding:
    (one,) = [one for one in made.findings if one.check == check]
    return one


def test_each_label_without_a_row_has_its_reason_and_the_counts_add_up(world: World) -> None:
    before = iso(world.clock.now_us())
    for key in (1, 2, 3):
        world.customer(key, tenure=10, u=0)
    world.customer(4, tenure=500, u=0)
    world.both()
    world.clock.advance(SECOND)
    known = iso(world.clock.now_us())
    world.customers[:] = [row for row in world.customers if row["id"] != 2]
    world.run()
    erase.erase(world.desk, "3", reason="asked", by="a test")
    world.clock.advance(SECOND)
    now = iso(world.clock.now_us())
    rows = [
        (1, known), (2, known), (1, before), (2, now), (3, known), (3, now), (4, now), (5, now),
        (1, "2099-01-01T00:00:00Z"),
    ]  # fmt: skip
    made, written = ask(world, *rows)
    assert [row["id"] for row in written] == [1, 2]
    reasons = {"not_yet_known": 1, "deleted": 1, "erased": 2, "held": 1, "never_known": 1, "future": 1}
    assert (made.labels, made.rows, made.left_out) == (9, 2, reasons)
    assert made.lines["erased"] == (6, 7)
    listed = Path(made.left_out_file).read_text().splitlines()
    assert len(listed) == 1 + 7
    assert found(made, "leak.future").failed == found(made, "leak.before_known").failed == 1
    again, _ = ask(world, *rows, kept_since_us=world.clock.now_us() + 1)
    assert again.left_out["past_retention"] == 1
    assert "never_known" not in again.left_out


def test_an_erased_person_comes_back_in_no_file(world: World) -> None:
    for key in (123456, 2):
        world.customer(key, tenure=77, u=0)
    world.ticket(1, 123456)
    world.both()
    world.clock.advance(SECOND)
    then = iso(world.clock.now_us())
    _, before = ask(world, (123456, then), (2, then))
    assert [row["tickets"] for row in before] == [1, 0]
    erase.erase(world.desk, "123456", reason="asked", by="a test")
    made, after = ask(world, (123456, then), (2, then))
    assert [row["id"] for row in after] == [2]
    assert made.left_out == {"erased": 1}
    assert not list(world.folder.glob(".mainstay-training-*"))


def test_what_was_rejected_is_not_used_until_a_person_replays_it(world: World) -> None:
    world.customer(1, tenure=10, u=0)
    world.both()
    world.customer(1, tenure=500, u=1)
    world.run()
    world.clock.advance(SECOND)
    held = iso(world.clock.now_us())
    remember(world)
    contract = world.integration.datasets["customers"]
    lax = tuple(check for check in contract.checks if check.name != "tenure.max")
    world.integration.datasets["customers"] = msgspec.structs.replace(contract, checks=lax)
    world.clock.advance(SECOND)
    quarantine.replay(world.desk, dataset="customers")
    world.clock.advance(SECOND)
    _, rows = ask(world, (1, held), (1, iso(world.clock.now_us())))
    assert [(row["tenure"], row["_verdict"]) for row in rows] == [(10, "WARN"), (500, "PASS")]
    assert rows[0]["_sentence"] == "held: tenure.max"
    assert rows[0]["_as_of"] < rows[1]["_as_of"]


def test_a_batch_that_waited_for_a_person_is_known_from_its_release_on(world: World) -> None:
    world.integration.datasets["customers"] = STRICT
    world.customer(1, tenure=10, u=0)
    world.both()
    world.customer(1, tenure=13, u=1)
    world.run()
    world.clock.advance(HOUR)
    blocked = iso(world.clock.now_us())
    world.clock.advance(HOUR)
    settling.release_batch(world.desk, dataset="customers", number=2, reason="a test")
    _, rows = ask(world, (1, blocked), (1, iso(world.clock.now_us())))
    assert [(row["tenure"], row["_verdict"]) for row in rows] == [(10, "PASS"), (13, "WARN")]
    assert rows[1]["_sentence"] == "released in batch 2; stop"


def test_what_an_earlier_contract_cleaned_is_cleaned_again(world: World) -> None:
    world.customer(1, tenure=10, plan=" A ", u=0)
    world.both()
    world.clock.advance(SECOND)
    remember(world)
    contract = world.integration.datasets["customers"]
    steps = (Cleaning(kind="trim"), Cleaning(kind="lower"))
    columns = tuple(
        msgspec.structs.replace(column, clean=steps) if column.name == "plan" else column for column in contract.columns
    )
    world.integration.datasets["customers"] = msgspec.structs.replace(contract, columns=columns)
    made, rows = ask(world, (1, iso(world.clock.now_us())))
    assert rows[0]["plan"] == "a"
    assert found(made, "known.cleaned_again").failed == 1


def test_history_that_was_kept_by_an_earlier_mainstay_counts_from_when_it_landed(world: World) -> None:
    world.customer(1, tenure=10, u=0)
    world.both()
    remember(world)
    new = ("published_us", "began_us", "began_source_us", "released")
    for name in ("customers", "tickets"):
        files = world.desk.history.files(name)
        if not files:
            continue
        table = pq.read_table(list(files)).drop_columns(list(new))
        shutil.rmtree(world.folder / "history" / name)
        world.desk.history.append(name, table, writer=f"landing:{name}", sequence=1)
    made, rows = ask(world, (1, iso(world.clock.now_us())))
    assert rows[0]["tenure"] == 10
    assert "known.about" not in {one.check for one in made.findings}, "state still knows when they settled"
    made, rows = ask(world, (1, iso(world.clock.now_us())), settled={})
    assert rows[0]["tenure"] == 10
    assert found(made, "known.about").failed == 1


def test_a_moving_feature_before_its_set_was_kept_is_as_fresh_as_its_refresh(tmp_path: Path) -> None:
    world = World(tmp_path, view=MOVING)
    world.customer(1, tenure=10, u=0)
    world.both()
    world.clock.advance(5 * HOUR // 2)
    at = world.clock.now_us()
    _, rows = ask(world, (1, iso(at)), evaluations=())
    assert rows[0]["computed"] == at // HOUR * HOUR
    world.close()


def test_a_row_that_maps_to_no_key_has_no_key_computed(tmp_path: Path) -> None:
    world = World(tmp_path, view=MOVING)
    world.customer(1, tenure=10, u=0)
    world.ticket(1, 5)
    world.both()
    built = world.clock.now_us()
    world.clock.advance(SECOND)
    world.tickets.clear()
    world.run("tickets")
    seen = look(world, [1, 5])
    told = Evaluation(at_us=built, source_us=built, dataset="", cause="build", every_key=True)
    made, rows = ask(world, *labels_of(seen), evaluations=(told,))
    agrees(seen, made, rows, ("tenure", "tickets", "computed"))
    world.close()


def test_csv_has_the_same_rows(world: World) -> None:
    world.customer(1, tenure=10, u=0)
    world.both()
    made, _ = ask(world, (1, iso(world.clock.now_us()), "yes"), header=("id", "at", "left"), out="set.csv")
    (row,) = csv.DictReader(Path(made.out).read_text().splitlines())
    assert (row["id"], row["tenure"], row["left"], row["_verdict"]) == ("1", "10", "yes", "PASS")
    assert row["at"].endswith("Z")


def test_more_than_one_row_for_a_key_is_refused(world: World) -> None:
    world.customer(1, tenure=10, u=0)
    world.both()
    state = world.desk.feature_sets.get(world.feature_set.digest)
    assert state is not None
    twice = msgspec.structs.replace(state, sql=f"{state.sql} UNION ALL SELECT id, tenure, plan, 0, 0 FROM customers")
    with pytest.raises(Refused, match="more than one row"):
        ask(world, (1, iso(world.clock.now_us())), feature_set=twice)


def test_what_is_planned_is_what_is_performed(world: World) -> None:
    instants = []
    for number in range(5):
        for key in (1, 2, 3):
            world.customer(key, tenure=number, u=number)
        world.both()
        world.clock.advance(SECOND)
        instants.append(iso(world.clock.now_us()))
    labels = write_labels(world.folder / "l.csv", [(key, at) for at in instants for key in (1, 2, 3) for _ in "ab"])
    made, rows = train(world, labels, keys_per_run=2)
    assert (made.labels, made.states, made.runs) == (30, 15, 10)
    assert [row["tenure"] for row in rows] == [number for number in range(5) for _ in range(6)]
    wanted = LabelFile(path=labels, key="id", at="at", key_types=("integer",))
    planned = make(facts_of(world), wanted, Options(out=None, keys_per_run=2))
    assert (planned.labels, planned.states, planned.runs, planned.out) == (30, 15, 10, "")


# --- leakage ---------------------------------------------------------------------------------------------------------


def test_a_feature_that_says_the_label_alone_is_found(world: World) -> None:
    dice = random.Random(1)
    rows = []
    for key in range(1, 61):
        world.customer(key, tenure=key, plan=dice.choice("ab"), u=0)
        rows.append((key, int(key > 30), dice.random(), 2 * key + 1, "" if key > 30 else "x"))
    world.both()
    at = iso(world.clock.now_us())
    given = [(key, at, left, noise, worth, text) for key, left, noise, worth, text in rows]
    made, _ = ask(world, *given, header=("id", "at", "left", "noise", "worth", "plan"))
    assert "tenure alone all but says left: AUC 1.0000" in found(made, "leak.separates.left.tenure").sentence
    assert found(made, "leak.separates.worth.tenure").verdict is Verdict.FAIL
    assert found(made, "leak.separates.noise").verdict is Verdict.PASS
    assert found(made, "leak.label_is_feature.plan").verdict is Verdict.FAIL
    assert pq.read_schema(made.out).names[:6] == ["id", "at", "left", "noise", "worth", "plan__label"]


def test_rows_that_changed_later_and_rows_from_the_future_are_counted(world: World) -> None:
    world.customer(1, tenure=10, u=0)
    world.customer(2, tenure=20, u=0)
    world.both()
    at = iso(world.clock.now_us())
    world.customer(1, tenure=11, u=1)
    world.run()
    made, rows = ask(world, (1, at), (2, at))
    assert [row["tenure"] for row in rows] == [10, 20]
    assert found(made, "leak.changed_after.customers").failed == 1
    assert found(made, "leak.event_after.customers").failed == 0


def test_a_feature_that_says_the_label_by_being_absent_is_found(world: World) -> None:
    dice = random.Random(1)
    for key in range(1, 61):
        world.customer(key, tenure=dice.randint(1, 99), plan="a", u=0)
        if key > 30:
            world.ticket(key, key, severity=dice.randint(1, 4))
    world.both()
    at = iso(world.clock.now_us())
    made, _ = ask(world, *((key, at, key > 30) for key in range(1, 61)), header=("id", "at", "left"))
    assert found(made, "leak.separates.left.severity").verdict is Verdict.FAIL
    assert found(made, "leak.separates.left.tickets").verdict is Verdict.FAIL
    assert not [one for one in made.findings if one.check == "leak.separates.left.tenure"]


def test_too_few_labels_accuse_no_feature(world: World) -> None:
    for key in range(1, 11):
        world.customer(key, tenure=key, plan="a", u=0)
    world.both()
    at = iso(world.clock.now_us())
    made, _ = ask(world, *((key, at, key > 5) for key in range(1, 11)), header=("id", "at", "left"))
    assert not [one for one in made.findings if one.check.startswith("leak.separates")]


def test_between_landing_and_publishing_the_row_before_counts(tmp_path: Path) -> None:
    def slowly(point: str) -> None:
        if point == "landed":
            slow.clock.advance(HOUR)

    slow = World(tmp_path, at=slowly)
    slow.customer(1, tenure=10, u=0)
    slow.both()
    slow.customer(1, tenure=11, u=1)
    slow.run()
    batch = slow.batch(2)
    assert batch.settled_us is not None
    made, rows = ask(slow, (1, iso(batch.landed_us + SECOND)), (1, iso(batch.settled_us)))
    assert [row["tenure"] for row in rows] == [10, 11]
    assert found(made, "known.between").failed == 1
    slow.close()


def test_nothing_is_known_before_anything_was_published(world: World) -> None:
    made, rows = ask(world, (1, iso(world.clock.now_us())))
    assert (rows, made.left_out) == ([], {"never_known": 1})


def test_what_cannot_be_made_says_why(world: World) -> None:
    labels = write_labels(world.folder / "labels.csv", [(1, iso(world.clock.now_us()))])
    wanted = LabelFile(path=labels, key="id", at="at", key_types=("integer",))
    with pytest.raises(Refused, match="no amount of memory"):
        make(facts_of(world), wanted, Options(out=world.folder / "x.csv", memory="much"))
    with pytest.raises(StoreError, match="cannot be used"):
        make(facts_of(world), wanted, Options(out=world.folder / "nowhere" / "x.csv"))


def test_too_little_memory_says_what_to_give(world: World) -> None:
    world.customer(1, u=0)
    world.both()
    remember(world)
    labels = write_labels(world.folder / "labels.csv", [(1, iso(world.clock.now_us()))])
    wanted = LabelFile(path=labels, key="id", at="at", key_types=("integer",))
    with pytest.raises(StoreError) as refused:
        make(facts_of(world), wanted, Options(out=world.folder / "x.csv", memory="1MB"))
    assert "more than 1MB by `--memory`" in str(refused.value)
