"""One PostgreSQL for the whole session, an empty database for each test that asks; one Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainstay.testing.postgres import Database, PostgresServer
from mainstay.testing.redis_server import RedisServer, redis_binary

pytest.register_assert_rewrite("mainstay.testing.source_suite")


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
