"""Rows that refer to a key, or need a rate, that was not there, judged again once it is.

Nothing is remembered for it: what waits is asked of quarantine itself after each run, so that a crash loses nothing.
"""

from __future__ import annotations

from mainstay.core.nouns import Check, Dataset
from mainstay.pipelines.currency import rated_now
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.judge import names
from mainstay.pipelines.quarantine import ReplayResult, replay
from mainstay.pipelines.run import Runner
from mainstay.quality.checks import orphans
from mainstay.store.current import schema_of


def adopt_orphans(desk: Desk) -> dict[str, ReplayResult]:
    """Takes up what waited for another dataset: batches of which none could be told, and orphans that are none now.

    Datasets that others refer to come first, so that what one takes up is there for the next. Returns what was
    replayed, by dataset.
    """
    done: dict[str, ReplayResult] = {}
    for name in desk.integration.parents_first():
        dataset = desk.integration.datasets[name]
        checks = [check for check in dataset.checks if check.kind in ("references", "currency")]
        if not checks:
            continue
        if any(batch.status == "error" for batch in desk.waiting(name)):
            Runner(desk, dataset).settle()
        zone = desk.integration.sources[dataset.source].timezone
        keys = " UNION ".join(_adoptable(dataset, check, zone) for check in checks)
        if desk.current.sql(f"{keys} LIMIT 1"):
            done[name] = replay(desk, dataset=name, keys_sql=keys)
    return done


def _adoptable(dataset: Dataset, check: Check, zone: str | None) -> str:
    """Keys whose newest quarantined version lacked what it refers to, or a rate, and no longer does."""
    quarantine = f"{schema_of(dataset.name)}.quarantine"
    if check.kind == "currency":
        come = rated_now(dataset, check, zone)
    else:
        there = f"SELECT _k FROM {schema_of(str(check.args['dataset']))}.rows WHERE NOT _deleted"
        come = f"NOT {orphans(check, keys_sql=there)}"
    newest = f"SELECT _k, max(_batch) FROM {quarantine} WHERE _state = 'quarantined' GROUP BY _k"
    return (
        f"SELECT _k FROM {quarantine} q WHERE _state = 'quarantined' AND {names(check, '_reasons')} "
        f"AND {come} AND (_k, _batch) IN ({newest})"
    )
