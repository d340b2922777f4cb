"""A world whose every published moment is remembered, and training sets made of what its history says."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mainstay.core.clock import iso
from mainstay.core.ids import keyed_hash
from mainstay.core.records import BatchRecord
from mainstay.pipelines import history
from mainstay.pipelines.publish import COMPUTED
from mainstay.pipelines.run import Runner
from mainstay.retraining.labels import LabelFile
from mainstay.retraining.placing import Evaluation
from mainstay.retraining.training_set import Facts, Options, TrainingSet, make
from tests.pipelines.world import World

Seen = dict[tuple[str, int], Any]
"""(key, instant) -> what online gave then: (values, positions), or None."""


def facts_of(world: World, **changes: Any) -> Facts:
    desk = world.desk
    state = desk.feature_sets.get(world.feature_set.digest)
    assert state is not None
    forms = {}
    settled: dict[str, dict[int, BatchRecord]] = {}
    for name in state.mapping:
        numbers = desk.landing.numbers(name)
        settled[name] = {one.number: one for one in desk.batches.all(f"{name}/").values()}
        if numbers:
            runner = Runner(desk, world.integration.datasets[name])
            forms[name] = runner.shape_of(desk.landing.open(name, numbers[-1]).schema)
    suppressed = set(desk.suppressed.all())
    given: dict[str, Any] = {
        "history": desk.history,
        "datasets": world.integration.datasets,
        "feature_set": state,
        "forms": forms,
        "settled": settled,
        "evaluations": evaluations(world),
        "now_us": world.clock.now_us(),
        "kept_since_us": 0,
        "erased": (lambda key: keyed_hash(desk.secret, key) in suppressed) if suppressed else None,
    }
    return Facts(**(given | changes))


def evaluations(world: World) -> list[Evaluation]:
    return [
        Evaluation(
            at_us=body["told_us"],
            source_us=body["as_of_us"],
            dataset=body["dataset"],
            cause=body["cause"],
            every_key=body["keys"] < 0,
        )
        for kind, body in world.events
        if kind == COMPUTED and "told_us" in body
    ]


def remember(world: World) -> None:
    """History follows landing, to the last version."""
    for name in ("customers", "tickets"):
        while history.flush(world.desk, name):
            pass


def write_labels(path: Path, rows: Sequence[tuple[Any, ...]], header: Sequence[str] = ("id", "at")) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def train(
    world: World,
    labels: Path,
    *,
    key_type: Any = "integer",
    keys_per_run: int = 3,
    out: str = "set.parquet",
    timezone: str | None = None,
    **changes: Any,
) -> tuple[TrainingSet, list[dict[str, Any]]]:
    remember(world)
    wanted = LabelFile(path=labels, key="id", at="at", key_types=(key_type,), timezone=timezone)
    path = labels.parent / out
    made = make(facts_of(world, **changes), wanted, Options(out=path, keys_per_run=keys_per_run))
    return made, pq.read_table(path).to_pylist() if path.suffix == ".parquet" else []


def look(world: World, keys: Sequence[int] = (1, 2, 3, 4)) -> Seen:
    """What online gives now, by key."""
    found: Seen = {}
    for key in keys:
        row = world.row(key)
        shown = None if row is None or row.values is None else (json.loads(row.values), json.loads(row.positions))
        found[str(key), world.clock.now_us()] = shown
    return found


def labels_of(seen: Seen) -> list[tuple[str, str]]:
    return [(key, iso(at)) for key, at in seen]
