"""A process that dies at any step of any work on the stores: what comes after is what would have been without it.

Death is an exception that nothing catches, raised after a durable write or at a commit point that pipelines name; then
the stores are closed, opened under a higher token, recovered, and the step that was cut short is done again.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.core.clock import SECOND
from mainstay.core.errors import Corrupt, Fenced, NotFound, Refused
from mainstay.core.nouns import Check, Dataset
from mainstay.core.ports import OnlineRow
from mainstay.pipelines import desk as desk_module
from mainstay.pipelines import erase, history, quarantine, sets, settling
from mainstay.pipelines.features import Moment
from mainstay.pipelines.rebuild import reclean
from mainstay.pipelines.run import Runner
from mainstay.testing.desk import close_desk
from tests.pipelines.world import CUSTOMERS, Rows, World, with_checks

FEW = Check(name="row_count", kind="row_count", args={"min": 4}, on_fail="block")
DATASET = with_checks(CUSTOMERS, FEW)
LAX = msgspec.structs.replace(DATASET, checks=tuple(one for one in DATASET.checks if one.name != "tenure.max"))
Step = Callable[["Road"], None]


class Died(BaseException):
    """The process is gone. Nothing in the product may catch this."""


class Road(World):
    """A world that remembers the table as it was before half of it went."""

    def __init__(self, folder: Path, at: Callable[[str], None] = lambda _point: None) -> None:
        super().__init__(folder, customers=DATASET, at=at)
        self.kept: Rows = []


class Fuse:
    """Counts what was done for good and named points passed; dies at the n-th."""

    def __init__(self, die_at: int | None = None) -> None:
        self.die_at = die_at
        self.passed: list[str] = []

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        if len(self.passed) == self.die_at:
            raise Died(point)

    def after(self, name: str, done: Callable[..., Any]) -> Callable[..., Any]:
        def performed(*args: Any, **named: Any) -> Any:
            result = done(*args, **named)
            self(name)
            return result

        return performed


DURABLE = {
    "state": ("commit",),
    "online": ("put", "remove", "drop", "prune"),
    "landing": ("land", "rewrite", "remove"),
    "history": ("append", "erase"),
}


def arm(world: World, fuse: Fuse) -> None:
    """Lets the fuse see every durable write of the world's desk."""
    for store, methods in DURABLE.items():
        target = getattr(world.desk, store)
        for method in methods:
            setattr(target, method, fuse.after(f"{store}.{method}", getattr(target, method)))
    whole = world.desk.current.transaction

    @contextmanager
    def transaction() -> Iterator[None]:
        with whole():
            yield
        fuse("current.transaction")

    setattr(world.desk.current, "transaction", transaction)  # noqa: B010 - an instance's method, for one test


def run(name: str = "customers") -> Step:
    def step(world: Road) -> None:
        runner = Runner(world.desk, world.integration.datasets[name])
        runner.settle()
        runner.run()

    return step


def build(world: Road) -> None:
    for one in world.desk.live_feature_sets():
        if not one.complete:
            sets.build(world.desk, one.digest)


def first_rows(world: Road) -> None:
    for number in range(1, 8):
        world.customer(number, tenure=number, u=number)
    for ticket in range(1, 5):
        world.ticket(ticket, ticket, severity=ticket)


def dirt(world: Road) -> None:
    world.customer(2, tenure=500, u=10)  # held, with a good row
    world.customer(9, tenure="many", u=10)  # held blind
    world.customer(3, tenure=33, plan="z", u=10)  # WARN
    world.customers.append({"id": 4, "tenure": "44", "plan": "a", "u": 11})  # twice in one read
    world.ticket(1, 3, severity=2)  # moves
    world.ticket(2, 5, severity=99)  # moves and is bad


def more_dirt(world: Road) -> None:
    world.customers[:] = [row for row in world.customers if row["id"] != 7]
    world.customer(1, tenure=700, u=12)
    world.customer(2, tenure=600, u=12)


def relax(world: Road) -> None:
    world.integration.datasets["customers"] = LAX


def replay(world: Road) -> None:
    quarantine.replay(world.desk, dataset="customers", key="2")


def discard_row(world: Road) -> None:
    ids = [one.id for one in quarantine.list_rows(world.desk, dataset="customers") if one.key == "1"]
    if ids:
        quarantine.discard_rows(world.desk, dataset="customers", ids=ids, reason="a test account")


def half_a_table(world: Road) -> None:
    world.kept = list(world.customers)
    world.customers[:] = [{**row, "tenure": "77"} for row in world.customers if row["id"] in (3, 6)]


def behind_it(world: Road) -> None:
    world.customer(8, tenure=8, u=20)


def release(world: Road) -> None:
    with suppress(Refused):  # done already, before the blow
        settling.release_batch(world.desk, dataset="customers", number=first_waiting(world), reason="they moved away")


def discard(world: Road) -> None:
    with suppress(Refused):
        settling.discard_batch(world.desk, dataset="customers", number=first_waiting(world), reason="half a table")


def first_waiting(world: Road) -> int:
    numbers = [one.number for one in world.desk.waiting("customers") if one.status == "blocked"]
    if not numbers:
        raise Refused("nothing waits")
    return numbers[0]


def whole_again(world: Road) -> None:
    world.customers[:] = world.kept
    world.customer(6, tenure=66, u=21)


def clean_again(world: Road) -> None:
    world.integration.datasets["customers"] = DATASET
    now = world.clock.now_us()
    reclean(world.desk, Runner(world.desk, DATASET), Moment(now, now))


def flush(world: Road) -> None:
    for name in world.integration.datasets:
        history.flush(world.desk, name)


def forget(world: Road) -> None:
    erase.erase(world.desk, "5", reason="she asked", by="test")


ROAD: tuple[tuple[str, Step], ...] = (
    ("legacy rows", first_rows), ("run", run()), ("run tickets", run("tickets")), ("build", build),
    ("dirt", dirt), ("run dirt", run()), ("run bad tickets", run("tickets")),
    ("more dirt", more_dirt), ("run more dirt", run()), ("an empty run", run()),
)  # fmt: skip
HANDS: tuple[tuple[str, Step], ...] = (
    ("relax", relax), ("replay", replay), ("discard a row", discard_row), ("run after hands", run()),
)  # fmt: skip
BLOCKED: tuple[tuple[str, Step], ...] = (
    ("half a table", half_a_table), ("blocked", run()), ("behind it", behind_it), ("queued", run()),
    ("discard a batch", discard), ("run on", run()), ("release", release), ("whole again", whole_again),
    ("run whole", run()),
)  # fmt: skip
AFTER: tuple[tuple[str, Step], ...] = (
    ("clean again", clean_again), ("history", flush), ("erase", forget), ("run at last", run()),
    ("tickets at last", run("tickets")), ("history again", flush),
)  # fmt: skip
STORY = (*ROAD, *HANDS, *BLOCKED, *AFTER)


class Told(msgspec.Struct, frozen=True):
    """All that a person or an answer could tell apart."""

    online: dict[str, tuple[Any, ...]]
    datasets: dict[str, tuple[Any, ...]]
    quarantine: list[tuple[Any, ...]]
    batches: list[tuple[Any, ...]]
    history: list[tuple[Any, ...]]


def told(world: Road) -> Told:
    desk = world.desk
    digest = world.feature_set.digest
    rows = {key: desk.online.get(digest, key) for key in sorted(desk.online.keys(digest))}
    datasets = {}
    for name in world.integration.datasets:
        state = desk.dataset_state(name)
        counts = {part: n for part, n in state.counts.items() if part != "noop" and n}
        datasets[name] = (
            state.read, state.published, state.as_of_us, state.rows, state.held, state.quarantined, counts,
            state.cursor, state.newest_us,
        )  # fmt: skip
    return Told(
        {key: bare(row) for key, row in rows.items() if row is not None},
        datasets,
        [
            (one.id, one.key, one.reasons, one.state, one.raw)
            for one in quarantine.list_rows(desk, state=None, limit=1000)
        ],
        [
            (name, one.status, one.rows, {part: n for part, n in one.counts.items() if n}, one.released)
            for name, one in desk.batches.all().items()
        ],
        past(world),
    )


def bare(row: OnlineRow) -> tuple[Any, ...]:
    """The row without the number of its plan: a repair takes numbers of its own."""
    return tuple(getattr(row, name) for name in row.__struct_fields__ if name != "plan")


def past(world: Road) -> list[tuple[Any, ...]]:
    found = []
    for name in world.integration.datasets:
        for file in world.desk.history.files(name):
            found += world.desk.current.sql(f"SELECT '{name}', batch, ordinal, key, op, state, raw FROM '{file}'")
    return sorted(found)


def adds_up(world: Road) -> None:
    for name in world.integration.datasets:
        if world.state(name).counts:
            world.adds_up(name)


def again(world: Road) -> None:
    """The process after the dead one."""
    world.close()
    world.open()
    sets.recover(world.desk)
    assert not world.desk.publish_plans.all(), "nothing is left half performed"


class Scene(msgspec.Struct, frozen=True):
    """A step of the undisturbed story: the world as it stood before it, what it passed, and what was so after it."""

    name: str
    step: Step
    folder: Path
    rows: dict[str, Rows]
    kept: Rows
    dataset: Dataset
    now_us: int
    passed: tuple[str, ...]
    told: Told


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """The story without a blow. A copy of the files of a running world is what kill -9 would leave of them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    fuse = Fuse()
    world = Road(folder / "world", fuse)
    arm(world, fuse)
    found = []
    for number, (name, step) in enumerate(STORY):
        world.clock.advance(SECOND)
        before = folder / f"before-{number}"
        shutil.copytree(folder / "world", before)
        rows = {table: list(one.rows) for table, one in world.source.contents.items()}
        kept, dataset, now = list(world.kept), world.integration.datasets["customers"], world.clock.now_us()
        fuse.passed.clear()
        step(world)
        adds_up(world)
        passed = tuple(fuse.passed)
        found.append(Scene(name, step, before, rows, kept, dataset, now, passed, told(world)))
    world.close()
    return found


def enter(scene: Scene, folder: Path, fuse: Fuse) -> Road:
    """A world of one's own as it stood before the scene."""
    shutil.copytree(scene.folder, folder)
    world = Road(folder)
    for table, rows in scene.rows.items():
        world.source.contents[table].rows[:] = rows
    world.kept = list(scene.kept)
    world.integration.datasets["customers"] = scene.dataset
    world.clock.set_wall(scene.now_us)
    world.desk.at = fuse
    arm(world, fuse)
    return world


def survives(scene: Scene, folder: Path, blow: int) -> None:
    """Dies at the n-th point of the scene, recovers, does the step again."""
    world = enter(scene, folder, Fuse(blow))
    with pytest.raises(Died):
        scene.step(world)
    again(world)
    adds_up(world)
    scene.step(world)
    where = f"having died in {scene.name!r} after {blow}: {scene.passed[blow - 1]}"
    found = told(world)
    for part in Told.__struct_fields__:
        assert getattr(found, part) == getattr(scene.told, part), f"{part} differ, {where}"
    world.close()


def test_the_story_passes_every_named_commit_point(scenes: list[Scene]) -> None:
    folder = Path(desk_module.__file__).parent
    named = {point for file in folder.glob("*.py") for point in re.findall(r'\.at\("([^"]+)"\)', file.read_text())}
    assert len(named) >= 8
    assert named <= {point for scene in scenes for point in scene.passed}


def test_the_story_has_something_of_everything(scenes: list[Scene]) -> None:
    last = scenes[-1].told
    assert {"landed", "published", "superseded", "quarantined", "discarded", "erased"} <= last.datasets["customers"][
        6
    ].keys()
    assert {row[5] for scene in scenes for row in scene.told.online.values()} >= {"tenure.max", "plan.values"}
    assert last.history


@pytest.mark.promise(1)
@pytest.mark.promise(3)
def test_dying_at_each_kind_of_point_changes_nothing(tmp_path: Path, scenes: list[Scene]) -> None:
    """The first time that each point is passed, and every 25th of the others; all of them in `make soak`."""
    seen: set[str] = set()
    passed = [(scene, blow, point) for scene in scenes for blow, point in enumerate(scene.passed, 1)]
    for number, (scene, blow, point) in enumerate(passed):
        if point not in seen or number % 25 == 7:
            seen.add(point)
            survives(scene, tmp_path / str(number), blow)


@pytest.mark.soak
@pytest.mark.promise(1)
@pytest.mark.promise(3)
def test_dying_anywhere_changes_nothing(tmp_path: Path, scenes: list[Scene]) -> None:
    blows = 0
    for number, scene in enumerate(scenes):
        for blow in range(1, len(scene.passed) + 1):
            survives(scene, tmp_path / f"{number}-{blow}", blow)
            blows += 1
    assert blows > 100


@pytest.mark.promise(1)
def test_current_that_is_gone_comes_back_out_of_landing(tmp_path: Path) -> None:
    plain = Road(tmp_path / "plain")
    lossy = Road(tmp_path / "lossy")
    for name, step in (*ROAD, *BLOCKED):
        for world in (plain, lossy):
            world.clock.advance(SECOND)
            step(world)
        if name not in ("run tickets", "run more dirt", "queued", "run on", "run whole"):
            continue
        lossy.close()
        for file in (tmp_path / "lossy").glob("current.duckdb*"):
            file.unlink()
        lossy.open()
        sets.recover(lossy.desk)
        assert told(lossy) == told(plain), f"current was lost after: {name}"
        adds_up(lossy)
    plain.close()
    lossy.close()


@pytest.mark.promise(1)
def test_online_that_is_gone_comes_back_out_of_current(tmp_path: Path) -> None:
    world = Road(tmp_path)
    for name, step in ROAD:
        world.clock.advance(SECOND)
        step(world)
        before = world.online()
        if not before or not world.desk.feature_sets.all()[world.feature_set.digest].complete:
            continue
        world.close()
        for file in tmp_path.glob("online.sqlite*"):
            file.unlink()
        world.open()
        sets.recover(world.desk)
        assert world.online() == before, f"online was lost after: {name}"
        assert not any("computed again" in said for said in sets.recover(world.desk))
    world.close()


@pytest.mark.promise(1)
def test_an_overtaken_owner_writes_nothing_more(tmp_path: Path) -> None:
    world = Road(tmp_path)
    first_rows(world)
    run()(world)
    old = world.desk
    world.open()
    sets.recover(world.desk)
    build(world)
    run("tickets")(world)
    before = told(world)
    world.customer(1, tenure=99, u=30)
    stale = Runner(old, DATASET)
    with pytest.raises(Fenced):
        stale.run()
    with pytest.raises(Fenced):
        old.online.put(world.feature_set.digest, [], token=old.token)
    with pytest.raises(Fenced):
        old.datasets.put("customers", old.dataset_state("customers"), token=old.token)
    assert told(world).online == before.online
    assert told(world).datasets == before.datasets
    close_desk(old)
    world.close()


@pytest.mark.promise(1)
def test_a_landed_file_that_was_changed_is_named_and_nothing_is_published_from_it(tmp_path: Path) -> None:
    world = Road(tmp_path)
    first_rows(world)
    run()(world)
    half_a_table(world)
    run()(world)
    before = told(world)
    file = next((tmp_path / "landing" / "customers" / "000000000002").glob("*.arrow"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(Corrupt, match="digest"):
        settling.release_batch(world.desk, dataset="customers", number=2, reason="try")
    assert world.state().published == 1
    assert told(world).online == before.online
    world.close()


def test_a_landed_batch_that_is_gone_is_named(tmp_path: Path) -> None:
    world = Road(tmp_path)
    first_rows(world)
    run()(world)
    half_a_table(world)
    run()(world)
    world.desk.landing.remove("customers", 2)
    with pytest.raises(NotFound, match="batch 2 of customers"):
        settling.discard_batch(world.desk, dataset="customers", number=2, reason="try")
    assert world.state().published == 1
    world.close()
