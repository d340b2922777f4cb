"""A desk over stores in a folder and sources in memory: what tests of pipelines, and plug-in authors, start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mainstay.core.clock import Clock
from mainstay.core.nouns import Dataset, FeatureView, Integration, ModelConfig, Purpose, SourceConfig
from mainstay.core.ports import Source
from mainstay.pipelines.desk import Desk
from mainstay.store.current import Current
from mainstay.store.history_delta import DeltaHistory
from mainstay.store.landing_local import LocalLanding
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.state_sqlite import SqliteState


def integration_of(
    datasets: Mapping[str, Dataset], view: FeatureView | None = None, *, source: str = "crm", folder: str = ""
) -> Integration:
    """An integration of these datasets, one source and at most one feature view."""
    return Integration(
        name="test",
        api=1,
        purpose=Purpose(),
        sources={source: SourceConfig(name=source, kind="memory", options={})},
        datasets=dict(datasets),
        features={} if view is None else {view.name: view},
        model=ModelConfig(name="test", input="" if view is None else view.name),
        folder=folder,
    )


def open_desk(
    folder: Path,
    integration: Integration,
    sources: Mapping[str, Source],
    clock: Clock,
    *,
    token: int = 1,
    tell: Callable[[str, dict[str, Any]], None] = lambda _kind, _body: None,
    at: Callable[[str], None] = lambda _point: None,
) -> Desk:
    """The desk. Close it with `close_desk`."""
    return Desk(
        integration=integration,
        state=SqliteState(folder / "state.sqlite"),
        online=SqliteOnline(folder / "online.sqlite"),
        landing=LocalLanding(folder / "landing"),
        current=Current(folder / "current.duckdb", threads=1),
        history=DeltaHistory(folder / "history"),
        sources=sources,
        plans=folder / "plans",
        clock=clock,
        token=token,
        secret=b"s" * 32,
        tell=tell,
        at=at,
    )


def close_desk(desk: Desk) -> None:
    """Closes the desk's stores."""
    desk.current.close()
    desk.online.close()
    desk.state.close()
