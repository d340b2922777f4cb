"""One PostgreSQL for the whole session, a database of its own for each test that asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainstay.core.ids import new_id
from mainstay.testing.postgres import Database, PostgresServer

pytest.register_assert_rewrite("mainstay.testing.source_suite")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_db(postgres: PostgresServer) -> Iterator[Database]:
    postgres.start()  # a test before this one may have stopped it
    database = postgres.create_database(new_id("t"))
    yield database
    postgres.start()
    database.drop()
