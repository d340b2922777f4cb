"""One PostgreSQL for the whole session, an empty database for each test that asks; one Redis; a small disk.

`make test` runs two sessions beside each other (pytest-xdist), each with servers of its own; the tests of one file stay
together.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from mainstay.testing.postgres import Database, PostgresServer
from mainstay.testing.redis_server import RedisServer, redis_binary

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background, say; what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("mainstay", deadline=None)  # no test asserts a time
settings.load_profile("mainstay")
pytest.register_assert_rewrite("mainstay.testing.source_suite")

LONG_FIRST = ("tests/road/", "tests/web/", "tests/app/", "tests/docs/")
"""Whole stories begin first, so that none is left to one session at the end while the other has nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: next(
            (place for place, start in enumerate(LONG_FIRST) if item.nodeid.startswith(start)), len(LONG_FIRST)
        )
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_kept(postgres: PostgresServer) -> Database:
    return postgres.create_database("tests")


@pytest.fixture
def postgres_db(postgres: PostgresServer, postgres_kept: Database) -> Iterator[Database]:
    postgres.start()  # a test before this one may have stopped it
    yield postgres_kept
    postgres.start()
    postgres_kept.clear()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    if redis_binary() is None:
        pytest.skip("this machine has no redis-server (Debian: apt-get install redis-server)")
    with RedisServer() as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
