"""Two machines (two homes) over one state, one online and one shared folder: both answer, one of them owns the loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.app.alone import integrations_of
from mainstay.app.answers import predict
from mainstay.app.commands import ask
from mainstay.app.place import locate, user
from mainstay.app.stores import home_at, home_of, open_state
from mainstay.app.wiring import own
from mainstay.core.clock import SystemClock
from mainstay.core.errors import LeaseOwned, Refused, StoreError
from mainstay.serving.keys import create_key
from mainstay.serving.reply import Answer
from mainstay.serving.request import PredictRequest
from mainstay.store.home import Home
from mainstay.testing.postgres import Database
from mainstay.testing.redis_server import RedisServer
from tests.app.machines import Shared, answers, poll, sharing


@pytest.fixture
def shared(
    tmp_path: Path, postgres_db: Database, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shared]:
    with sharing(tmp_path, postgres_db, redis, monkeypatch) as world:
        yield world


def test_what_one_machine_applies_the_other_answers_and_goes_on_with(shared: Shared) -> None:
    here, there = (machine.place for machine in shared.machines)
    ask(here, "apply", {})
    (ran,) = ask(here, "run", {})["results"]
    assert (ran["status"], ran["published"]) == ("published", 6)
    found = predict(there, PredictRequest(key="person-0003"))
    assert isinstance(found, Answer), found
    assert found.output == {"churn_probability": 0.3}
    shared.shop.exec("UPDATE customers SET tenure = 90 WHERE customer_id = 'person-0003'")
    (ran,) = ask(there, "run", {})["results"]
    assert (ran["status"], ran["published"], ran["batch"]) == ("published", 1, 2)
    shared.shop.exec("UPDATE customers SET tenure = 50 WHERE customer_id = 'person-0004'")
    (ran,) = ask(here, "run", {})["results"]
    assert (ran["published"], ran["batch"]) == (1, 3), "current was made anew here, and knows what the other published"
    found = predict(there, PredictRequest(key="person-0003"))
    assert isinstance(found, Answer), found
    assert found.output == {"churn_probability": 0.9}
    assert shared.dataset().rows == 6
    assert here.home.secret() == there.home.secret()
    assert not here.home.state.exists()
    assert not here.home.online.exists()
    assert home_at(here.home.root, "churn").stores == here.home.stores, (
        "processes without the file find the same stores"
    )
    assert locate(None, here.home.root).home.stores == here.home.stores


def test_current_of_a_machine_that_lost_the_lease_goes(shared: Shared) -> None:
    """It may hold a person who is erased elsewhere: a cache that is made anew anyway is not kept."""
    here, there = (machine.place for machine in shared.machines)
    ask(here, "apply", {})
    ask(here, "run", {})
    assert here.home.current.exists()
    ask(there, "erase", {"key": "person-0002", "reason": "asked for it"})
    ask(here, "run", {})
    assert b"person-0002" not in here.home.current.read_bytes()
    with own(there, "the other machine"):
        with pytest.raises(LeaseOwned, match="the other machine"), own(here, "this one"):
            pass
        assert not here.home.current.exists(), "it goes as soon as this machine sees that it has the lease no more"
    verified = ask(there, "erase.verify", {"key": "person-0002"})
    assert verified == {"traces": [], "clean": True}


def test_stores_are_chosen_once(shared: Shared, tmp_path: Path) -> None:
    here = shared.machines[0].place
    ask(here, "apply", {})
    with pytest.raises(Refused, match="keeps its state where `stores:` said until now"):
        Home(here.home.root, "churn").create()
    elsewhere = tmp_path / "begun"
    Home(elsewhere, "churn").create()
    (elsewhere / "churn" / "state.sqlite").touch()
    with pytest.raises(Refused, match="keeps its state in files of this home"):
        home_of(shared.shop.file, elsewhere, "churn").create()


def test_a_backup_of_the_files_alone_is_refused(shared: Shared) -> None:
    home = shared.machines[0].place.home
    home.create()
    with pytest.raises(Refused, match="churn keeps its state in PostgreSQL"):
        integrations_of(home.root)


def test_a_process_that_does_not_know_where_the_stores_are_says_so(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shared.machines[0].place.home
    monkeypatch.delenv("STATE_URL")
    with pytest.raises(StoreError, match="no variable STATE_URL in the environment"):
        open_state(home)


@pytest.mark.promise(1)
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_the_loop_moves_when_its_machine_stops(shared: Shared, postgres_db: Database, blow: signal.Signals) -> None:
    here, there = shared.machines
    here.up()
    there.up()
    assert "this machine answers, applies nothing" in there.said()
    poll(lambda: shared.dataset().rows == 6, "the first rows are published")
    with closing(open_state(here.place.home)) as state:
        token, _ = create_key(state, "test", "predict", clock=SystemClock(), expires_us=None)
    for machine in (here, there):
        poll(lambda: answers(machine, token, "person-0003", 0.3), "both answer")  # noqa: B023 - called at once
    receipt = here.answer(token, "person-0003")["receipt"]
    assert there.receipt(token, receipt)["key"] == "person-0003", "a receipt of one machine is found by the other"
    owner = shared.owner(postgres_db)
    assert owner in {f"pid {process.pid} of {user()} on {os.uname().nodename} (mainstay up)" for process in here.all()}

    here.signal(blow)
    for number in range(1, 4):
        shared.shop.exec(f"UPDATE customers SET tenure = {90 + number} WHERE customer_id = 'person-000{number}'")
    poll(lambda: shared.owner(postgres_db) not in {"", owner}, "the lease moves")
    poll(lambda: answers(there, token, "person-0003", 0.93), "the other machine goes on publishing")
    poll(lambda: answers(there, token, "person-0001", 0.91), "all of it")
    if blow == signal.SIGSTOP:
        here.signal(signal.SIGCONT)
        poll(lambda: "the lease is lost" in here.said() or "lease token" in here.said(), "the woken loop ends")
        poll(lambda: answers(here, token, "person-0003", 0.93), "and its machine answers with what the other published")
        assert shared.owner(postgres_db) not in {"", owner}
    batches = shared.batches()
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1)), "no gap"
    assert {batch.status for batch in batches} == {"published"}
    assert sum(batch.counts["published"] for batch in batches) == 9, "six rows and three changes, each once"
