"""Every implementation of a seam passes the suite that is shipped for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mainstay.core.ports import Landing, Online, State
from mainstay.store.landing_local import LocalLanding
from mainstay.store.memory import MemoryLanding, MemoryOnline, MemoryState
from mainstay.store.online_redis import RedisOnline
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.state_postgres import PostgresState
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.landing_suite import LANDING_SUITE, OpenLanding
from mainstay.testing.online_suite import ONLINE_SUITE, OpenOnline
from mainstay.testing.state_suite import STATE_SUITE, OpenState


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def open_state(request: pytest.FixtureRequest, tmp_path: Path) -> OpenState:
    if request.param == "postgres":
        url = request.getfixturevalue("state_database").url
        return lambda: PostgresState(url, str(tmp_path))  # each test an integration of its own in one database
    memory: State = MemoryState()
    return {"sqlite": lambda: SqliteState(tmp_path / "state.sqlite"), "memory": lambda: memory}[request.param]


@pytest.fixture(params=["sqlite", "memory", "redis"])
def open_online(request: pytest.FixtureRequest, tmp_path: Path) -> OpenOnline:
    if request.param == "redis":
        url = request.getfixturevalue("redis").url
        return lambda: RedisOnline(url, str(tmp_path))  # each test an integration of its own in one Redis
    memory: Online = MemoryOnline()
    return {"sqlite": lambda: SqliteOnline(tmp_path / "online.sqlite"), "memory": lambda: memory}[request.param]


def local_landing(folder: Path) -> OpenLanding:
    return lambda: LocalLanding(folder / "landing")


def memory_landing(folder: Path) -> OpenLanding:
    one: Landing = MemoryLanding()
    return lambda: one


@pytest.mark.parametrize("check", STATE_SUITE)
def test_state(check: Callable[[OpenState], None], open_state: OpenState) -> None:
    check(open_state)


@pytest.mark.parametrize("check", ONLINE_SUITE)
def test_online(check: Callable[[OpenOnline], None], open_online: OpenOnline) -> None:
    check(open_online)


@pytest.mark.parametrize("store", [local_landing, memory_landing])
@pytest.mark.parametrize("check", LANDING_SUITE)
def test_landing(check: Callable[[OpenLanding], None], store: Callable[[Path], OpenLanding], tmp_path: Path) -> None:
    check(store(tmp_path))
