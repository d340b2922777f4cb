"""Files through the pipeline: each drop's rows published once, whatever is dropped, blocked, or killed on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from mainstay.core.clock import SECOND
from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.core.nouns import Check, Column, Dataset, Deletes, SourceConfig
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.quarantine import list_rows
from mainstay.pipelines.run import Runner, RunResult
from mainstay.sources import open_source
from mainstay.sources.files_ledger import origin
from mainstay.store.current import schema_of
from mainstay.testing.desk import close_desk, integration_of, open_desk
from tests.pipelines.test_crash import Died, Fuse, arm
from tests.pipelines.world import World
from tests.sources.drops import Drops

CUSTOMERS = Dataset(
    name="customers",
    source="drops",
    table=".",
    key="id",
    columns=(
        Column(name="id", type="string", source_name="id"),
        Column(name="tenure", type="integer", source_name="tenure"),
    ),
    checks=(
        Check(name="id.required", kind="required", column="id"),
        Check(name="tenure.type", kind="type", column="tenure"),
    ),
    deletes=Deletes(kind="snapshot", max_share=1.0),
)
FEW = Check(name="row_count", kind="row_count", args={"min": 2}, on_fail="block")


class Shop:
    """A folder, and the desk of one dataset that is read from it."""

    def __init__(self, folder: Path, *, dataset: Dataset = CUSTOMERS, **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.drops = Drops(folder / "drops", **options)
        self.dataset = dataset
        self.token = 0
        self.desk = self.open()

    def open(self, at: Callable[[str], None] = lambda _point: None) -> Desk:
        config = SourceConfig(
            name="drops", kind="files", options={"path": str(self.drops.folder), **self.drops.options}
        )
        self.token += 1
        integration = msgspec.structs.replace(
            integration_of({"customers": self.dataset}, source="drops"), sources={"drops": config}
        )
        sources = {"drops": open_source(config, self.drops.clock)}
        self.desk = open_desk(self.folder, integration, sources, self.drops.clock, token=self.token, at=at)
        return self.desk

    def again(self, at: Callable[[str], None] = lambda _point: None) -> None:
        """The process is gone, and another one takes its place."""
        close_desk(self.desk)
        self.open(at)

    def run(self) -> RunResult:
        self.drops.clock.advance(SECOND)
        runner = Runner(self.desk, self.dataset)
        runner.settle()
        return runner.run()

    def rows(self) -> dict[str, int]:
        return dict(self.desk.current.sql(f"SELECT id, tenure FROM {schema_of('customers')}.rows WHERE NOT _deleted"))

    def origin(self, key: str) -> tuple[str, int] | None:
        """Where the key's row came from, by its position."""
        wanted = f"SELECT _batch, _ord FROM {schema_of('customers')}.rows WHERE id = '{key}'"
        ((number, ordinal),) = self.desk.current.sql(wanted)
        batch = self.desk.batches.get(f"customers/{number:012d}")
        assert batch is not None
        return origin(batch.cursor, ordinal)


@pytest.fixture
def increments(tmp_path: Path) -> Shop:
    return Shop(tmp_path, mode="increment")


def test_files_add_and_update_rows_and_nothing_is_deleted(increments: Shop) -> None:
    increments.drops.drop("1.csv", "id,tenure\na,1\nb,2\n")
    assert increments.run().published == 2
    increments.drops.drop("2.csv", "id,tenure\nb,3\nc,4\n")
    again = increments.run()
    assert (again.mode, again.read, again.published) == ("increment", 2, 2)
    assert increments.rows() == {"a": 1, "b": 3, "c": 4}
    as_of = increments.desk.dataset_state("customers").as_of_us
    empty = increments.run()
    assert (empty.status, empty.read) == ("empty", 0)
    assert increments.desk.dataset_state("customers").as_of_us == (as_of or 0) + SECOND


def test_an_older_file_does_not_come_again_over_a_newer_one(increments: Shop) -> None:
    first = increments.drops.drop("1.csv", "id,tenure\na,1\n").read_bytes()
    increments.run()
    increments.drops.drop("2.csv", "id,tenure\na,2\n")
    increments.run()
    increments.drops.drop("1-resent.csv", first)
    increments.again()  # what was taken is known to the next process
    assert increments.run().status == "empty"
    assert increments.rows() == {"a": 2}


def test_a_snapshot_changes_what_changed_and_deletes_what_is_gone(tmp_path: Path) -> None:
    shop = Shop(tmp_path, mode="snapshot", whole="newest")
    shop.drops.drop("monday.csv", "id,tenure\na,1\nb,2\nc,3\n")
    assert shop.run().published == 3
    unchanged = shop.run()
    assert (unchanged.mode, unchanged.read, unchanged.status) == ("snapshot", 0, "empty")
    assert shop.rows() == {"a": 1, "b": 2, "c": 3}  # not read, and not taken for empty
    shop.drops.drop("tuesday.csv", "id,tenure\na,1\nb,20\n")
    changed = shop.run()
    assert (changed.read, changed.noops, changed.published) == (2, 1, 2)
    assert shop.rows() == {"a": 1, "b": 20}


def test_a_snapshot_that_is_too_small_blocks_and_the_next_one_is_read(tmp_path: Path) -> None:
    careful = msgspec.structs.replace(CUSTOMERS, checks=(*CUSTOMERS.checks, FEW))
    shop = Shop(tmp_path, dataset=careful, mode="snapshot", whole="newest")
    shop.drops.drop("1.csv", "id,tenure\na,1\nb,2\n")
    shop.run()
    shop.drops.drop("2.csv", "id,tenure\na,1\n")
    assert shop.run().status == "blocked"
    assert shop.run().status == "queued"
    assert shop.rows() == {"a": 1, "b": 2}
    shop.drops.drop("3.csv", "id,tenure\na,1\nb,2\nc,3\n")
    assert shop.run().status == "queued"


def test_a_file_that_is_away_or_refused_leaves_rows_and_as_of_as_they_were(increments: Shop) -> None:
    good = increments.drops.drop("1.csv", "id,tenure\na,1\n")
    increments.run()
    before = increments.desk.dataset_state("customers")
    bad = increments.drops.drop("2.csv", b"id,tenure\nb,\xff\n")
    increments.drops.drop("3.csv", "id,tenure\nc,3\n")
    with pytest.raises(SourceRefused, match="byte 12 is not utf-8"):
        increments.run()
    assert increments.desk.dataset_state("customers").as_of_us == before.as_of_us
    assert increments.rows() == {"a": 1}
    bad.unlink()
    assert increments.run().published == 1
    assert increments.rows() == {"a": 1, "c": 3}
    good.unlink()
    (increments.drops.folder / "3.csv").unlink()
    with pytest.raises(SourceAway):
        increments.run()


def test_bad_values_and_rows_that_do_not_fit_go_to_quarantine_and_the_rest_is_published(tmp_path: Path) -> None:
    unread = Column(name="unread", type="string", source_name="unread")
    declared = msgspec.structs.replace(CUSTOMERS, columns=(*CUSTOMERS.columns, unread))
    shop = Shop(tmp_path, dataset=declared, mode="increment", misfits="unread")
    shop.drops.drop("1.csv", "id,tenure\na,1\nb,many\nc,3,4,5\nd,6\n")
    result = shop.run()
    assert (result.landed, result.published, result.quarantined) == (4, 2, 2)
    assert shop.rows() == {"a": 1, "d": 6}
    listed = list_rows(shop.desk)
    assert {(one.key, one.reasons) for one in listed} == {("b", "tenure.type"), ("(no key)", "id.required")}
    assert [one.raw for one in listed if one.key == "(no key)"] == [{"id": None, "tenure": None, "unread": "c,3,4,5"}]


def test_a_position_leads_back_to_a_file_and_its_row(increments: Shop) -> None:
    increments.drops.drop("1.csv", "id,tenure\na,1\nb,2\n")
    increments.drops.drop("2.csv", "id,tenure\nc,3\nd,4\n")
    increments.run()
    assert increments.origin("d") == ("2.csv", 2)
    increments.drops.drop("3.csv", "id,tenure\nc,3\na,10\n")  # c is as it was, and does not land
    increments.run()
    increments.again()
    assert (increments.origin("c"), increments.origin("a")) == (("2.csv", 1), ("3.csv", 2))


@pytest.mark.parametrize("mode", ["increment", "snapshot"])
def test_killed_at_any_step_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path, mode: str) -> None:
    options: dict[str, Any] = {"mode": mode} | ({"whole": "newest"} if mode == "snapshot" else {})
    counting = Fuse()
    _story(Shop(tmp_path / "whole", **options), counting)
    assert {"before-landing", "landed", "batch-recorded"} <= set(counting.passed)
    for die_at in range(1, len(counting.passed) + 1):
        shop = _story(Shop(tmp_path / str(die_at), **options), Fuse(die_at))
        assert shop.rows() == {"a": 10, "b": 2, "c": 3}
        counts = shop.desk.dataset_state("customers").counts
        assert (counts["landed"], counts["published"]) == (4, 4)
        close_desk(shop.desk)


def _story(shop: Shop, fuse: Fuse) -> Shop:
    shop.drops.drop("1.csv", "id,tenure\na,1\nb,2\n")
    shop.run()
    shop.again(fuse)
    arm(cast("World", shop), fuse)
    again = "b,2\n" if shop.drops.options["mode"] == "snapshot" else ""
    shop.drops.drop("2.csv", f"id,tenure\na,10\n{again}c,3\n")
    try:
        shop.run()
        shop.run()
    except Died:
        pass
    shop.again()
    shop.run()
    return shop
