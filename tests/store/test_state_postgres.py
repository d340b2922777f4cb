"""What PostgreSQL as the place of state adds: other machines, a server that goes away, logins that may little."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mainstay.core.errors import Corrupt, StoreAway, StoreBusy, StoreError, StoreFull, StoreOld, StoreTooNew
from mainstay.core.ports import Write
from mainstay.store.postgres import PAUSE_S
from mainstay.store.state_postgres import SCHEMA, PostgresState
from mainstay.testing.postgres import Database


@pytest.fixture
def state(postgres_db: Database) -> Iterator[PostgresState]:
    store = PostgresState(postgres_db.url, "churn")
    yield store
    store.close()


def test_integrations_share_a_database(state: PostgresState, postgres_db: Database) -> None:
    state.commit([Write(space="a", name="n", body=b"churn's")], token=7)
    seen = state.changed()
    with closing(PostgresState(postgres_db.url, "upsell")) as other:
        assert other.get("a", "n") is None
        other.commit([Write(space="a", name="n", body=b"upsell's", expect=0)], token=1)
        other.commit([Write(space="a", name="n", body=None)], token=1)
    found = state.get("a", "n")
    assert found is not None
    assert found.body == b"churn's"
    assert state.changed() == seen, "what another integration writes wakes nobody here"


def test_a_server_that_hangs_is_given_up_and_met_again(postgres_db: Database) -> None:
    with closing(PostgresState(postgres_db.url, "churn", answer_s=0.5)) as state:
        state.commit([Write(space="a", name="n", body=b"1")])
        postgres_db.server.freeze()
        try:
            with pytest.raises(StoreAway, match="it did not answer within"):
                state.get("a", "n")
            for _ in range(50):
                with pytest.raises(StoreAway, match="did not answer a moment ago"):
                    state.get("a", "n")
            time.sleep(PAUSE_S)
            with pytest.raises(StoreAway, match="no connection"):
                state.commit([Write(space="a", name="n", body=b"2", expect=1)])
        finally:
            postgres_db.server.thaw()
        time.sleep(PAUSE_S)
        state.commit([Write(space="a", name="n", body=b"3", expect=1)])
        found = state.get("a", "n")
        assert found is not None
        assert found.body == b"3"


def test_a_commit_that_was_not_answered_is_told_as_open(postgres_db: Database) -> None:
    with closing(PostgresState(postgres_db.url, "churn", answer_s=0.5)) as state:

        def work(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
            connection.execute("SELECT 1")
            postgres_db.server.freeze()

        try:
            with pytest.raises(StoreAway, match="lost during a commit: only reading again tells"):
                state.postgres.transact(work)
        finally:
            postgres_db.server.thaw()


def test_a_restarted_server_is_met_again(state: PostgresState, postgres_db: Database) -> None:
    state.commit([Write(space="a", name="n", body=b"1")])
    postgres_db.server.kill9()
    with pytest.raises(StoreAway) as caught:
        state.get("a", "n")
    assert postgres_db.server.password not in str(caught.value).replace("postgresql://", "")
    with pytest.raises(StoreAway):
        state.commit([Write(space="a", name="n", body=b"2", expect=1)])
    postgres_db.server.start()
    state.commit([Write(space="a", name="n", body=b"2", expect=1)])
    postgres_db.server.restart()
    found = state.get("a", "n")
    assert found is not None
    assert found.body == b"2", "a connection that was lost while it lay unused is replaced without a word"
    postgres_db.server.restart()
    state.commit([Write(space="a", name="n", body=b"3", expect=2)])


def test_a_commit_that_was_cut_off_is_not_made_twice(state: PostgresState, postgres_db: Database) -> None:
    """The connection dies inside the transaction: nothing was committed, so it may be sent again, once."""
    state.commit([Write(space="a", name="n", body=b"1")])
    tries = []

    def work(connection: psycopg.Connection[tuple[object, ...]]) -> None:
        state._commit(connection, [Write(space="a", name="n", body=b"2", expect=1)], None)
        tries.append(connection)
        if len(tries) == 1:
            postgres_db.exec("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
            connection.execute("SELECT 1")

    state.postgres.transact(work)
    found = state.get("a", "n")
    assert found is not None
    assert (found.version, len(tries)) == (2, 2)


def test_a_transaction_left_open_does_not_keep_others_out(state: PostgresState, postgres_db: Database) -> None:
    """A process suspended in the middle of a commit holds the integration's row: the server ends its transaction."""
    state.commit([], token=1)
    entered, leave = threading.Event(), threading.Event()

    def suspended() -> None:
        def work(connection: psycopg.Connection[tuple[object, ...]]) -> None:
            state._commit(connection, [Write(space="a", name="n", body=b"old")], 1)
            entered.set()
            assert leave.wait(30)

        with pytest.raises(StoreError):
            state.postgres.transact(work)

    thread = threading.Thread(target=suspended)
    thread.start()
    assert entered.wait(30)
    with closing(PostgresState(postgres_db.url, "churn")) as other:
        other.commit([Write(space="a", name="n", body=b"new")], token=2)
        leave.set()
        thread.join()
        found = other.get("a", "n")
    assert found is not None
    assert found.body == b"new"


def test_a_commit_waits_for_another_and_gives_up(state: PostgresState, postgres_db: Database) -> None:
    with psycopg.connect(postgres_db.url) as holder:
        holder.execute("LOCK TABLE mainstay_state_head")
        with pytest.raises(StoreBusy, match="more than 5 s"):
            state.commit([Write(space="a", name="n", body=b"1")])
    assert state.get("a", "n") is None
    state.commit([Write(space="a", name="n", body=b"1")])


def test_schema_numbers(state: PostgresState, postgres_db: Database) -> None:
    for number, kind in ((SCHEMA + 1, StoreTooNew), (SCHEMA - 1, StoreOld)):
        postgres_db.exec("UPDATE mainstay_schema SET number = %s", (number,))
        with pytest.raises(kind, match="the state store has schema"):
            PostgresState(postgres_db.url, "churn")


def test_a_login_that_may_not_make_tables_is_told(postgres_db: Database) -> None:
    postgres_db.exec("DROP ROLE IF EXISTS little; CREATE ROLE little LOGIN PASSWORD 'little-secret'")
    url = postgres_db.server.url(postgres_db.name, user="little", password="little-secret")
    with pytest.raises(StoreError, match=r"no schema has been selected.*\n.*grant"):
        PostgresState(url, "churn")
    postgres_db.exec("GRANT USAGE ON SCHEMA public TO little")
    with pytest.raises(StoreError, match=r"permission denied.*\n.*grant") as caught:
        PostgresState(url, "churn")
    assert "little-secret" not in str(caught.value)
    wrong = url.replace("little-secret", "guessed-wrong")
    with pytest.raises(StoreAway, match="password authentication failed") as caught:
        PostgresState(wrong, "churn")
    assert "guessed-wrong" not in str(caught.value)
    PostgresState(postgres_db.url, "churn").close()
    postgres_db.exec("GRANT ALL ON ALL TABLES IN SCHEMA public TO little")
    with closing(PostgresState(url, "upsell")) as state:
        state.commit([Write(space="a", name="n", body=b"1")])
    postgres_db.exec("DROP OWNED BY little; DROP ROLE little")


@pytest.mark.parametrize("url", ["postgresql://me:geheim@[", "geheim"])
def test_an_unreadable_url_is_told_without_it(url: str) -> None:
    with pytest.raises(StoreError, match="cannot be read") as caught:
        PostgresState(url, "churn")
    assert "geheim" not in str(caught.value)


def test_a_standby_refuses_writes_as_a_full_disk_does(state: PostgresState, postgres_db: Database) -> None:
    with closing(PostgresState(postgres_db.url + "?options=-cdefault_transaction_read_only%3Don", "churn")) as standby:
        assert standby.get("a", "n") is None
        with pytest.raises(StoreFull, match="cannot write"):
            standby.commit([Write(space="a", name="n", body=b"1")])


def test_commits_are_durable_where_the_server_says_otherwise(postgres_db: Database) -> None:
    for asked, given in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        with closing(PostgresState(f"{postgres_db.url}?options=-csynchronous_commit%3D{asked}", "churn")) as state:
            assert state.postgres.rows("SHOW synchronous_commit") == [(given,)]


def test_a_lost_integration_is_not_made_anew_in_silence(state: PostgresState, postgres_db: Database) -> None:
    postgres_db.exec("DELETE FROM mainstay_state_head")
    with pytest.raises(Corrupt, match="no longer knows"):
        state.commit([])
    with pytest.raises(Corrupt, match="no longer knows"):
        state.changed()


def test_scrub_leaves_no_byte_in_the_tables_files(state: PostgresState, postgres_db: Database) -> None:
    def held(secret: bytes) -> bool:
        (place,) = postgres_db.exec("SELECT pg_relation_filepath('mainstay_state')")
        postgres_db.exec("CHECKPOINT")
        return secret in Path(postgres_db.server.data / place[0]).read_bytes()

    state.commit([Write(space="a", name="n", body=b"7590-VHVEG")])
    state.commit([Write(space="a", name="n", body=b"gone")])
    assert held(b"7590-VHVEG")
    state.scrub()
    assert not held(b"7590-VHVEG")
    assert held(b"gone")


def test_many_open_at_once_and_make_the_tables_once(postgres_db: Database) -> None:
    faults: list[BaseException] = []

    def start(number: int) -> None:
        try:
            with closing(PostgresState(postgres_db.url, f"integration-{number % 2}")) as one:
                one.commit([Write(space="a", name=str(number), body=b"")])
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with closing(PostgresState(postgres_db.url, "integration-0")) as state:
        assert [each.name for each in state.scan("a")] == ["0", "2", "4"]
