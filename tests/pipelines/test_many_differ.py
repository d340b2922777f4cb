"""A reconciliation that finds very many keys to be read again reads every row instead of naming each."""

from __future__ import annotations

from pathlib import Path

from mainstay.core.clock import SECOND
from mainstay.pipelines.run import Runner
from tests.pipelines.world import World


class FewKeys(Runner):
    most_keys = 2


def test_where_too_many_keys_differ_every_row_is_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    for key in range(1, 7):
        world.customer(key, tenure=10, u=key)
    world.both()
    for late, gone in ((2, 6), (3, 5)):
        world.customers[:] = [row for row in world.customers if row["id"] != gone]
        for key in range(1, late + 1):
            world.customer(key, tenure=20 + late, u=-late)  # behind the cursor: only a reconciliation finds it
        world.clock.advance(SECOND)
        result = FewKeys(world.desk, world.integration.datasets["customers"]).run()
        assert (result.mode, result.landed) == ("reconcile", late + 1)
        assert result.read == (late if late <= FewKeys.most_keys else len(world.customers))
        assert world.values(1) == [20 + late, "a", 0, None]
        removed = world.row(gone)
        assert removed is not None
        assert removed.deleted
        world.adds_up()
    world.close()
