from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psutil
import psycopg
import pytest

from mainstay.core.errors import MainstayError
from mainstay.testing.postgres import Database, PostgresServer


def test_a_database_of_its_own_answers(postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    assert postgres_db.exec("SELECT a + %s FROM t", (1,)) == [(2,)]


def test_data_survives_a_stop_and_a_power_cut_on_the_same_port(postgres: PostgresServer, postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE t (a int); INSERT INTO t VALUES (7)")
    url = postgres_db.url
    ends: list[Callable[[], None]] = [partial(postgres.stop, "immediate"), postgres.kill9, postgres.stop]
    for end in ends:
        children = psutil.Process(postgres.pid).children()
        end()
        assert not any(child.is_running() for child in children)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        postgres.start()
        assert postgres_db.url == url
        assert postgres_db.exec("SELECT a FROM t") == [(7,)]


def test_a_wrong_password_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url(password="wrong"))


def test_a_server_that_cannot_start_says_why(tmp_path: object) -> None:
    server = PostgresServer(settings={"max_connections": "none"})
    with pytest.raises(MainstayError, match="max_connections"):
        server.__enter__()
    assert not server.folder.exists()
